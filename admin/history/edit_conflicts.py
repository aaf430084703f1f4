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
from bookit.schema.tables import table_of

log = logging.getLogger("bookit.admin")


@dataclass(frozen=True)
class Difference:
    """A field that is not what was typed, and who made it so, if somebody did while it was edited."""

    label: str
    submitted: Any
    current: Any
    last_change: formatter.EventText | None


@dataclass(frozen=True)
class EditConflict:
    """What was typed against what there is, and what happened meanwhile."""

    differences: list[Difference]
    events: list[formatter.EventText]
    must_retype_password: bool


async def show_conflict(
    view: Any, request: Request, row_id: int, submitted: Mapping[str, Any], *, base_version: int
) -> None:
    """Have the page show both versions, and its form save on top of the newer one if it is sent again.

    ``seen`` is the version that was edited; each change counted one up since. Where both cannot be shown, the form
    stays refused.
    """
    form: Any = current_form.get()
    try:
        rows = await view.fetch_rows(select(view.model).where(table_of(view.model).c.id == row_id))
        if not rows or form is None:
            return
        row = rows[0][0]
        request.state.both_versions = await compare_versions(view, request, row, submitted, base_version=base_version)
        form["version"].data = row.version
    except Exception:
        log.exception("unhandled error", extra={"request_id": request.scope.get("request_id")})


async def compare_versions(
    view: Any, request: Request, row: Any, submitted: Mapping[str, Any], *, base_version: int
) -> EditConflict:
    """Compare what was typed with a row as it is now."""
    since = (
        min(row.version - base_version, formatter.MAX_EVENTS)
        if 0 < base_version < row.version
        else formatter.MAX_EVENTS
    )
    events = [
        event for event in await formatter.load_row_events(view, row.id, limit=since) if event.action == "changed"
    ]
    names = {*view.model.model_fields} - formatter.SECRET_COLUMNS
    differing = {name: value for name, value in submitted.items() if name in names and value != getattr(row, name)}
    table, teller = table_of(view.model).name, formatter.EventFormatter(view, request)
    told = await teller.format_events(
        events, extra_rows=[*teller.referenced_rows(table, differing), *teller.referenced_rows(table, vars(row))]
    )
    makers = {name: words for event, words in reversed([*zip(events, told, strict=True)]) for name in event.new or {}}
    return EditConflict(
        [
            Difference(
                view.model.model_fields[name].title,
                teller.format_value(table, name, value),
                teller.format_value(table, name, getattr(row, name)),
                makers.get(name),
            )
            for name, value in differing.items()
        ],
        told,
        must_retype_password=any(isinstance(field, PasswordField) and field.data for field in current_form.get() or []),
    )
