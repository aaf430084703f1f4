"""The resources of bookings in lists, on pages and in exports: a visit can take several, as with Sofia in Room 1."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from markupsafe import Markup
from sqladmin.pagination import Pagination
from sqlalchemy import ColumnElement, String, func, literal, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from starlette.requests import Request

from admin.framework.context import AdminContext
from admin.framework.export_columns import ExportColumn, ExportSelection, format_plain
from admin.framework.page_state import page_state
from admin.record_view import RecordView
from bookit.bookings.claims import join_names
from bookit.schema.tables import Booking, Resource, table_of

BOOKINGS, RESOURCES = (table_of(table).c for table in (Booking, Resource))


@dataclass
class OtherResources:
    """The names of the resources that the bookings of a page take beside their first."""

    names: dict[int, str] = field(default_factory=dict)

    def of(self, booking: Booking) -> list[tuple[int, str]]:
        """Return id and name of a booking's other resources, in the order of their positions."""
        return [(one, self.names.get(one, f"#{one}")) for one in booking.other_resource_ids]


async def fetch_names(context: AdminContext, bookings: Iterable[Booking]) -> Mapping[int, str]:
    """Return the names of the resources that these bookings take beside their first, by id."""
    ids = sorted({resource_id for booking in bookings for resource_id in booking.other_resource_ids})
    if not ids:
        return {}
    rows = await context.fetch_rows(select(RESOURCES.id, RESOURCES.name).where(RESOURCES.id.in_(ids)))
    return {row.id: row.name for row in rows}


def format_resources(booking: Booking, column: str, request: Request) -> Markup:
    """Return the names of all resources of a booking, each with a link to it: "Sofia and Room 1"."""
    del column
    named = [(booking.resource_id, str(booking.resource)), *page_state(request).part(OtherResources).of(booking)]
    links = [link_resource(request, *one) for one in named]
    return Markup(f"<span>{join_names(links)}</span>") if len(links) > 1 else links[0]  # noqa: S704 -- they are escaped


def link_resource(request: Request, resource_id: int, name: str) -> Markup:
    """Return the name of a resource with a link to its page."""
    url = request.url_for("admin:details", identity="resource", pk=resource_id)
    return Markup('<a href="{}">{}</a>').format(url, name)


class ShowsResources(RecordView):
    """A view of bookings that names all resources of each, with a link to each."""

    non_link_related_fields = ["resource"]  # SQLAdmin would link all names to the first

    async def list(self, request: Request) -> Pagination:
        """Return a page of bookings, and load the names of their other resources."""
        page = await super().list(request)
        page_state(request).part(OtherResources).names |= await fetch_names(self.context, page.rows)
        return page

    async def details_context(self, request: Request) -> dict[str, object]:
        """Load the names of the booking's other resources."""
        booking: Booking = await self.get_object_for_details(request)
        page_state(request).part(OtherResources).names |= await fetch_names(self.context, [booking])
        return await super().details_context(request)

    def add_export_column(self, selection: ExportSelection, name: str, request: Request | None) -> None:
        """Add a column to the export; the other resources by name."""
        if name == "other_resource_ids":
            title = self._column_labels.get(name, name)
            selection.columns.append(ExportColumn(title, [other_names()], format_plain))
        else:
            super().add_export_column(selection, name, request)


def other_names() -> ColumnElement[str]:
    """Return the names of the resources beside the first, in one text, in the order of their positions."""
    taken = func.unnest(BOOKINGS.other_resource_ids).table_valued("id", with_ordinality="position").render_derived()
    resource = table_of(Resource).alias("other_resource")
    in_order = func.string_agg(resource.c.name, aggregate_order_by(literal(", ", String), taken.c.position))
    names = select(in_order).select_from(taken.join(resource, resource.c.id == taken.c.id))
    return names.correlate(table_of(Booking)).scalar_subquery()
