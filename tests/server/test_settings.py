"""Origins and secrets: every usual spelling is read, and nonsense is refused when BookIt starts."""

import secrets

import pytest
from pydantic import SecretStr

from bookit.settings import SettingsError, is_guessable, read_settings
from tests.support.server import ROOT


def read_origins(text: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the origins that this value of the environment variable allows."""
    monkeypatch.setenv("ALLOWED_ORIGINS", text)
    return read_settings(_env_file=None).allowed_origins


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", []),
        (" , ", []),
        ("[]", []),
        ("*", ["*"]),
        ('["*"]', ["*"]),
        (' [ "*" ] ', ["*"]),
        ("https://www.example.com", ["https://www.example.com"]),
        ("https://a.example, http://localhost:3000/", ["https://a.example", "http://localhost:3000"]),
        ('["https://a.example", "http://localhost:3000"]', ["https://a.example", "http://localhost:3000"]),
        ("HTTPS://Shop.Example:443,http://shop.example:80", ["https://shop.example", "http://shop.example"]),
        ("https://shop.example:8443,http://[::1]:5173", ["https://shop.example:8443", "http://[::1]:5173"]),
        ("https://bücher.example", ["https://xn--bcher-kva.example"]),
        ("capacitor://localhost,http://127.0.0.1:8080", ["capacitor://localhost", "http://127.0.0.1:8080"]),
    ],
)
def test_origins_are_read_as_browsers_send_them(text: str, origins: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_origins(text, monkeypatch) == origins


@pytest.mark.parametrize(
    "text",
    [
        "nonsense", "example.com", "//example.com", "https://", "https://a.example/path", "https://*.example.com",
        "https://user@example.com", "https://a.example:99999", "https://a.example:0", "https://a..b", "https://a b",
        "null", '"*"', "'*'", '["*"', '["https://a.example",]', '[["*"]]', "[1]", '[""]', "{}", "true",
        "https://a.example https://b.example", "https://a.example;https://b.example", "https://a.example?x", "**",
        "https://" + "a" * 64,
    ],
)  # fmt: skip
def test_what_is_no_origin_is_refused_in_one_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError) as refused:
        read_origins(text, monkeypatch)

    line = str(refused.value)
    assert line.startswith("ALLOWED_ORIGINS: ")
    assert line.endswith(" is not an origin; write * or scheme://host[:port], such as https://www.example.com")
    assert len(line.splitlines()) == 1


PLACEHOLDERS = [
    "your-super-secret-key-change-in-production",
    "YOUR_SUPER_SECRET_KEY_CHANGE_ME_IN_PRODUCTION",
    "your-secret-key-here-must-be-at-least-32-characters-long",
    "supersecretkeythatshouldbechangedinproduction",
    "changeme1234567890changeme123456",
    "change-me-please-3f9a8c7b6d5e4f32",
    "a-string-secret-at-least-256-bits-long",
    "replace-this-with-openssl-rand-hex-32",
    "secret" * 8,
    "changeme" * 5,
    "a" * 40,
    "0" * 64,
    "ab" * 20,
    "0123456789abcdef" * 2,
    "12345678901234567890123456789012",
    "abcdefghijklmnopqrstuvwxyz0123456789",
    "my secret key for development only, do not use it",
]


@pytest.mark.parametrize("secret", PLACEHOLDERS)
def test_an_example_of_a_secret_is_refused(secret: str) -> None:
    for url in (None, "postgresql://bookit@127.0.0.1/bookit"):
        settings = read_settings(secret_key=secret, database_url=url, _env_file=None)
        with pytest.raises(SettingsError) as refused:
            settings.with_secret()

        first = str(refused.value).splitlines()[0]
        assert first.startswith("SECRET_KEY can be guessed: it is an example or a pattern.")
        assert secret not in str(refused.value)


def test_a_real_secret_is_taken() -> None:
    random = [secrets.token_hex(16) for _ in range(500)] + [secrets.token_urlsafe(24) for _ in range(500)]
    phrases = ["correct horse battery staple 2026", "Wir treffen uns am Dienstag um drei!", "ключ от квартиры лежит"]

    assert [secret for secret in random + phrases if is_guessable(secret)] == []
    assert read_settings(secret_key=random[0], _env_file=None).with_secret().secret_key == SecretStr(random[0])


def test_the_example_file_names_no_secret() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()

    assert "SECRET_KEY=" in lines
