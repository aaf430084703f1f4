"""The browser and the system of a client, in words, from its User-Agent header (RFC 9110, 10.1.5)."""

import re
from collections.abc import Mapping
from functools import lru_cache

MAX_LENGTH = 40  # characters of the name of a client that is no browser

# The first match counts: a browser also names those that it is compatible with.
BROWSERS = (
    ("Edge", r"\bEdg(e|A|iOS)?/"),
    ("Opera", r"\bOPR/"),
    ("Samsung Internet", r"\bSamsungBrowser/"),
    ("Firefox", r"\b(Firefox|FxiOS)/"),
    ("Chrome", r"\b(Chrome|CriOS)/"),
    ("Safari", r"\bVersion/.*\bSafari/"),
)
SYSTEMS = (
    ("iPhone", r"\biPhone\b"),
    ("iPad", r"\biPad\b"),
    ("Android", r"\bAndroid\b"),
    ("Windows", r"\bWindows\b"),
    ("ChromeOS", r"\bCrOS\b"),
    ("macOS", r"\bMac OS X\b"),
    ("Linux", r"\bLinux\b"),
)
PRODUCT = re.compile(rf"[A-Za-z0-9][A-Za-z0-9 ._-]{{0,{MAX_LENGTH - 1}}}")


@lru_cache(maxsize=256)
def describe_user_agent(user_agent: str) -> str:
    """Return "Firefox on Windows" for a browser, the name of any other client, or "" if it does not say."""
    browser = find_name(BROWSERS, user_agent)
    system = find_name(SYSTEMS, user_agent)
    if browser:
        return f"{browser} on {system}" if system else browser
    product = PRODUCT.match(user_agent)
    return product[0].strip() if product else ""


def find_name(patterns: tuple[tuple[str, str], ...], text: str) -> str:
    return next((name for name, pattern in patterns if re.search(pattern, text)), "")


def user_agent_of(headers: Mapping[str, str]) -> str:
    """Return the description of the client that sent these headers."""
    return describe_user_agent(headers.get("user-agent", "")[:500])
