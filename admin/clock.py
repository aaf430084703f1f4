"""The one place of this door that asks what time it is."""

from datetime import UTC, datetime


def system_clock() -> datetime:
    """Give the time now."""
    return datetime.now(UTC)
