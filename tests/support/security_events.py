"""The lines of the security log that a test has caused."""

from collections.abc import Callable

import pytest

SecurityEvents = Callable[[], list[tuple[str, int | None, str]]]


def read_security_events(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int | None, str]]:
    """Return the event, the account and the detail of each line."""
    records = (vars(record) for record in caplog.records if record.name == "bookit.security")
    return [(record["event_kind"], record.get("account"), record.get("detail", "")) for record in records]
