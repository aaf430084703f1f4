"""Both versions of a row that somebody changed while somebody else was editing it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from starlette.requests import Request

from admin import history
from admin.forms import current_form
from bookit.tables import Event, home


@dataclass(frozen=True)
class Difference:
    """A field that is not what was typed, and who made it so, if somebody did while it was edited."""

    label: str
    typed: Any
    now: Any
    changed: history.Told | None


@dataclass(frozen=True)
class BothVersions:
    """What was typed against what there is, and what happened meanwhile."""

    fields: list[Difference]
    events: list[history.Told]
    types_password: bool


async def show_both(view: Any, request: Request, number: int, typed: Mapping[str, Any], *, seen: int) -> None:
    """Have the page show both versions, and its form save on top of the newer one if it is sent again.

    ``seen`` is the version that was edited; each change counted one up since.
    """
    rows = await view.read(select(view.model).where(home(view.model).c.id == number))
    form: Any = current_form.get()
    if not rows or form is None:
        return
    row = rows[0][0]
    form["version"].data = row.version
    since = min(row.version - seen, history.MOST_TOLD) if 0 < seen < row.version else history.MOST_TOLD
    events = [event for event in await history.of_row(view, number, most=since) if event.action == "changed"]
    differing = {name: value for name, value in typed.items() if name in row_names(row) and value != getattr(row, name)}
    request.state.both_versions = await told(view, request, events, row, differing)


def row_names(row: Any) -> set[str]:
    return {*type(row).model_fields} - history.SECRET


async def told(view: Any, request: Request, events: list[Event], row: Any, typed: Mapping[str, Any]) -> BothVersions:
    """Say it as people read it."""
    teller = history.Teller(view, request)
    table = home(view.model).name
    told_events = await teller.tell(events, naming=[*teller.named(table, typed), *teller.named(table, vars(row))])
    fields = [
        Difference(
            view.model.model_fields[name].title,
            teller.shown(table, name, value),
            teller.shown(table, name, getattr(row, name)),
            next((words for event, words in zip(events, told_events, strict=True) if name in (event.new or {})), None),
        )
        for name, value in typed.items()
    ]
    passwords = [field for field in current_form.get() or [] if field.widget.input_type == "password" and field.data]
    return BothVersions(fields, told_events, bool(passwords))
