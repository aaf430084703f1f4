"""Both versions of a row that somebody changed while somebody else was editing it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from starlette.requests import Request
from wtforms import PasswordField

from admin.framework.forms import current_form
from admin.history import formatter
from bookit.schema.tables import home

log = logging.getLogger("bookit.admin")


@dataclass(frozen=True)
class Difference:
    """A field that is not what was typed, and who made it so, if somebody did while it was edited."""

    label: str
    typed: Any
    now: Any
    changed: formatter.Told | None


@dataclass(frozen=True)
class BothVersions:
    """What was typed against what there is, and what happened meanwhile."""

    fields: list[Difference]
    events: list[formatter.Told]
    types_password: bool


async def show_both(view: Any, request: Request, number: int, typed: Mapping[str, Any], *, seen: int) -> None:
    """Have the page show both versions, and its form save on top of the newer one if it is sent again.

    ``seen`` is the version that was edited; each change counted one up since. Where both cannot be shown, the form
    stays refused.
    """
    form: Any = current_form.get()
    try:
        rows = await view.read(select(view.model).where(home(view.model).c.id == number))
        if not rows or form is None:
            return
        row = rows[0][0]
        request.state.both_versions = await compared(view, request, row, typed, seen=seen)
        form["version"].data = row.version
    except Exception:
        log.exception("bug", extra={"request_id": request.scope.get("request_id")})


async def compared(view: Any, request: Request, row: Any, typed: Mapping[str, Any], *, seen: int) -> BothVersions:
    """Compare what was typed with a row as it is now."""
    since = min(row.version - seen, formatter.MOST_TOLD) if 0 < seen < row.version else formatter.MOST_TOLD
    events = [event for event in await formatter.of_row(view, row.id, most=since) if event.action == "changed"]
    names = {*view.model.model_fields} - formatter.SECRET
    differing = {name: value for name, value in typed.items() if name in names and value != getattr(row, name)}
    table, teller = home(view.model).name, formatter.Teller(view, request)
    told = await teller.tell(events, naming=[*teller.named(table, differing), *teller.named(table, vars(row))])
    makers = {name: words for event, words in reversed([*zip(events, told, strict=True)]) for name in event.new or {}}
    return BothVersions(
        [
            Difference(
                view.model.model_fields[name].title,
                teller.shown(table, name, value),
                teller.shown(table, name, getattr(row, name)),
                makers.get(name),
            )
            for name, value in differing.items()
        ],
        told,
        types_password=any(isinstance(field, PasswordField) and field.data for field in current_form.get() or []),
    )
