"""What a new password must be, at every place where one is chosen, and what remains true of those that exist."""

import unicodedata

import httpx2
import pytest

from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.people import password_rules, passwords
from bookit.schema.tables import User
from tests.support.admin_client import AdminDesk, post_form
from tests.support.clock import NOW
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.people import OWNER, PASSWORD, Person
from tests.support.refusal_assertions import RefusalOutcome
from tests.support.request_helpers import status_and_code

NIA = {"name": "Nia Okafor", "email": "nia.baker@example.com"}
ACCEPTED = ["testpassword123", "securepassword123", "correct horse", "Passw0rd!2024xyz", "SecurePass123!",
            "a new secret", "plum 77!", "nia likes long walks", "ключ от сада"]  # fmt: skip
REFUSED = {
    "password": no.PasswordTooCommon,
    "Password123": no.PasswordTooCommon,
    "１２３ｑｗｅ４５６": no.PasswordTooCommon,  # noqa: RUF001 -- other widths are no other letters
    "pass\u200bword": no.PasswordTooCommon,
    "123qweasdzxc": no.PasswordTooCommon,
    "bookit-demo": no.PasswordTooCommon,
    "BookIt2026!": no.PasswordTooCommon,
    "12345678": no.PasswordTooSimple,
    "09876543210987": no.PasswordTooSimple,
    "abcdefghijklmnop": no.PasswordTooSimple,
    "        ": no.PasswordTooSimple,
    "aaaaaaaaaaaaaaa": no.PasswordTooSimple,
    "A\u2060aAaAaAaAaAa": no.PasswordTooSimple,
    "\u3164" * 12: no.PasswordTooSimple,
    "\u200b" * 12: no.PasswordTooShort,
    "abc\u200b\u200b\u200b\u200b\u200b\u200b\u200b\u200b\u200b": no.PasswordTooShort,
    "Nia Okafor": no.PasswordIsYourName,
    "okafor1990": no.PasswordIsYourName,
    "1234-NIA Okafor-5678": no.PasswordIsYourName,
    "nia.baker@example.com": no.PasswordIsYourName,
    "niabaker2026": no.PasswordIsYourName,
    "!!BAKER!!": no.PasswordIsYourName,
}
EACH_KIND = ["Password123", "12345678", "okafor1990", "\u200b" * 12]
COMPOSED, DECOMPOSED = "café au lait", unicodedata.normalize("NFD", "café au lait")


@pytest.mark.parametrize(("password", "refusal"), REFUSED.items(), ids=ascii)
def test_a_password_that_is_guessed_first_is_refused(password: str, refusal: type[no.Refusal]) -> None:
    with pytest.raises(refusal) as raised:
        password_rules.require_strong(password, **NIA)

    assert raised.type is refusal


@pytest.mark.parametrize("password", ACCEPTED)
def test_a_password_that_is_hard_to_guess_is_accepted(password: str) -> None:
    password_rules.require_strong(password, **NIA)


def test_only_the_commonest_passwords_are_kept() -> None:
    assert len(password_rules.common_passwords()) == password_rules.COMMON_PASSWORDS


@AT_BOTH_DOORS
@pytest.mark.parametrize("password", EACH_KIND, ids=ascii)
async def test_nobody_begins_with_a_weak_password(door: DoorClient, password: str) -> None:
    refused = await door.register(**NIA, password=password)

    assert refused == RefusalOutcome(REFUSED[password], "password")


@AT_BOTH_DOORS
@pytest.mark.parametrize("password", [*EACH_KIND[:2], "tom-2026"], ids=ascii)
async def test_nobody_changes_to_a_weak_password(door: DoorClient, tom: Person, password: str) -> None:
    refused = await door.change_user(tom, password=password)

    assert refused == RefusalOutcome(REFUSED.get(password, no.PasswordIsYourName), "password")


@AT_BOTH_DOORS
async def test_a_name_and_a_password_that_change_together_differ(door: DoorClient, tom: Person) -> None:
    refused = await door.change_user(tom, name="Bartholomew", password="bartholomew7")

    assert refused == RefusalOutcome(no.PasswordIsYourName, "password")


@pytest.mark.parametrize("password", [*EACH_KIND[:2], "mara--1990"], ids=ascii)
async def test_staff_change_to_no_weak_password(desk: AdminDesk, password: str) -> None:
    answer = await post_form(desk.mara, "/admin/password", {"current_password": PASSWORD, "password": password})

    assert answer.is_refused
    assert f'id="password-error">{REFUSED.get(password, no.PasswordIsYourName).__doc__}<' in answer.html


@AT_BOTH_DOORS
@pytest.mark.parametrize(("chosen", "typed"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
async def test_an_accent_may_be_typed_in_two_ways(
    door: DoorClient, visitor: httpx2.AsyncClient, chosen: str, typed: str
) -> None:
    await door.register(**NIA, password=chosen)

    for password in (chosen, typed):
        answer = await visitor.post("/auth/login", json={"email": NIA["email"], "password": password})
        assert answer.status_code == 200, ascii(password)


@pytest.mark.parametrize("password", [DECOMPOSED, "12345678", "bookit-demo"], ids=ascii)
async def test_a_password_that_exists_goes_on(
    database: Database, visitor: httpx2.AsyncClient, tom: Person, password: str
) -> None:
    """Earlier versions hashed what was typed, and had no list; the demonstration has a password of its own."""
    hashed = passwords.CRYPT_CONTEXT.hash(password)
    async with database.transaction(by=OWNER) as session:
        await records.change(
            session, await records.lock(session, User, tom.id), by=OWNER, now=NOW, password_hash=hashed
        )

    answer = await visitor.post("/auth/login", json={"email": "tom@example.com", "password": password})
    assert status_and_code(answer)[0] == 200
