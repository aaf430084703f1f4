"""Both versions of a row that one person changed while another was editing it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlmodel import SQLModel
from starlette.requests import Request
from wtforms import PasswordField

from admin.framework.context import context_of, request_id_of
from admin.framework.page_state import page_state
from admin.history.formatter import MAX_EVENTS, SECRET_COLUMNS, EventFormatter, EventText, load_row_events
from bookit.schema.tables import id_of, table_of

log = logging.getLogger("bookit.admin")


@dataclass(frozen=True)
class Difference:
    """A field whose submitted value is not the current one, and the event that changed it since, if one did."""

    label: str
    submitted: str
    current: str
    last_change: EventText | None


@dataclass(frozen=True)
class EditConflict:
    """What was submitted against the current row, and the events in between."""

    differences: list[Difference]
    events: list[EventText]
    must_retype_password: bool


async def show_conflict(
    request: Request, table: type[SQLModel], row_id: int, submitted: Mapping[str, object], *, base_version: int
) -> None:
    """Show both versions on the page; its form, sent again, is saved on top of the newer one.

    ``base_version`` is the version that was edited. Where both cannot be shown, the form stays refused.
    """
    page = page_state(request)
    try:
        is_row = table_of(table).c.id == row_id
        rows = await context_of(request).fetch_scalars(select(table).where(is_row))
        if not rows or page.form is None:
            return
        page.edit_conflict = await compare_versions(request, rows[0], submitted, base_version=base_version)
        page.form["version"].data = rows[0].version
    except Exception:
        log.exception("unhandled error", extra={"request_id": request_id_of(request)})


async def compare_versions(
    request: Request, row: SQLModel, submitted: Mapping[str, object], *, base_version: int
) -> EditConflict:
    """Compare what was submitted with a row as it is now. Each change since has counted its version up by one."""
    table, fields, changes = table_of(type(row)).name, type(row).model_fields, getattr(row, "version", 0) - base_version
    limit = min(changes, MAX_EVENTS) if base_version > 0 and changes > 0 else MAX_EVENTS
    last_events = await load_row_events(context_of(request), type(row), id_of(row), limit=limit)
    events = [event for event in last_events if event.action == "changed"]
    names = {*fields} - SECRET_COLUMNS
    differing = {name: value for name, value in submitted.items() if name in names and value != getattr(row, name)}
    formatter = EventFormatter(request)
    referenced = [*formatter.referenced_rows(table, differing), *formatter.referenced_rows(table, vars(row))]
    texts = await formatter.format_events(events, extra_rows=referenced)
    oldest_first = reversed([*zip(events, texts, strict=True)])
    last_changes = {name: text for event, text in oldest_first for name in event.new or {}}
    differences = [
        Difference(
            fields[name].title or name,
            formatter.format_value(table, name, value),
            formatter.format_value(table, name, getattr(row, name)),
            last_changes.get(name),
        )
        for name, value in differing.items()
    ]
    form = page_state(request).form or ()
    has_password = any(isinstance(field, PasswordField) and field.data for field in form)
    return EditConflict(differences, texts, must_retype_password=has_password)
