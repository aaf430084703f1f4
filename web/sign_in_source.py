"""Where a sign-in comes from, as the counters of wrong passwords see it."""

from collections.abc import Mapping
from typing import Any

from bookit.people.sign_in import Source
from web.client_address import client_address, is_loopback, network_of


def source_of(scope: Mapping[str, Any], device_token: str, *, is_staff_panel: bool = False) -> Source:
    """Return the source of a request with this token of a device."""
    address = client_address(scope)
    return Source(network_of(address), is_loopback(address), device_token, is_staff_panel)
