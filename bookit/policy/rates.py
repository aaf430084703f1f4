"""Rates: how many requests of each kind one address or one account may send, and in what time.

``KINDS`` is the table. A request takes from each rate of its kind that applies to its sender: a visitor is counted by
address, and an IPv6 address by its /64 network; who has signed in is counted by account. A full quota may be used at
once, and is refilled evenly over the window (the generic cell rate algorithm). The setting RATE_LIMITS multiplies every
quota.

A rate that is shared is counted in PostgreSQL for all processes: that costs a round trip, so it is for what is dear or
rare. Every other rate is counted in the memory of each process, so N processes allow up to N times as much.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
# For requests from the machine itself: a load test, or a proxy that names no client, so that all clients are one.
# Strict rates, and the shared rates of an account, stay as they are.
LOOPBACK_FACTOR = 10
REPORT_SECONDS = 60  # between two lines of the security log about the same sender and rate
MAX_COUNTERS = 20_000  # of one rate in the memory of a process; the longest unused are forgotten

Unit = Literal["requests", "days", "concurrent-requests"]
Audience = Literal["visitor", "customer", "staff"]


@dataclass(frozen=True, eq=False, slots=True)
class Rate:
    """A quota that is refilled evenly over a window.

    A rate of concurrent requests has no window: the quota is how many may be open. What is dear ``is_strict``: the
    machine itself gets no more of it than others.
    """

    name: str
    quota: int
    window: timedelta = MINUTE
    unit: Unit = "requests"
    is_shared: bool = False
    is_strict: bool = False


@dataclass(frozen=True, eq=False)
class RequestKind:
    """A kind of request: its rates for each audience, and why they are as they are.

    Visitors are counted by address, all others by account.
    """

    title: str
    why: str
    visitor: tuple[Rate, ...] = ()
    customer: tuple[Rate, ...] = ()
    staff: tuple[Rate, ...] = ()

    def rates_for(self, audience: Audience) -> tuple[Rate, ...]:
        """Return the rates that count requests of this audience."""
        return {"visitor": self.visitor, "customer": self.customer, "staff": self.staff}[audience]


_READS = Rate("reads", 6_000)
_STAFF_WRITES = Rate("writes", 1_200)
_SIGN_IN = Rate("sign-in", 600, timedelta(minutes=5), is_shared=True)
_PERSONAL_DATA = Rate("personal-data", 3, timedelta(minutes=3), is_shared=True)

# Every request is of this kind, besides its own: whoever sends it, whatever token it has, wherever it goes.
EVERYTHING = RequestKind(
    "any request, whoever sends it", "A shop may share one address: this is 500 a second, which only a flood sends.",
    visitor=(Rate("requests", 30_000),),
)  # fmt: skip
READS = RequestKind(
    "reads", "A page of a shop makes ten requests; nobody opens ten pages a second for a minute.",
    (_READS,), (_READS,), (_READS,),
)  # fmt: skip
HEALTH = RequestKind(
    "health checks", "Ten a second: a probe asks once a second, and several may share an address.",
    visitor=(Rate("health", 600),),
)  # fmt: skip
AVAILABILITY = RequestKind(
    "free slots, by day", "Each day costs about a millisecond. This is sixty requests of two months, or 531 of a week.",
    (Rate("availability", 60 * 62, unit="days", is_strict=True),),
    (Rate("availability", 60 * 62, unit="days"),),
    (Rate("availability", 600 * 62, unit="days"),),
)  # fmt: skip
SIGN_UP = RequestKind(
    "sign-ups", "Each hashes a password for a quarter of a second. A class of people may register from one room.",
    visitor=(Rate("sign-up", 100, HOUR, is_shared=True, is_strict=True),),
)  # fmt: skip
SIGN_IN = RequestKind(
    "sign-ins, right or wrong", "Two a second from one address. Wrong ones have a stricter limit of their own.",
    visitor=(_SIGN_IN,),
    staff=(_SIGN_IN,),
)  # fmt: skip
REFRESH = RequestKind(
    "refreshes and sign-outs", "A client refreshes twice an hour, so 300 a minute are those of 9,000 clients.",
    visitor=(Rate("refresh", 300, is_shared=True),),
)  # fmt: skip
BOOKINGS = RequestKind(
    "new bookings", "A customer books ten or twenty visits at a time; an assistant may try every slot of a day.",
    customer=(Rate("bookings", 300), Rate("bookings-a-day", 3_000, DAY)),
    staff=(_STAFF_WRITES,),
)  # fmt: skip
HOLDS = RequestKind(
    "holds, besides new bookings", "A hold blocks a slot for nothing. A customer tries a few before booking.",
    customer=(Rate("holds", 60, HOUR, is_shared=True),),
    staff=(_STAFF_WRITES,),
)  # fmt: skip
WRITES = RequestKind(
    "other writes", "History keeps each change for ever. At the desk, several people may share an account.",
    customer=(Rate("writes", 300), Rate("writes-a-day", 3_000, DAY, is_shared=True)),
    staff=(_STAFF_WRITES,),
)  # fmt: skip
OWN_DATA = RequestKind(
    "personal data of one person", "It may be megabytes. One a minute, and a second try at once.",
    customer=(_PERSONAL_DATA,),
    staff=(_PERSONAL_DATA,),
)  # fmt: skip
EXPORTS = RequestKind(
    "exports of lists", "Each may be every row of a table; there are eight tables in three formats.",
    staff=(Rate("exports", 30, HOUR, is_shared=True),),
)  # fmt: skip
SEARCHES = RequestKind(
    "searches and reports", "A look-up asks at each key that is pressed.",
    staff=(Rate("searches", 600),),
)  # fmt: skip
STREAMS = RequestKind(
    "streams of changes, open at once", "One for each tab with a calendar, on each machine where the account is used.",
    staff=(Rate("streams", 30, unit="concurrent-requests"),),
)  # fmt: skip

KINDS = (
    EVERYTHING, READS, AVAILABILITY, SIGN_UP, SIGN_IN, REFRESH, BOOKINGS, HOLDS, WRITES, OWN_DATA, EXPORTS, SEARCHES,
    STREAMS, HEALTH,
)  # fmt: skip


def all_rates() -> Iterator[Rate]:
    """Yield each rate once."""
    yield from dict.fromkeys(rate for kind in KINDS for rate in (*kind.visitor, *kind.customer, *kind.staff))
