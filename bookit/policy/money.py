"""Amounts: whole minor units of a currency, such as cents, and how people read and write them."""

import re
from decimal import Decimal

from bookit import refusals as no
from bookit.policy.business import BusinessProfile, is_locale
from bookit.schema.fields import DEFAULT_LOCALE

# By ISO 4217; every other currency has two. The database has the same list, in currency_decimals().
WITHOUT_DECIMALS = {
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF",
}  # fmt: skip
WITH_THREE_DECIMALS = {"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"}

AMOUNT = re.compile(
    "(?P<whole>[0-9]{1,12})([.,](?P<decimals>[0-9]{1,3}))?"
)  # "1,000" has three decimals, and is refused


def count_decimals(currency: str) -> int:
    """Return how many decimals an amount in this currency has."""
    return 0 if currency in WITHOUT_DECIMALS else 3 if currency in WITH_THREE_DECIMALS else 2


def to_decimal(minor: int, currency: str) -> Decimal:
    """Return an amount in minor units as a decimal number: 1250 cents are 12.50."""
    return Decimal(minor).scaleb(-count_decimals(currency))


def format_amount(minor: int, currency: str, locale: str = DEFAULT_LOCALE) -> str:
    """Return an amount in minor units as people read it, such as £12.50."""
    profile = BusinessProfile(currency=currency, locale=locale if is_locale(locale) else DEFAULT_LOCALE)
    return profile.format_money(to_decimal(minor, currency))


def format_for_field(minor: int, currency: str) -> str:
    """Return an amount in minor units as ``parse_amount`` reads it."""
    return str(to_decimal(minor, currency))


def parse_amount(typed: str, currency: str) -> int:
    """Return the minor units of an amount that a person typed, with a point or a comma before the decimals.

    Raise AmountNotPositive for anything that is no amount above zero, or that is finer than the currency.
    """
    match = AMOUNT.fullmatch(typed.strip())
    decimals = count_decimals(currency)
    if not match or len(match["decimals"] or "") > decimals:
        raise no.AmountNotPositive
    minor = int(match["whole"] + (match["decimals"] or "").ljust(decimals, "0"))
    if minor == 0:
        raise no.AmountNotPositive
    return minor
