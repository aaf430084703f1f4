"""What rules and pages need to know of the business: its name, its clock, its currency, and how it writes amounts.

Which currencies and languages there are, and how each writes an amount, Babel says (Unicode CLDR).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError, localedata, numbers
from babel.core import get_global

from bookit import timezones
from bookit.schema.fields import DEFAULT_BUSINESS_NAME, DEFAULT_CURRENCY, DEFAULT_LOCALE, LOCALE_PATTERN

MAX_DECIMALS = 2  # of a price, as the tables store it


@dataclass(frozen=True)
class BusinessProfile:
    """The business as one moment has it. ``locale`` is how it writes amounts, such as en_GB."""

    name: str = DEFAULT_BUSINESS_NAME
    timezone: str = "UTC"
    currency: str = DEFAULT_CURRENCY
    locale: str = DEFAULT_LOCALE

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the business."""
        return ZoneInfo(self.timezone)

    def format_money(self, amount: Decimal | float) -> str:
        """Return an amount as the business writes it, such as £58.00.

        An amount with more decimals than the currency has, of the time before another currency, is not rounded.
        """
        is_exact = round(amount, count_decimals(self.currency)) == amount
        return numbers.format_currency(amount, self.currency, locale=self.locale, decimal_quantization=is_exact)


class CurrentBusiness:
    """The profile that counts in this process. ``bookit.business`` reads it again and again."""

    def __init__(self, *, default_timezone: str = "UTC") -> None:
        """``default_timezone`` counts until the business has its own."""
        self.default_timezone = default_timezone
        self.profile = BusinessProfile(timezone=default_timezone)
        self.is_set_up = False  # whether all first steps were seen to be done, which then is not asked again

    def update(self, row: Mapping[str, Any]) -> None:
        """Take the values of the row. A name that only the database knows is passed over."""
        timezone, currency, locale = row["timezone"], row["currency"], row["locale"]
        self.profile = BusinessProfile(
            row["name"],
            timezone if timezone and is_timezone(timezone) else self.default_timezone,
            currency if currency in list_currencies() else DEFAULT_CURRENCY,
            locale if is_locale(locale) else DEFAULT_LOCALE,
        )


def is_timezone(name: str) -> bool:
    """Return whether Python knows the time zone of this name."""
    try:
        timezones.read_zone(name)
    except ValueError:
        return False
    return True


def is_locale(name: str) -> bool:
    """Return whether this is the code of a language and a country that Babel knows, such as de_CH."""
    try:
        return re.fullmatch(LOCALE_PATTERN, name) is not None and str(Locale.parse(name)) == name
    except (ValueError, UnknownLocaleError):
        return False


@cache
def list_currencies() -> Mapping[str, str]:
    """Return the English name of each currency that a country has today, by its code."""
    in_use = {
        code
        for currencies in get_global("territory_currencies").values()
        for code, _, until, is_tender in currencies
        if is_tender and until is None
    }
    return {code: numbers.get_currency_name(code, locale="en") for code in sorted(in_use)}


@cache
def list_locales() -> Mapping[str, str]:
    """Return the English name of each language of a country, by its code: "German (Switzerland)" of de_CH."""
    codes = [code for code in localedata.locale_identifiers() if re.fullmatch(LOCALE_PATTERN, code)]
    names = {code: Locale.parse(code).get_display_name("en") or code for code in codes}
    return dict(sorted(names.items(), key=lambda item: item[1]))


def count_decimals(currency: str) -> int:
    """Return how many decimals an amount in this currency has: 2 in euros, none in yen."""
    return numbers.get_currency_precision(currency)


def is_offered(currency: str) -> bool:
    """Return whether BookIt can store prices in this currency: to the hundredth, and no finer."""
    return count_decimals(currency) <= MAX_DECIMALS
