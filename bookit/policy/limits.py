"""Limits: how much, how long, how often."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bookit.schema.fields import MAX_VISIT_DAYS

MAX_BODY_BYTES = 64 * 1024  # of a request: ten times the longest; 1 MiB of nonsense would take half a second to parse.
MAX_HEAD_BYTES = 32 * 1024  # of a request: of its address and headers, of its trailers, of one chunk's extension
HEAD_SECONDS = 10  # for the head of a request, from its first byte
BODY_SECONDS = 30  # for the body, from the end of the head
RESPONSE_SECONDS = 30  # until bytes of a response are taken; a stream may last as long as its client reads
MAX_CONNECTIONS = 10_000  # of a server process, or fewer: each is an open file
OWN_FILES = 64  # that a server process needs besides connections of clients and of the database
REPORT_SECONDS = 60  # between two lines of the log about connections from one address
MAX_REPORTED_ADDRESSES = 1_000  # of refused connections; the others share one line

MAX_BIGINT = 2**63 - 1  # PostgreSQL's largest; ids have this type.

MAX_PASSWORD_BYTES = 72  # bcrypt ignores the rest.
MIN_PASSWORD_LENGTH = 8

# Failed sign-ins within the window before the user must wait. A successful sign-in resets the count.
MAX_ATTEMPTS_PER_ACCOUNT = 10
MAX_ATTEMPTS_PER_ADDRESS = 100
ATTEMPT_WINDOW = timedelta(minutes=5)
MAX_ATTEMPT_WAIT = timedelta(hours=1)  # for the turn of a network at an account that many guess at

# Wrong codes of a second factor within the window before the user must wait. Recovery codes, which nobody can guess,
# are counted by address alone; passkeys are not counted.
MAX_CODES_PER_ACCOUNT = 5
MAX_CODES_PER_ADDRESS = 20
CODE_WINDOW = timedelta(minutes=15)
SECOND_FACTOR_TIME = timedelta(minutes=5)  # after the password; and to use a passkey, or a confirmation
MAX_PASSKEYS = 20  # of one user
RECOVERY_CODES = 10

IDEMPOTENCY_TTL = timedelta(hours=24)
REFUSAL_TTL = timedelta(minutes=10)  # of a key whose request was refused: a client that tries again does so soon

MAX_AVAILABILITY_DAYS = 62  # of one query for free slots
MAX_SLOTS = 10_000

DEFAULT_REPORT_DAYS = 30
MAX_REPORT_DAYS = 366

OVERDUE_AFTER = timedelta(minutes=15)  # A live booking this late is listed as "not closed yet".
MAX_DASHBOARD_ROWS = 8  # of each list of the dashboard
MAX_DASHBOARD_COUNT = 1_000
MAX_TAKINGS_ROWS = 500  # of each list of the day closing

# Length of a visit and of a service. Range queries rely on the maximum and look back no further.
MIN_VISIT_LENGTH = timedelta(minutes=1)
MAX_VISIT_LENGTH = timedelta(days=MAX_VISIT_DAYS)  # by the clock on the wall
LONG_VISIT = timedelta(hours=26)  # A longer one is long, as is_long() of the database has it.

# A start lies in [CALENDAR_START, CALENDAR_END).
CALENDAR_START = datetime(2000, 1, 1, tzinfo=UTC)
CALENDAR_END = datetime(3000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class BookingLimits:
    """How many holds and bookings to come a customer may have who has never come. Zero is no limit.

    Each visit kept allows one hold and five bookings more, up to ten holds and 200 bookings. Staff have no limits. A
    booking of a customer without a past is cancelled if it stays ``unconfirmed_for`` so long.
    """

    holds: int = 3
    bookings: int = 30
    unconfirmed_for: timedelta = timedelta(hours=72)

    def __str__(self) -> str:
        """Return the limits as the setting that the database reads: ``3,30``."""
        return f"{self.holds},{self.bookings}"


DEFAULT_BOOKING_LIMITS = BookingLimits()
