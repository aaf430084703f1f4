"""The times of a closure as they were written, and on its page the bookings that it affects."""

from datetime import datetime
from zoneinfo import ZoneInfo

from markupsafe import Markup
from starlette.requests import Request

from admin.framework.export_columns import ExportColumn, ExportSelection, zone_or, zoned_time_columns
from admin.framework.formatting import format_local_time
from admin.record_view import RecordView
from bookit.bookings import availability
from bookit.db.statements import Row
from bookit.schema.tables import CalendarException, Resource

MAX_AFFECTED = 100


def describe_clock(closure_zone: str | None, resource_zone: str | None, zone: ZoneInfo) -> str:
    """Return by whose clock the times of a closure are: its resource's, or each resource's own.

    A closure without a zone is at exact moments, which are shown by the business's clock.
    """
    if closure_zone is None:
        return zone.key
    return resource_zone or "Each resource's own"


class ShowsClosureTimes(RecordView):
    """A view of closures that shows their times as they were written, and by whose clock they are."""

    def __init__(self) -> None:
        formatters = {
            "start_time": lambda row, _: self.format_moment(row, row.start_time),
            "end_time": lambda row, _: self.format_moment(row, row.end_time),
            "timezone": lambda row, _: describe_clock(
                row.timezone, row.resource and row.resource.timezone, self.context.zone
            ),
        }
        vars(self).update(column_formatters=formatters, column_formatters_detail=formatters)
        super().__init__()

    def format_moment(self, closure: CalendarException, moment: datetime) -> Markup:
        """Return a time of a closure by the clock by which it was written."""
        return format_local_time(zone_or(closure.timezone, self.context.zone), moment)

    def add_export_column(self, selection: ExportSelection, name: str, request: Request | None) -> None:
        """Add a column to the export, with the times that the page shows."""
        del request
        zone, title = self.context.zone, self._column_labels.get(name, name)
        if name in {"start_time", "end_time"}:
            selection.columns += zoned_time_columns(title, self.columns[name], self.columns.timezone, zone)
        elif name == "timezone":
            resource = selection.join(Resource, self.columns.resource_id, "clock").c
            expressions = [self.columns.timezone, resource.timezone]
            selection.columns.append(ExportColumn(title, expressions, lambda own, of: describe_clock(own, of, zone)))
        else:
            selection.add(name)


class ListsAffectedBookings(RecordView):
    """A view of closures that lists the bookings which one affects."""

    async def affected_bookings(self, closure: CalendarException) -> list[Row]:
        """Return the coming bookings that a closure affects, by each resource's clock; an opening affects none."""
        now = self.context.now()
        if closure.is_open:
            return []
        return await availability.affected_bookings(
            self.context.database,
            since=closure.start_time,
            until=closure.end_time,
            timezone=closure.timezone,
            ends_after=now,
            resource_id=closure.resource_id,
            now=now,
            limit=MAX_AFFECTED + 1,
        )

    async def details_context(self, request: Request) -> dict[str, object]:
        """Add these bookings to the page of a closure."""
        values, closure = await super().details_context(request), await self.get_object_for_details(request)
        return {**values, "affected": await self.affected_bookings(closure), "max_affected": MAX_AFFECTED}
