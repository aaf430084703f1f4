"""The numbers: how much, how long, how often."""

from datetime import UTC, datetime, timedelta

PASSWORD_BYTES = 72  # bcrypt reads no further.


PASSWORD_LEAST = 8


# How often somebody may try to sign in before they must wait, and over which time; a right password starts anew.
TRIES_OF_ACCOUNT = 10


TRIES_OF_ADDRESS = 100


TRIES_PER = timedelta(minutes=5)


KEY_LIVES = timedelta(hours=24)


MOST_DAYS = 62  # of free slots at once


MOST_SLOTS = 10_000


REPORT_DAYS = 30  # unless somebody asks for others


MOST_REPORT_DAYS = 366


LATE_AFTER = timedelta(minutes=15)  # who is confirmed and has not come by then is asked after


MOST_SHOWN = 8  # of each list on the page of today


MOST_COUNTED = 1_000


# As a service does, and no longer: whoever looks for the visits of some time looks no further back than that.
LENGTHS = (timedelta(minutes=1), timedelta(days=1))


CALENDAR = (datetime(2000, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC))
