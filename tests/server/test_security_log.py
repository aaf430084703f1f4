"""The security log: what a line has, and by which network limits count an address."""

import json
import subprocess
import sys

import pytest

from tests.support.server import ROOT
from web.client_address import client_address, network_of

REPORT_AN_EVENT = """
from bookit import security_log
from server.logs import configure_logging

configure_logging()
security_log.request_source.set(security_log.RequestSource("192.0.2.7", "req-1"))
security_log.report("wrong password", account=12)
"""


def test_a_security_event_has_address_account_and_request() -> None:
    result = subprocess.run(
        [sys.executable, "-c", REPORT_AN_EVENT], cwd=ROOT, capture_output=True, text=True, check=True
    )

    line = json.loads(result.stderr)
    assert line.pop("timestamp")
    assert line == {
        "event": "security",
        "event_kind": "wrong password",
        "address": "192.0.2.7",
        "account": 12,
        "request_id": "req-1",
        "level": "warning",
        "logger": "bookit.security",
    }


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_an_ipv6_address_counts_as_its_network(address: str, network: str) -> None:
    assert network_of(address) == network


def test_a_scope_without_a_client_has_no_address() -> None:
    assert [client_address({"client": ("192.0.2.7", 1)}), client_address({"client": None})] == ["192.0.2.7", ""]
