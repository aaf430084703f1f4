"""Phone numbers: read as people type them, stored in E.164 (+491715550123), and shown as people dial them."""

import re

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat

from bookit import refusals as no

MAX_TYPED = 40  # characters of a number as it is typed
# Nobody has these: Ofcom keeps them for films and plays, and the demo's customers have them.
FICTION = re.compile(r"\+447700900[0-9]{3}")


def parse_phone(typed: str, country: str) -> str:
    """Return a phone number in E.164. Without a country code it is one of this country (ISO 3166, two letters).

    Raise NotAPhone if nobody can have it.
    """
    if len(typed) > MAX_TYPED:
        raise no.NotAPhone
    try:
        number = phonenumbers.parse(typed, country)
    except NumberParseException:
        raise no.NotAPhone from None
    phone = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    if number.extension or not (phonenumbers.is_valid_number(number) or FICTION.fullmatch(phone)):
        raise no.NotAPhone
    return phone


def format_phone(phone: str, country: str) -> str:
    """Return a stored number as people in this country write it: 07700 900123, or +49 1515 5550123 from elsewhere."""
    try:
        number = phonenumbers.parse(phone)
    except NumberParseException:
        return phone  # A SQL console can store a country code that there is not.
    is_domestic = number.country_code == phonenumbers.country_code_for_region(country)
    return phonenumbers.format_number(
        number, PhoneNumberFormat.NATIONAL if is_domestic else PhoneNumberFormat.INTERNATIONAL
    )
