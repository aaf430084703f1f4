"""Which bookings belong to a range of time: also those that began before it and still run in it, such as rentals."""

from typing import Any

from sqlalchemy import ARRAY, BigInteger, ColumnElement, and_, column, func, or_, select

from bookit.schema.tables import Booking, table_of

BOOKINGS = table_of(Booking).c


def meets(since: Any, until: Any) -> ColumnElement[bool]:
    """Return the condition that a booking meets a short range, such as a day.

    Its bookings are found first: no other plan reads as little.
    """
    reaching = reaching_from(since)
    found = select(reaching.id).where(reaching.start_time < until, reaching.end_time > since)
    return BOOKINGS.id == func.any(array_of_ids(found))


def ends_after(moment: Any) -> ColumnElement[bool]:
    """Return the condition that a booking ends after a moment, for a range that can be long.

    An index has the starts alone. So those that run at the moment are found first, and the index is read from the first
    of them on. ``earliest_start`` tells the planner how much that is at most.
    """
    reaching = reaching_from(moment)
    running = (
        select(reaching.id, reaching.start_time)
        .where(reaching.start_time < moment, reaching.end_time > moment)
        .cte("running")
        .prefix_with("MATERIALIZED")
    )
    first = select(func.min(running.c.start_time)).scalar_subquery()
    return and_(
        BOOKINGS.start_time >= func.earliest_start(moment),
        BOOKINGS.start_time >= func.least(first, moment),
        or_(BOOKINGS.start_time >= moment, BOOKINGS.id == func.any(array_of_ids(select(running.c.id)))),
    )


def reaching_from(moment: Any) -> Any:
    """Return the columns of the bookings that can still run at a moment, or start later."""
    columns = [column(name, BOOKINGS[name].type) for name in ("id", "start_time", "end_time")]
    return func.bookings_reaching(moment).table_valued(*columns).alias("reaching").c


def array_of_ids(ids: Any) -> ColumnElement[Any]:
    """Return the ids that a statement reads as one array."""
    return func.array(ids.scalar_subquery(), type_=ARRAY(BigInteger, as_tuple=True))
