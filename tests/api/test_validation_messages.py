"""Validation messages are the same at the API and at the desk, and never show a pattern."""

from decimal import Decimal
from typing import Annotated, Any, get_args

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from bookit.schema.fields import OPTIONAL_TEXT_PATTERN
from bookit.validation_messages import MESSAGE_BY_PATTERN, format_error
from tests.support.admin_client import AdminDesk, submit_form
from tests.support.databases import list_tables
from tests.support.people import PASSWORD, Person
from tests.support.refusal_assertions import PageMessages

VALID_VALUES: dict[str, tuple[str, dict[str, str]]] = {  # by page: the route of the API, and a body that both accept
    "service": ("/services", {"title": "Massage", "price": "60", "duration_minutes": "50"}),
    "user": ("/auth/register", {"name": "Kim", "email": "kim@example.com", "password": PASSWORD}),
}
BLANK, NUL = "Enter some text.", "Type this again without the hidden sign U+0000."
NO_EMAIL = "Enter an e-mail address such as name@example.com."


def message_for(shape: Any, value: object) -> str:
    """Return the message for an invalid value."""
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(shape).validate_python(value)
    return format_error(refused.value.errors()[0])


def test_every_pattern_has_a_message() -> None:
    patterns = {
        pattern
        for table in list_tables()
        for field in table.model_fields.values()
        for bound in (*field.metadata, *(part for one in get_args(field.annotation) for part in get_args(one)))
        if isinstance(pattern := getattr(bound, "pattern", None), str)
    }

    assert patterns | {OPTIONAL_TEXT_PATTERN} == MESSAGE_BY_PATTERN.keys()


def test_an_unknown_pattern_is_not_shown() -> None:
    assert message_for(Annotated[str, Field(pattern="^[a-z]+$")], "A1") == "This has the wrong format."


def test_an_amount_is_formatted_as_a_decimal() -> None:
    message = message_for(Annotated[Decimal, Field(le=Decimal("9.99"))], Decimal(10))

    assert message == "This must be at most 9.99."


@pytest.mark.parametrize(
    ("page", "wrong", "expected"),
    [
        ("service", {"title": "   "}, BLANK),
        ("service", {"title": "Mass\0age"}, NUL),
        ("service", {"title": "x" * 201}, "Use at most 200 characters."),
        ("service", {"description": "a\0b"}, NUL),
        ("service", {"price": "-1"}, "This must be at least 0."),
        ("service", {"price": "1000000000"}, "This must be at most 99999999.99."),
        ("service", {"duration_minutes": "0"}, "This must be at least 1."),
        ("service", {"title": "..."}, "Use at least one letter or digit."),
        ("service", {"title": "\u202eegassaM"}, "Type this again without the hidden sign U+202E."),
        ("user", {"name": "\t "}, BLANK),
        ("user", {"email": "kim.example.com"}, NO_EMAIL),
        ("user", {"email": "kim@exam\0ple.com"}, NO_EMAIL),
    ],
)
async def test_api_and_desk_show_the_same_message(
    desk: AdminDesk, ada: Person, page: str, wrong: dict[str, str], expected: str
) -> None:
    path, right = VALID_VALUES[page]
    facts = right | wrong
    numbers = {name: float(facts[name]) for name in ("price", "duration_minutes") if name in facts}

    in_json = await ada.request("POST", path, json=facts | numbers)
    on_page = await submit_form(desk.ada, f"/admin/{page}/create", **facts)

    assert [mistake["msg"] for mistake in in_json.json()["errors"]] == [expected]
    assert (on_page.status, PageMessages(on_page.html).field_errors) == (400, dict.fromkeys(wrong, expected))
