"""When a service can be booked, and why it cannot be booked at a given time.

The rules, which ``availability_sql.py`` asks of the database. All ranges are half-open: a visit is [start, end), and
one visit may start when another ends.

- A resource is open in its weekly hours, by its own wall clock. A resource without weekly hours is always open.
- Openings and closures of all resources override weekly hours, and a resource's own override those. If an opening and
  a closure of the same kind overlap, the closure wins.
- The visit must lie in open time. Setup and cleanup may lie outside it, but no other booking may overlap them.
- Of a service that binds hours at the ends, as of a rental, only the start and the end must lie in open time. The visit
  may end just when the resource opens or closes; a closure between the two is no obstacle.
- A service may need more than one resource. Each is in a position of its own, and none is in two. Each must be open and
  free for the parts of the visit that it serves: not in its pause, in which it may serve somebody else. With hours
  bound at the ends, its first and its last moment count. Notice, horizon, clock and starts are those of the first.
- A visit may take several seats of a resource, all or none. One that takes it at no time, as its pause lasts for the
  whole visit, needs no seat.
- A visit of whole days ends at the time of day at which it began, by the clock of its resource.
- Starts are counted from each opening: every ``slot_step_minutes``, or else every ``duration_minutes``; from midnight
  if the resource is always open. A service with a slot step can be booked at these starts only, by staff with a reason
  at any minute. One without a step can be booked at any minute; these starts are the ones that are offered.

Wall-clock times are read as PostgreSQL reads them: a time that the clock change skips by the clock before it, and a
time that happens twice as the second one. A date that a zone skipped (Apia had no 30 December 2011) has no hours.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bookit import refusals as no
from bookit.bookings import availability_sql
from bookit.bookings.claims import resources_of
from bookit.db.session import Reader
from bookit.db.statements import Row
from bookit.policy import limits, times
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking

LOOK_AHEAD_DAYS = (2, 14, 62)  # Most businesses have a free slot within the first two days.
# The refusals that staff may override with a reason, and all refusals that another time could avoid.
OVERRIDABLE_REFUSALS = (no.TooSoon, no.TooFarAhead, no.OutsideHours, no.Closed, no.BetweenSlots)
TIME_REFUSALS = (no.InThePast, *OVERRIDABLE_REFUSALS, no.SlotTaken)


@dataclass(frozen=True)
class Visit:
    """A visit to look for: a service, perhaps on one resource, perhaps in place of an existing booking.

    ``duration`` is the length of that booking, or else of the service, unless it is set; ``seats`` are those of that
    booking, or else one. ``others`` has the resources that must be in further positions, by position from 2 on; any
    resource that can be there may be in a position that is left out. ``for_desk`` leaves out the rules that are for
    customers: notice, horizon and slot step.
    """

    service_id: int
    resource_id: int | None = None
    booking_id: int | None = None
    duration: timedelta | None = None
    seats: int | None = None
    others: Mapping[int, int] | None = field(default=None, hash=False)
    for_desk: bool = False

    def params(self) -> dict[str, Any]:
        """Return the parameters of the visit for the statements of ``availability_sql``."""
        others = self.others or {}
        other_ids = [others.get(position) for position in range(2, max(others, default=1) + 1)]
        return {**vars(self), "other_ids": other_ids}


def visit_after(
    booking: Booking,
    *,
    start_time: datetime | None = None,
    end_time: datetime | None = None,
    resource_id: int | None = None,
    resources: Mapping[int, int] | None = None,
    seats: int | None = None,
    keeps_resource: bool = True,
) -> Visit:
    """Return the visit that a booking becomes with these changes. Without ``end_time`` it keeps its length.

    ``resources`` are by position, and ``resource_id`` is that of the first. In other positions it keeps its resource
    or, unless it ``keeps_resource``, has any.
    """
    start = start_time or booking.start_time
    duration = end_time - start if end_time else None
    placed = (resources_of(booking) if keeps_resource else {}) | dict(resources or {})
    others = {position: other for position, other in placed.items() if position > 1}
    return Visit(booking.service_id, resource_id or placed.get(1), booking.id, duration, seats, others or None)


async def slots(
    reader: Reader, visit: Visit, *, since: datetime, until: datetime, now: datetime, limit: int = limits.MAX_SLOTS + 1
) -> list[Row]:
    """Return the free slots that start at ``since`` or later and before ``until``, by start.

    A row has ``start_time`` and ``end_time`` in UTC and the ``timezone`` of its first resources. Three arrays in the
    order of resource ids have the ``ids``, the ``names`` and the free ``seats`` of these. ``others`` is None, or for a
    service with needs a list in the same order: for each first resource, who else would take part. That is one dict for
    each further position, with its ``position``, ``role``, ``resource_id`` and ``name``.
    """
    statement = availability_sql.SLOTS[visit.booking_id is not None]
    return await reader.fetch(statement, since=since, until=until, now=now, limit=limit, **visit.params())


async def open_times(reader: Reader, resource_ids: Collection[int], *, since: datetime, until: datetime) -> list[Row]:
    """Return when each of these resources is open in a range, with openings added and closures taken off.

    A row is one stretch: ``resource_id``, ``start_time``, ``end_time``. Rows are sorted by resource, then by start.
    """
    statement = availability_sql.OPEN_TIMES
    return await reader.fetch(statement, resource_ids=list(resource_ids), since=since, until=until)


async def next_free(reader: Reader, visit: Visit, *, since: datetime, now: datetime, count: int = 3) -> list[Row]:
    """Return the next free slots from a moment on, at most ``count``. Look up to 62 days ahead."""
    since = max(since, now)

    async def search() -> list[Row]:
        rows: list[Row] = []
        for days in LOOK_AHEAD_DAYS:
            until = min(since + timedelta(days=days), limits.CALENDAR_END)
            rows = await slots(reader, visit, since=since, until=until, now=now, limit=count)
            if len(rows) == count or until == limits.CALENDAR_END:
                break
        return rows

    # Clients that lost a race for a slot all ask this at the same time.
    return await reader.coalesce((visit, since, count), search)


async def attach_next_free(
    reader: Reader, refusal: no.Refusal, visit: Visit, *, since: datetime, now: datetime
) -> None:
    """Add the next free slots to a refusal that another time could avoid.

    Call this after the refused transaction has ended, so that its locks are released.
    """
    if isinstance(refusal, TIME_REFUSALS):
        refusal.next_free = await next_free(reader, visit, since=since, now=now)


async def check_start(
    reader: Reader, visit: Visit, *, start: datetime, by: Actor, now: datetime, with_free_seats: bool = False
) -> list[Row]:
    """Check a start against every rule. Return one row for each ``position`` and resource that can be in it.

    ``obstacles`` reads these rows. With ``with_free_seats`` each also has its number of ``free_seats``, and whether the
    resource ``has_room`` for the visit.
    """
    checks = availability_sql.CHECK_WITH_FREE_SEATS if with_free_seats else availability_sql.CHECK
    statement = checks[visit.booking_id is not None]
    return await reader.fetch(statement, **start_params(start, by=by, now=now), **visit.params())


def start_params(start: datetime, *, by: Actor, now: datetime) -> dict[str, Any]:
    """Return the parameters that check one start. Only staff may enter visits of the past."""
    return {"since": start, "until": start, "now": now, "allows_past": by.is_staff}


def obstacles(check: Row, *, now: datetime) -> list[no.Refusal]:
    """Return every rule that forbids a visit on the resource of this check; an empty list means it can be booked."""
    refusals: list[no.Refusal] = []
    if not check["has_notice"]:
        refusals.append(refusal_for_notice(check, now=now))
    if not check["is_within_horizon"]:
        refusals.append(no.TooFarAhead(horizon=times.format_duration(timedelta(days=check["horizon_days"]))))
    if not check["is_in_hours"]:
        refusals.append(no.OutsideHours())
    elif not check["is_on_step"]:
        refusals.append(no.BetweenSlots(step=times.format_step(check["step"])))
    if not check["is_not_closed"]:
        refusals.append(no.Closed())
    if not check.get("has_room", True):
        refusals.append(no.SlotTaken())
    return refusals


def refusal_for_notice(check: Row, *, now: datetime) -> no.Refusal:
    if check["start_time"] <= now:
        return no.InThePast()
    return no.TooSoon(notice=times.format_duration(check["earliest"] - now))


def best_refusal(
    checks: Sequence[Row], *, now: datetime, ignoring: tuple[type[no.Refusal], ...] = ()
) -> no.Refusal | None:
    """Return a refusal for the first position in which each resource has an obstacle, or None.

    It is of the resource with the fewest obstacles.
    """
    for position in sorted({check["position"] for check in checks}):
        refusals_by_check = [
            [refusal for refusal in obstacles(check, now=now) if not isinstance(refusal, ignoring)]
            for check in checks
            if check["position"] == position
        ]
        if fewest := min(refusals_by_check, key=len):
            return fewest[0]
    return None


async def affected_bookings(
    reader: Reader,
    *,
    since: datetime,
    until: datetime,
    resource_id: int | None,
    now: datetime,
    limit: int,
    timezone: str | None = None,
    ends_after: datetime | None = None,
) -> list[Row]:
    """Return the live bookings that overlap a range, by start; of one resource, or of all if it is None.

    With a ``timezone`` each resource has the range at the same times by its own clock as that zone has it. With
    ``ends_after`` return only visits that end later.
    A row has ``id``, ``start_time``, ``status``, and the names of ``customer``, ``service`` and ``resource``.
    """
    statement = availability_sql.AFFECTED
    return await reader.fetch(
        statement,
        since=since,
        until=until,
        timezone=timezone,
        ends_after=ends_after or since - timedelta(days=2),
        resource_id=resource_id,
        now=now,
        limit=limit,
    )
