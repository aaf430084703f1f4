"""Statements that are built from parts, stored in full, so that a reader need not assemble them.

To update the files after a change: ``python -m tests.support.snapshots``.
"""

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import TextClause

from bookit.bookings import acts, availability_sql
from bookit.reports import dashboard, figures_sql

TESTS = Path(__file__).parents[1]
STATEMENTS: Mapping[str, TextClause] = {
    "bookings/snapshots/slots.sql": availability_sql.SLOTS[False],
    "bookings/snapshots/slots_of_booking.sql": availability_sql.SLOTS[True],
    "bookings/snapshots/check_with_free_seats.sql": availability_sql.CHECK_WITH_FREE_SEATS[True],
    "bookings/snapshots/open_times.sql": availability_sql.OPEN_TIMES,
    "bookings/snapshots/book.sql": acts.BOOK,
    "reports/snapshots/utilisation.sql": figures_sql.UTILISATION[False, False],
    "reports/snapshots/utilisation_of_one_period.sql": figures_sql.UTILISATION[False, True],
    "reports/snapshots/utilisation_with_gaps.sql": figures_sql.UTILISATION[True, False],
    "reports/snapshots/utilisation_with_gaps_of_one_period.sql": figures_sql.UTILISATION[True, True],
    "reports/snapshots/visit_totals.sql": figures_sql.VISIT_TOTALS,
    "reports/snapshots/repeat_customers.sql": figures_sql.REPEAT_CUSTOMERS,
    "reports/snapshots/free_today.sql": dashboard.FREE_TODAY,
    "reports/snapshots/booking_lists.sql": dashboard.BOOKING_LISTS,
}


def sql_of(name: str) -> str:
    return STATEMENTS[name].text.strip() + "\n"


if __name__ == "__main__":
    for name in STATEMENTS:
        (TESTS / name).write_text(sql_of(name), encoding="utf-8")
