"""The fixed clock of the tests, and the times that examples use."""

from datetime import UTC, datetime, timedelta

NOW = datetime(2030, 1, 7, 9, tzinfo=UTC)  # A Monday.
TOMORROW_AT_TEN = datetime(2030, 1, 8, 10, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        """Return the time this clock shows."""
        return self.now

    def advance(self, **time: float) -> None:
        """Move the clock forward."""
        self.now += timedelta(**time)
