"""The numbers: how much, how long, how often."""

from datetime import UTC, datetime, timedelta

MAX_PASSWORD_BYTES = 72  # bcrypt reads no further.


MIN_PASSWORD_LENGTH = 8


# How often somebody may try to sign in before they must wait, and over which time; a right password starts anew.
MAX_ATTEMPTS_PER_ACCOUNT = 10


MAX_ATTEMPTS_PER_ADDRESS = 100


ATTEMPT_WINDOW = timedelta(minutes=5)


IDEMPOTENCY_TTL = timedelta(hours=24)


MAX_AVAILABILITY_DAYS = 62  # of free slots at once


MAX_SLOTS = 10_000


DEFAULT_REPORT_DAYS = 30  # unless somebody asks for others


MAX_REPORT_DAYS = 366


OVERDUE_AFTER = timedelta(minutes=15)  # who is confirmed and has not come by then is asked after


MAX_DASHBOARD_ROWS = 8  # of each list on the page of today


MAX_DASHBOARD_COUNT = 1_000


# As a service does, and no longer: whoever looks for the visits of some time looks no further back than that.
VISIT_LENGTH_RANGE = (timedelta(minutes=1), timedelta(days=1))


CALENDAR_RANGE = (datetime(2000, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC))
