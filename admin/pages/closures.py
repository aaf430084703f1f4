"""The bookings that a closure affects, on its page and in a warning."""

from sqladmin import Flash
from starlette.requests import Request

from admin.framework.types import Values
from admin.record_view import RecordView
from bookit.bookings import availability
from bookit.db.statements import Row
from bookit.schema.tables import CalendarException

MAX_AFFECTED = 100
MAX_NAMED = 5  # of them in the warning


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

    async def insert_model(self, request: Request, data: Values) -> CalendarException:
        """Add a closure, and warn of the bookings that it affects."""
        return await self.warn_of_affected(request, await super().insert_model(request, data))

    async def update_model(self, request: Request, pk: str, data: Values) -> CalendarException:
        """Change a closure, and warn of the bookings that it affects."""
        return await self.warn_of_affected(request, await super().update_model(request, pk, data))

    async def warn_of_affected(self, request: Request, closure: CalendarException) -> CalendarException:
        """Warn on the next page of how many bookings a closure affects; its own page lists them."""
        bookings = await self.affected_bookings(closure)
        if bookings:
            count = f"More than {MAX_AFFECTED}" if len(bookings) > MAX_AFFECTED else str(len(bookings))
            falls = "booking falls" if len(bookings) == 1 else "bookings fall"
            ids = ", ".join(f"#{booking['id']}" for booking in bookings[:MAX_NAMED])
            more = "…" if len(bookings) > MAX_NAMED else ""
            Flash.warning(request, f"{count} {falls} in this closure: {ids}{more}. See the page of the closure.")
        return closure
