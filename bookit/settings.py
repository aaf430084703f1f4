"""The settings: the environment and ``.env``, read once and validated.

``.env.example`` describes each setting. Without DATABASE_URL, BookIt runs on the embedded PostgreSQL in BOOKIT_HOME and
creates its own secret there. With DATABASE_URL it is a real installation and requires a real secret.
"""

import json
import re
import secrets
from contextlib import suppress
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from bookit import timezones

MIN_SECRET_BYTES = 32
MIN_HISTORY_DAYS = 30  # The database keeps them too.
URL_SYNTAX_HINT = (
    "it is not an address such as postgresql://user:password@host:5432/name;"
    " in the password, write %40 for @, %2F for /, %3A for :, %25 for %, %20 for a space"
)


HOST_PATTERN = re.compile(r"\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\]")
ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>\[[0-9a-f:.]+\]|[\w-]+(?:\.[\w-]+)*)(?::(?P<port>[0-9]{1,5}))?"
)
USUAL_PORTS = {"http": "80", "https": "443"}
# The words of which examples of a secret are made, as in your-super-secret-key-change-in-production.
PLACEHOLDER_WORDS = re.compile(
    r"change|your|super|secret|key|production|prod|please|this|default|example|development|test|insecure|secure|replace"
    r"|random|string|jwt|token|password|value|here|the|not|use|for|with|least|bits|long|256|bytes|character|generate"
    r"|placeholder|django|flask|bookit|app|very|some|todo|openssl|rand|hex|must|minimum|qwerty|asdf|only|[\W_]"
)
PLACEHOLDER = re.compile(r"change.?(me|this|it|in)|be.?changed|replace.?(me|this)|your.?(super.?)?secret")
MIN_DISTINCT_CHARACTERS = 8  # Of 32 random hexadecimal digits, fewer are one chance in a million.


class SettingsError(Exception):
    """A setting is invalid; the text says what to change."""


def validate_timezone(name: object) -> object:
    """Raise for a name that is not an IANA time zone."""
    timezones.read_zone(str(name))
    return name


def normalise_country(country: object) -> str:
    """Return a country in capital letters. Raise ValueError if it is none."""
    from phonenumbers import SUPPORTED_REGIONS  # noqa: PLC0415 -- `bookit --help` needs no phone numbers

    code = str(country).strip().upper()
    if code not in SUPPORTED_REGIONS:
        message = f"{code[:20]!r} is not a country of two letters (ISO 3166), such as GB or DE"
        raise ValueError(message)
    return code


def normalise_url(url: object) -> object:
    """Return any usual spelling of a PostgreSQL URL as libpq spells it.

    Raise for a URL that libpq would misread. The message is our own: libpq's quotes the URL, and so the password.
    """
    from psycopg import ProgrammingError  # noqa: PLC0415 -- `bookit --help` needs no driver
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415 -- as above

    if not url:
        return None
    normalised = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", str(url))
    if not normalised.startswith("postgresql://"):
        message = "it must start with postgresql:// (BookIt supports no other database)"
        raise ValueError(message)
    try:
        parts = conninfo_to_dict(normalised)
    except (ProgrammingError, UnicodeError) as error:
        if str(error).startswith("invalid URI query parameter"):
            raise ValueError(str(error).strip()) from None
        parts = {"port": "unreadable"}
    ports = str(parts.get("port", "")).split(",")
    if not all(re.fullmatch(r"\d{0,5}", port) for port in ports) or normalised.partition("?")[0].count("@") > 1:
        raise ValueError(URL_SYNTAX_HINT)
    return normalised


def require_a_month(days: int) -> int:
    """Return a number of days that is none or at least 30. Raise ValueError."""
    if 0 < days < MIN_HISTORY_DAYS:
        message = f"keep history for {MIN_HISTORY_DAYS} days or more; 0 keeps it for ever"
        raise ValueError(message)
    return days


def none_if_empty(value: object) -> object:
    return value or None


def parse_list(value: object) -> object:
    """Return the values of a list that is separated by commas or is a JSON list."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        values = json.loads(text) if text.startswith("[") else list(filter(str.strip, text.split(",")))
    except ValueError:
        values = [text]
    return [str(each).strip() for each in values]


def normalise_host(name: str) -> str:
    """Return a host as a browser sends it, or a pattern such as ``*.example.com``. Raise ValueError."""
    host = encode_host(name.lower().rstrip("."))
    if not HOST_PATTERN.fullmatch(host):
        message = f"{name:.60} is not a host; write a name such as www.example.com or *.example.com, without a port"
        raise ValueError(message)
    return host


def normalise_network(address: str) -> str:
    """Return an address or a network of proxies, or ``*`` for all. Raise ValueError."""
    try:
        return address if address == "*" else str(ip_network(address))
    except ValueError:
        message = f"{address:.60} is not an address; write one such as 10.0.0.7, or a network such as 10.0.0.0/8"
        raise ValueError(message) from None


def normalise_origin(name: str) -> str:
    """Return an origin as a browser sends it: in lower case, in ASCII, without the usual port. Raise ValueError."""
    text = name.rstrip("/").lower()
    if text == "*":
        return text
    match = ORIGIN.fullmatch(text)
    host = match and encode_host(match["host"])
    if match is None or not host or int(match["port"] or 1) not in range(1, 2**16):
        message = f"{name:.60} is not an origin; write * or scheme://host[:port], such as https://www.example.com"
        raise ValueError(message)
    scheme, port = match["scheme"], match["port"]
    return f"{scheme}://{host}" + (f":{port}" if port and port != USUAL_PORTS.get(scheme) else "")


def encode_host(host: str) -> str:
    """Return a host in ASCII, as browsers send it, or "" if that is not possible."""
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return ""


Value = TypeVar("Value")
TextList = Annotated[list[Value], NoDecode, BeforeValidator(parse_list)]


class Settings(BaseSettings):
    """The settings, named as in the environment, in lower case."""

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True)

    database_url: Annotated[str | None, BeforeValidator(normalise_url)] = None
    database_pool_size: int = Field(default=16, ge=1, le=200)
    database_prepared: bool = True
    secret_key: SecretStr = SecretStr("")
    secret_key_fallbacks: TextList[SecretStr] = []
    algorithm: Literal["HS256", "HS384", "HS512"] = "HS256"
    access_token_expire_minutes: int = Field(default=30, ge=1, le=24 * 60)
    refresh_token_expire_days: int = Field(default=7, ge=1, le=366)
    sign_in_days: int = Field(default=90, ge=1, le=366)
    staff_idle_minutes: int = Field(default=8 * 60, ge=5, le=24 * 60)
    admin_idle_minutes: int = Field(default=30, ge=5, le=24 * 60)
    staff_sign_in_hours: int = Field(default=12, ge=1, le=7 * 24)
    require_second_factor: Literal["none", "admin", "staff"] = "none"
    sign_in_retention_days: int = Field(default=30, ge=1, le=366)
    history_retention_days: Annotated[int, AfterValidator(require_a_month)] = Field(default=0, ge=0, le=36_600)
    hold_minutes: int = Field(default=10, ge=1, le=24 * 60)
    rate_limits: float = Field(default=1, ge=0, le=1000, allow_inf_nan=False)
    max_connections_per_address: int = Field(default=128, ge=0, le=100_000)
    max_holds: int = Field(default=3, ge=0, le=1_000)
    max_open_bookings: int = Field(default=30, ge=0, le=100_000)
    confirm_within_hours: int = Field(default=72, ge=0, le=366 * 24)
    debug: bool = False
    bookit_only: Annotated[Literal["api", "admin"] | None, BeforeValidator(none_if_empty)] = None
    allowed_origins: TextList[Annotated[str, AfterValidator(normalise_origin)]] = []
    allowed_hosts: TextList[Annotated[str, AfterValidator(normalise_host)]] = []
    trusted_proxies: TextList[Annotated[str, AfterValidator(normalise_network)]] = ["127.0.0.1/32", "::1/128"]
    bookit_home: Path = Path(".bookit")
    timezone: Annotated[str, BeforeValidator(validate_timezone)] = "UTC"
    phone_country: Annotated[str, BeforeValidator(normalise_country)] = "GB"

    @property
    def secrets(self) -> list[str]:
        """The secrets that are good for what was signed, newest first: the first one signs."""
        return [key.get_secret_value() for key in (self.secret_key, *self.secret_key_fallbacks)]

    @property
    def is_embedded(self) -> bool:
        """Whether BookIt runs on the embedded PostgreSQL."""
        return self.database_url is None

    def with_secret(self) -> Self:
        """Return the settings with usable secrets. Raise ``SettingsError`` if one is missing, short or guessable.

        On the embedded database a missing secret is created and stored in BOOKIT_HOME.
        """
        if not self.secret_key.get_secret_value() and self.is_embedded:
            created = SecretStr(load_or_create_secret(self.bookit_home))
            return self.model_copy(update={"secret_key": created}).with_secret()
        names = ["SECRET_KEY", *("A secret in SECRET_KEY_FALLBACKS" for _ in self.secret_key_fallbacks)]
        for name, secret in zip(names, self.secrets, strict=True):
            if len(secret.encode()) < MIN_SECRET_BYTES or is_guessable(secret):
                message = (
                    f"{name} {describe_secret(secret)}. It signs tokens and cookies; use {MIN_SECRET_BYTES} bytes or"
                    ' more. Create one with:\n  python3 -c "import secrets; print(secrets.token_hex(32))"'
                )
                raise SettingsError(message)
        return self


def describe_secret(secret: str) -> str:
    """Return what is wrong with a secret, after its name."""
    size = len(secret.encode())
    if size < MIN_SECRET_BYTES:
        return f"has only {size} bytes" if secret else "is missing"
    return "can be guessed: it is an example or a pattern"


def is_guessable(secret: str) -> bool:
    """Return whether a secret is an example to be replaced, a repetition or a sequence."""
    text, size = secret.lower(), len(secret)
    is_repetition = any(text == (text[:length] * size)[:size] for length in range(1, size // 2 + 1))
    steps = [abs(ord(after) - ord(before)) for before, after in pairwise(text)]
    rest = set(PLACEHOLDER_WORDS.sub("", text))
    is_pattern = is_repetition or steps.count(1) > size // 2 or len(rest) < MIN_DISTINCT_CHARACTERS
    return is_pattern or PLACEHOLDER.search(text) is not None


def load_or_create_secret(home: Path) -> str:
    """Return the secret stored in this folder; create it the first time. Concurrent processes get the same one."""
    path = home / "secret_key"
    try:
        create_secret_file(path)
        secret = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        message = f"BookIt cannot store its secret in {path}: {error.strerror}. Set BOOKIT_HOME to another folder."
        raise SettingsError(message) from None
    if len(secret) < MIN_SECRET_BYTES:
        message = f"{path} contains no secret of {MIN_SECRET_BYTES} bytes. Delete it, and BookIt creates a new one."
        raise SettingsError(message)
    return secret


def create_secret_file(path: Path) -> None:
    """Create this file with a new secret, atomically, unless it exists."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists():
        return
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    draft.touch(mode=0o600)
    try:
        draft.write_text(secrets.token_hex(MIN_SECRET_BYTES), encoding="ascii")
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink()


def read_settings(**overrides: Any) -> Settings:
    """Return the settings from the environment and ``.env``.

    Raise ``SettingsError`` with one line for each invalid variable.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = [
            f"{str(details['loc'][0]).upper()}: {details['msg'].removeprefix('Value error, ')}"
            for details in error.errors()
        ]
        raise SettingsError("\n".join(lines)) from None
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        message = f"BookIt cannot read .env: {reason}."
        raise SettingsError(message) from None
