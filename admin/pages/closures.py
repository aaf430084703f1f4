"""Names the visits that a closure affects."""

from typing import Any

from sqladmin import Flash
from starlette.requests import Request

from bookit.bookings import availability
from bookit.schema.tables import CalendarException

MAX_AFFECTED = 100


class ListsAffectedBookings:
    """Has a page of closures name the visits that one falls upon."""

    async def affected_bookings(self, closure: CalendarException) -> list[dict[str, Any]]:
        """Give the visits to come that this falls upon; an opening falls upon none."""
        page: Any = self
        now = page.context.now()
        if closure.is_open or closure.end_time <= now:
            return []
        return await availability.affected_bookings(
            page.context.database,
            since=max(closure.start_time, now),
            until=closure.end_time,
            resource_id=closure.resource_id,
            now=now,
            limit=MAX_AFFECTED + 1,
        )

    async def details_context(self, request: Request) -> dict[str, Any]:
        """Show these visits beside the closure."""
        page: Any = self
        context: dict[str, Any] = await super().details_context(request)  # type: ignore[misc]  # the page's own
        closure = await page.get_object_for_details(request)
        return {**context, "touched": await self.affected_bookings(closure), "most_touched": MAX_AFFECTED}

    async def insert_model(self, request: Request, data: dict[str, Any]) -> Any:
        """Close, and say whom that concerns."""
        return await self.warn_of_affected(request, await super().insert_model(request, data))  # type: ignore[misc]  # the page's own

    async def update_model(self, request: Request, pk: str, data: dict[str, Any]) -> Any:
        """Change a closure, and say whom that concerns."""
        return await self.warn_of_affected(request, await super().update_model(request, pk, data))  # type: ignore[misc]  # as above

    async def warn_of_affected(self, request: Request, closure: CalendarException) -> CalendarException:
        """Say on the next page how many visits a closure falls upon; its own page lists them."""
        found = await self.affected_bookings(closure)
        if found:
            count = f"More than {MAX_AFFECTED}" if len(found) > MAX_AFFECTED else str(len(found))
            falls = "visit falls" if len(found) == 1 else "visits fall"
            numbers = ", ".join(f"#{visit['id']}" for visit in found[:5]) + ("…" if len(found) > 5 else "")  # noqa: PLR2004 -- enough to find the rest by
            Flash.warning(request, f"{count} {falls} into this closure: {numbers}. Its page lists them.")
        return closure
