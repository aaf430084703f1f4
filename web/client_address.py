"""The address of a client, and the network that limits count it by."""

from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any

IPV6_PREFIX = 64  # bits; the smallest network that a provider gives to one customer (RFC 6177)


def client_address(scope: Mapping[str, Any]) -> str:
    """Return the address of the client of a request, or "" if the server does not know it."""
    client: tuple[str, int] | None = scope.get("client")
    return client[0] if client else ""


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """Return what limits count an address by: an IPv4 address itself, the /64 network of an IPv6 address.

    An IPv4 address that is written as IPv6 is the IPv4 address. What is no address stands for itself.
    """
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> (128 - IPV6_PREFIX) << (128 - IPV6_PREFIX))}/{IPV6_PREFIX}"


@lru_cache(maxsize=4096)
def is_loopback(address: str) -> bool:
    """Return whether this is an address of the machine itself."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed).is_loopback
