"""Names the visits that a closure affects."""

from typing import Any

from sqladmin import Flash
from starlette.requests import Request

from bookit.bookings import availability
from bookit.schema.tables import CalendarException

MOST_TOUCHED = 100


class NamesTouched:
    """Has a page of closures name the visits that one falls upon."""

    async def touched(self, closure: CalendarException) -> list[dict[str, Any]]:
        """Give the visits to come that this falls upon; an opening falls upon none."""
        page: Any = self
        now = page.clock()
        if closure.is_open or closure.end_time <= now:
            return []
        return await availability.touched(
            page.database,
            since=max(closure.start_time, now),
            until=closure.end_time,
            resource_id=closure.resource_id,
            now=now,
            limit=MOST_TOUCHED + 1,
        )

    async def details_context(self, request: Request) -> dict[str, Any]:
        """Show these visits beside the closure."""
        page: Any = self
        context: dict[str, Any] = await super().details_context(request)  # type: ignore[misc]  # the page's own
        closure = await page.get_object_for_details(request)
        return {**context, "touched": await self.touched(closure), "most_touched": MOST_TOUCHED}

    async def insert_model(self, request: Request, data: dict[str, Any]) -> Any:
        """Close, and say whom that concerns."""
        return await self.warn(request, await super().insert_model(request, data))  # type: ignore[misc]  # the page's own

    async def update_model(self, request: Request, pk: str, data: dict[str, Any]) -> Any:
        """Change a closure, and say whom that concerns."""
        return await self.warn(request, await super().update_model(request, pk, data))  # type: ignore[misc]  # as above

    async def warn(self, request: Request, closure: CalendarException) -> CalendarException:
        """Say on the next page how many visits a closure falls upon; its own page lists them."""
        found = await self.touched(closure)
        if found:
            count = f"More than {MOST_TOUCHED}" if len(found) > MOST_TOUCHED else str(len(found))
            falls = "visit falls" if len(found) == 1 else "visits fall"
            numbers = ", ".join(f"#{visit['id']}" for visit in found[:5]) + ("…" if len(found) > 5 else "")  # noqa: PLR2004 -- enough to find the rest by
            Flash.warning(request, f"{count} {falls} into this closure: {numbers}. Its page lists them.")
        return closure
