"""The warning that a resource has no opening hours, and so can be booked at any time: in lists and on pages."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup
from sqladmin.pagination import Pagination
from sqlmodel import SQLModel
from starlette.requests import Request

from admin.framework.context import context_of
from admin.framework.page_state import page_state
from admin.record_view import RecordView
from bookit import catalogue
from bookit.db.statements import Row
from bookit.schema.tables import Resource, id_of


@dataclass
class MissingHours:
    """The resources without opening hours that a page shows, by the id of the resource or service that it lists."""

    by_row: dict[int, list[Row]] = field(default_factory=dict)


def format_name(row: SQLModel, column: str, request: Request) -> Markup:
    """Return the name of a resource or service in a list, with a warning if it can be booked at any time."""
    name = Markup("<span>{}</span>").format(getattr(row, column))
    missing = page_state(request).part(MissingHours).by_row.get(id_of(row), [])
    if not missing:
        return name
    url = request.url_for("admin:week", pk=missing[0]["id"])
    who = "" if isinstance(row, Resource) else ", ".join(resource["name"] for resource in missing)
    warning = f"No opening hours for {who}" if who else "No opening hours"
    return Markup('{} <a class="bk-warning" href="{}">{}: can be booked at any time. Set hours</a>').format(
        name, url, warning
    )


class WarnsOfMissingHours(RecordView):
    """A view of resources or services that says which of them can be booked at any time of day or night."""

    async def list(self, request: Request) -> Pagination:
        """Return a page of rows, and load which of them lack hours."""
        page = await super().list(request)
        missing = await self.fetch_missing(request, [id_of(row) for row in page.rows])
        by_row = page_state(request).part(MissingHours).by_row
        for row in missing:
            by_row.setdefault(row["row_id"], []).append(row)
        return page

    async def details_context(self, request: Request) -> dict[str, object]:
        """Add the resources that lack hours."""
        missing = await self.fetch_missing(request, [int(request.path_params["pk"])])
        return {**await super().details_context(request), "missing_hours": missing}

    async def fetch_missing(self, request: Request, row_ids: Sequence[int]) -> Sequence[Row]:
        """Return the resources without hours among these rows, or behind these services."""
        database = context_of(request).database
        return await catalogue.fetch_missing_hours(database, self.model, row_ids) if row_ids else []
