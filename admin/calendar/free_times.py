"""The free times of a day, which the booking dialog shows as buttons, and why there are none."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from admin.calendar import wall_clock
from admin.framework.context import context_of
from admin.framework.custom_page import Client, CustomPage
from admin.framework.page_state import page_state
from admin.framework.permissions import require_permission
from bookit import refusals as no
from bookit.bookings import availability
from bookit.bookings.availability import Visit
from bookit.bookings.claims import names_of_slot, resources_of_slot
from bookit.db.session import Reader
from bookit.db.statements import Row
from bookit.policy import limits
from bookit.policy.limits import MAX_BIGINT
from bookit.policy.permissions import Actor
from bookit.schema.tables import MAX_PARTY, MAX_ROLES, Booking

# The hours of each part of a day, by the clock on the wall.
PARTS: Mapping[str, tuple[int, int]] = {"": (0, 24), "morning": (0, 12), "afternoon": (12, 17), "evening": (17, 24)}
MOST_TIMES = 60
# The starts at which it is asked why none is free, by the clock on the wall.
ASKED_HOURS = range(7, 22)
WHY: Mapping[type[no.Refusal], str] = {
    no.InThePast: "already over",
    no.OutsideHours: "not working",
    no.Closed: "away",
    no.SlotTaken: "booked",
}


class FreeTimesQuery(BaseModel):
    """What the dialog asks: a service, a day and part of it, and perhaps one resource, in the position it can have."""

    model_config = ConfigDict(extra="forbid")

    service_id: Annotated[int, Field(ge=1, le=MAX_BIGINT)]
    day: date
    part: str = Field(default="", pattern=f"^({'|'.join(PARTS)})$")
    resource_id: Annotated[int, Field(ge=1, le=MAX_BIGINT)] | None = None
    position: Annotated[int, Field(ge=1, le=MAX_ROLES)] = 1
    seats: Annotated[int, Field(ge=1, le=MAX_PARTY)] = 1

    @property
    def visit(self) -> Visit:
        """The visit that is looked for."""
        others = {self.position: self.resource_id} if self.resource_id and self.position > 1 else None
        first = self.resource_id if self.position == 1 else None
        return Visit(self.service_id, first, seats=self.seats, others=others, for_desk=True)

    def hour(self, hour: int, zone: ZoneInfo) -> datetime:
        """Return an hour of the day by the clock on the wall; 24 is the midnight after it."""
        local = datetime.combine(self.day, datetime.min.time()) + timedelta(hours=hour)
        return local.replace(tzinfo=zone).astimezone(UTC)


def read_query(request: Request) -> FreeTimesQuery:
    """Return the query. Raise 422 if it is not what the dialog sends."""
    try:
        query = FreeTimesQuery.model_validate(dict(request.query_params))
    except ValidationError:
        raise HTTPException(422, "The calendar did not send this.") from None
    if not limits.CALENDAR_START.date() < query.day < limits.CALENDAR_END.date():
        raise HTTPException(422, "The calendar does not have this day.")
    return query


async def free_times(request: Request) -> Response:
    """Return the starts of a day, or of a part of it, at which the desk can book a service."""
    require_permission(request, "create", Booking)
    context, query = context_of(request), read_query(request)
    since, until = (query.hour(hour, context.zone) for hour in PARTS[query.part])
    since = max(since, context.now())
    rows = await availability.slots(
        context.database, query.visit, since=since, until=max(since, until), now=context.now(), limit=MOST_TIMES + 1
    )
    slots = [slot_as_dict(row, context.zone) for row in rows[:MOST_TIMES]]
    return JSONResponse({"slots": slots, "has_more": len(rows) > MOST_TIMES})


def slot_as_dict(slot: Row, zone: ZoneInfo) -> dict[str, object]:
    """Return a free start as the dialog takes it, with the first resources that are free then."""
    return {
        "start": wall_clock.to_wall_clock(slot["start_time"], zone),
        "time": f"{slot['start_time'].astimezone(zone):%H:%M}",
        "resource_id": slot["ids"][0],
        "resources": resources_of_slot(slot),
        "resource": names_of_slot(slot),
    }


async def why_none(request: Request) -> Response:
    """Return for each resource why it is not free on a day: one sentence each."""
    require_permission(request, "create", Booking)
    context, query = context_of(request), read_query(request)
    first, last = PARTS[query.part]
    asked = [hour for hour in ASKED_HOURS if first <= hour < last]
    found = [
        await check_hour(
            context.database, query, query.hour(hour, context.zone), page_state(request).actor, context.now()
        )
        for hour in asked
    ]
    reasons: dict[str, list[str]] = {}
    for hour in found:
        for name, reason in hour.items():
            reasons.setdefault(name, []).append(reason)
    sentences = [f"{name}: {join_reasons(given)}." for name, given in reasons.items()]
    return JSONResponse({"reasons": sentences or ["Nobody is set up for this service."]})


async def check_hour(
    reader: Reader, query: FreeTimesQuery, start: datetime, by: Actor, now: datetime
) -> dict[str, str]:
    """Return for the name of each resource what forbids a start on it, or that it is free then."""
    checks = await availability.check_start(reader, query.visit, start=start, by=by, now=now, with_free_seats=True)
    return {check["name"]: reason_of(check, start=start, now=now) for check in checks}


def reason_of(check: Row, *, start: datetime, now: datetime) -> str:
    if start <= now:
        return WHY[no.InThePast]
    kinds = [type(refusal) for refusal in availability.obstacles(check, now=now)]
    return next((reason for kind, reason in WHY.items() if kind in kinds), "free for a shorter visit")


def join_reasons(reasons: Sequence[str]) -> str:
    """Return reasons in the order of the day, each as long as it lasts once: "not working, then booked"."""
    changes = [reasons[0], *(later for earlier, later in pairwise(reasons) if later != earlier)]
    return ", then ".join(changes)


PAGES = [
    CustomPage("/calendar/free-times", "calendar-free-times", free_times, client=Client.SCRIPT),
    CustomPage("/calendar/why-none", "calendar-why-none", why_none, client=Client.SCRIPT),
]
