"""The edge: hosts that are served, proxies that are trusted, and what is said over HTTPS alone."""

import logging
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from bookit.settings import Settings, SettingsError, read_settings
from server.app import build
from server.edge import TrustedProxyMiddleware
from tests.support.admin_client import BuildApp

PROXY, CLIENT = "10.0.0.7", "198.51.100.9"


def make_client(open_door: BuildApp, settings: Settings, address: str = "127.0.0.1") -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(open_door(settings), client=(address, 1))
    return httpx2.AsyncClient(transport=transport, base_url="http://bookit.test")


def security_lines(caplog: pytest.LogCaptureFixture, event: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if getattr(record, "event_kind", None) == event]


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        ([], "anything.example", 404),
        (["salon.example"], "salon.example", 404),
        (["salon.example"], "SALON.example:8443", 404),
        (["salon.example"], "salon.example.", 404),
        (["salon.example"], "evil.example", 400),
        (["salon.example"], "salon.example.evil.example", 400),
        (["salon.example"], "desk.salon.example", 400),
        (["*.salon.example"], "desk.salon.example", 404),
        (["*.salon.example"], "a.b.salon.example", 404),
        (["*.salon.example"], "salon.example", 400),
        (["*.salon.example"], "evilsalon.example", 400),
        (["[::1]"], "[::1]:8000", 404),
        (["*"], "anything.example", 404),
    ],
)
async def test_a_host_that_is_not_allowed_is_refused(
    open_door: BuildApp, settings: Settings, allowed: Sequence[str], host: str, status: int
) -> None:
    async with make_client(open_door, settings.model_copy(update={"allowed_hosts": allowed})) as client:
        for path in ("/nothing-here", "/admin/nothing-here"):
            answer = await client.get(path, headers={"host": host})
            if status == 400:
                assert (answer.status_code, answer.json()["code"]) == (400, "unknown-host"), path
            else:
                assert answer.status_code != 400, path
        assert (await client.get("/healthz", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "[",
        "a b",
        "a/b",
        "user@salon.example",
        "salon.example:port",
        "<script>",
        "a,b",
        "x" * 300,
        "-",
        "[:::]",
        "[::1",
        "[1.2.3.4]",
    ],
)
async def test_a_host_that_cannot_be_read_is_refused(
    open_door: BuildApp, settings: Settings, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_client(open_door, settings) as client:
        answers = [await client.get(path, headers={"host": host}) for path in ("/services", "/admin/", "/healthz")]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(400, "unreadable-host")] * 3
    assert len(security_lines(caplog, "host refused")) == 3


async def test_two_hosts_are_refused(open_door: BuildApp, settings: Settings) -> None:
    async with make_client(open_door, settings) as client:
        answer = await client.get("/services", headers=[("host", "bookit.test"), ("host", "evil.example")])

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "seen"),
    [
        ([PROXY], PROXY, CLIENT, CLIENT),
        (["10.0.0.0/8"], PROXY, CLIENT, CLIENT),
        (["10.0.0.0/8"], PROXY, f"192.0.2.1, {CLIENT}, 10.9.9.9", CLIENT),
        ([PROXY], CLIENT, "192.0.2.1", CLIENT),
        (["127.0.0.1/32", "::1/128"], PROXY, CLIENT, PROXY),
    ],
)
async def test_only_a_trusted_proxy_says_who_the_client_is(
    open_door: BuildApp,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    trusted: Sequence[str],
    peer: str,
    forwarded: str,
    seen: str,
) -> None:
    async with make_client(open_door, settings.model_copy(update={"trusted_proxies": trusted}), peer) as client:
        headers = {"x-forwarded-for": forwarded, "x-forwarded-proto": "https", "host": "["}
        answer = await client.get("/services", headers=headers)

    assert {vars(record)["address"] for record in security_lines(caplog, "host refused")} == {seen}
    is_trusted = seen != peer
    assert ("strict-transport-security" in answer.headers) is is_trusted
    assert bool(security_lines(caplog, "proxy not trusted")) is not is_trusted


async def test_https_is_for_a_year(open_door: BuildApp, settings: Settings) -> None:
    async with make_client(open_door, settings) as client:
        secure = await client.get("https://bookit.test/services")
        plain = await client.get("/services")

    assert secure.headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in plain.headers


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("ALLOWED_HOSTS", "Salon.example, *.salon.example", ["salon.example", "*.salon.example"]),
        ("ALLOWED_HOSTS", '["bücher.example","[::1]"]', ["xn--bcher-kva.example", "[::1]"]),
        ("TRUSTED_PROXIES", "10.0.0.7,10.1.0.0/16", ["10.0.0.7/32", "10.1.0.0/16"]),
        ("TRUSTED_PROXIES", "*", ["*"]),
        ("TRUSTED_PROXIES", "", []),
    ],
)
def test_hosts_and_proxies_are_read(name: str, value: str, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)

    assert getattr(read_settings(_env_file=None), name.lower()) == read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_HOSTS", "https://salon.example"),
        ("ALLOWED_HOSTS", "salon.example:8000"),
        ("ALLOWED_HOSTS", "a b"),
        ("TRUSTED_PROXIES", "nginx"),
        ("TRUSTED_PROXIES", "10.0.0.7/8"),
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
    ],
)
def test_nonsense_is_refused_at_the_start(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=f"^{name}: .* is not an? "):
        read_settings(_env_file=None)


@pytest.mark.parametrize("fallback", ["short", "a" * 40, "your-super-secret-key-change-in-production"])
def test_a_weak_older_key_is_refused_too(fallback: str) -> None:
    settings = read_settings(
        _env_file=None,
        secret_key=SecretStr("0f3b7c9d1e5a82647b9c0d2e4f6a8b1c"),
        secret_key_fallbacks=[SecretStr(fallback)],
    )

    with pytest.raises(SettingsError, match=r"^A secret in SECRET_KEY_FALLBACKS "):
        settings.with_secret()


def test_an_application_trusts_proxies_whatever_serves_it(settings: Settings) -> None:
    """`uvicorn main:app` knows nothing of TRUSTED_PROXIES: the application itself asks."""
    outermost: Any = build(settings).user_middleware[0]

    assert (outermost.cls, outermost.args) == (TrustedProxyMiddleware, (settings.trusted_proxies,))
