"""The bookings that a closure affects, on its page."""

from starlette.requests import Request

from admin.record_view import RecordView
from bookit.bookings import availability
from bookit.db.statements import Row
from bookit.schema.tables import CalendarException

MAX_AFFECTED = 100


class ListsAffectedBookings(RecordView):
    """A view of closures that lists the bookings which one affects."""

    async def affected_bookings(self, closure: CalendarException) -> list[Row]:
        """Return the coming bookings that a closure affects; an extra opening affects none."""
        now = self.context.now()
        if closure.is_open or closure.end_time <= now:
            return []
        return await availability.affected_bookings(
            self.context.database,
            since=max(closure.start_time, now),
            until=closure.end_time,
            resource_id=closure.resource_id,
            now=now,
            limit=MAX_AFFECTED + 1,
        )

    async def details_context(self, request: Request) -> dict[str, object]:
        """Add these bookings to the page of a closure."""
        values, closure = await super().details_context(request), await self.get_object_for_details(request)
        return {**values, "affected": await self.affected_bookings(closure), "max_affected": MAX_AFFECTED}
