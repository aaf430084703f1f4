"""Phone numbers: read as people type them, shown as they dial them, and enough to reach a customer."""

from datetime import date, timedelta
from time import perf_counter
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.people import phones
from bookit.policy.permissions import Actor
from bookit.schema.tables import Booking, Language, Role, Service, User
from bookit.settings import SettingsError, read_settings
from tests.support.admin_client import AdminDesk, get_page_text, post_form, submit_form
from tests.support.clock import NOW
from tests.support.doors import AT_BOTH_DOORS, AT_THE_ADMIN_ONLY, DoorClient
from tests.support.people import OWNER, PASSWORD, PASSWORD_HASH, Person
from tests.support.refusal_assertions import RefusalOutcome

PETRA = "+447700900123"
TYPED = ["07700 900123", "+44 7700 900123", "0044 (7700) 900-123", "+44 (0)7700 900 123", "07700900123 "]
NOT_PHONES = ["0", "123", "abc", "07700 9001234567", "+999 123456", "+44 1", "07700 900123 ext. 5", "@", "+" * 40]


@pytest.mark.parametrize(
    ("typed", "country", "stored", "shown"),
    [
        ("0171 5550123", "DE", "+491715550123", "0171 5550123"),
        ("+44 20 7946 0123", "DE", "+442079460123", "+44 20 7946 0123"),
        ("020 7946 0123", "GB", "+442079460123", "020 7946 0123"),
        ("0171 5550123", "GB", None, None),
        ("06 698 12345", "IT", "+390669812345", "06 6981 2345"),
    ],
)
def test_a_number_without_a_code_is_of_the_country_of_the_business(
    typed: str, country: str, stored: str | None, shown: str | None
) -> None:
    if stored is None:
        with pytest.raises(no.NotAPhone):
            phones.parse_phone(typed, country)
    else:
        assert phones.parse_phone(typed, country) == stored
        assert phones.format_phone(stored, country) == shown


def test_the_country_of_the_business_has_two_letters() -> None:
    assert read_settings(phone_country="de").phone_country == "DE"
    with pytest.raises(SettingsError, match=r"^PHONE_COUNTRY: 'GERMANY' is not a country of two letters"):
        read_settings(phone_country="Germany")


@AT_BOTH_DOORS
async def test_a_phone_number_is_stored_in_one_form_or_refused(door: DoorClient, tom: Person) -> None:
    for typed in TYPED:
        changed = await door.change_user(tom, phone=typed)
        assert changed["phone"] == PETRA, typed
    for typed in NOT_PHONES:
        assert await door.change_user(tom, phone=typed) == RefusalOutcome(no.NotAPhone, "phone"), typed

    assert (await door.change_user(tom, phone=None))["phone"] is None


@AT_BOTH_DOORS
async def test_two_people_may_share_a_phone_number(door: DoorClient, tom: Person, eve: Person) -> None:
    shared = [await door.change_user(person, phone=PETRA) for person in (tom, eve)]

    assert [person["phone"] for person in shared] == [PETRA, PETRA]


@AT_BOTH_DOORS
async def test_a_birthday_lies_between_1900_and_today(door: DoorClient, tom: Person) -> None:
    today = NOW.date()
    for birthday in (date(1900, 1, 1), date(1984, 2, 29), today):
        assert (await door.change_user(tom, birthday=birthday))["birthday"] == birthday
    for birthday in (date(1899, 12, 31), today + timedelta(days=1)):
        assert await door.change_user(tom, birthday=birthday) == RefusalOutcome(no.BirthdayOutOfRange, "birthday")


@AT_BOTH_DOORS
async def test_a_language_is_one_that_bookit_speaks_or_unknown(door: DoorClient, tom: Person) -> None:
    assert (await door.change_user(tom, language=Language.GERMAN))["language"] == "de"
    assert isinstance(await door.change_user(tom, language="fr"), RefusalOutcome)
    assert (await door.change_user(tom, language=None))["language"] is None


@AT_BOTH_DOORS
async def test_an_account_keeps_its_email_whatever_the_phone_number(door: DoorClient, tom: Person) -> None:
    await door.change_user(tom, phone=PETRA)

    assert await door.change_user(tom, email="") == RefusalOutcome(no.Misshapen, "email")


# At the desk only: customers without an account, which nobody makes for themselves.


@AT_THE_ADMIN_ONLY
async def test_a_customer_needs_a_phone_number_or_an_email_and_no_password(door: DoorClient, mara: Person) -> None:
    petra = await door.add(User, by=mara, name="Petra Lustig", phone="07700 900123")
    anna = await door.add(User, by=mara, name="Anna", email="anna@example.com")

    assert (petra["phone"], petra["email"], petra["role"]) == (PETRA, None, "user")
    assert (anna["phone"], anna["email"]) == (None, "anna@example.com")
    assert await door.add(User, by=mara, name="Nobody") == RefusalOutcome(no.PhoneOrEmailNeeded, "phone")
    assert await door.change(User, petra, by=mara, phone="") == RefusalOutcome(no.PhoneOrEmailNeeded, "phone")
    reached = await door.change(User, petra, by=mara, phone="", email="petra@example.com")
    assert (reached["phone"], reached["email"]) == (None, "petra@example.com")


@AT_THE_ADMIN_ONLY
async def test_who_works_here_needs_an_email_and_a_password(door: DoorClient, ada: Person) -> None:
    facts: dict[str, Any] = {"name": "Kim", "phone": PETRA, "role": Role.STAFF}

    assert await door.add(User, by=ada, **facts, password=PASSWORD) == RefusalOutcome(no.EmailNeeded, "email")
    without = await door.add(User, by=ada, **facts, email="kim@example.com", password="")
    assert without == RefusalOutcome(no.PasswordTooShort, "password")
    petra = await door.add(User, by=ada, name="Petra", phone=PETRA)
    assert await door.change(User, petra, by=ada, role=Role.STAFF) == RefusalOutcome(no.EmailNeeded, "email")
    assert await door.change(User, petra, by=ada, password=PASSWORD) == RefusalOutcome(no.EmailNeeded, "email")
    account = await door.change(User, petra, by=ada, email="petra@example.com", password=PASSWORD)
    assert account["email"] == "petra@example.com"


async def test_a_customer_with_an_email_and_no_password_cannot_sign_in(
    desk: AdminDesk, database: Database, visitor: httpx2.AsyncClient
) -> None:
    """The refusal is the one of a wrong password, after the same time."""
    async with database.transaction(by=OWNER, now=NOW) as session:
        for name, password_hash in (("nia", None), ("tom", PASSWORD_HASH)):
            facts: dict[str, Any] = {"name": name, "email": f"{name}@example.com", "password_hash": password_hash}
            await records.create(session, User, by=OWNER, now=NOW, **facts)
    seconds: dict[str, float] = {}
    for email in ("tom@example.com", "nia@example.com", "tom@example.com", "nia@example.com"):
        began = perf_counter()
        answer = await visitor.post("/auth/login", json={"email": email, "password": "wrong password"})
        seconds[email] = perf_counter() - began
        assert (answer.status_code, answer.json()["code"]) == (401, "wrong-password")
    for typed in ("", "x"):
        assert (
            await post_form(desk.visitor, "/admin/login", {"username": "nia@example.com", "password": typed})
        ).is_refused
    assert seconds["nia@example.com"] > 0.5 * seconds["tom@example.com"]


async def test_the_desk_sees_how_to_call_a_customer(desk: AdminDesk, haircut: Service) -> None:
    async with desk.database.transaction(by=OWNER, now=NOW) as session:
        petra = await records.create(
            session, User, by=OWNER, now=NOW, name="Petra", phone=PETRA, birthday=date(1990, 5, 4)
        )
        await records.create(session, User, by=OWNER, now=NOW, name="Piotr", phone="+48512987654")

    listed = get_page_text((await desk.mara.get("/admin/user/list")).text)
    details = get_page_text((await desk.mara.get(f"/admin/user/details/{petra.id}")).text)
    form = (await desk.mara.get(f"/admin/user/edit/{petra.id}")).text
    found = (await desk.mara.get("/admin/booking/ajax/lookup", params={"name": "user", "term": "petra"})).json()
    exported = (await desk.ada.get("/admin/user/export/csv", params={"search": "petra"})).text

    assert "07700 900123" in listed
    assert "+48 512 987 654" in listed
    assert "Phone 07700 900123" in details
    assert "Birthday 04 May 1990" in details
    assert 'value="07700 900123"' in form
    assert [row["text"] for row in found["results"]] == ["Petra · 07700 900123"]
    assert "07700 900123" in exported
    unchanged = await submit_form(desk.mara, f"/admin/user/edit/{petra.id}", name="Petra Lustig")
    assert unchanged.status == 302
    assert ((await desk.fetch_row("users", petra.id)) or {})["phone"] == PETRA
    events = await desk.database.fetch(text("SELECT new FROM events WHERE table_name = 'users' AND action = 'changed'"))
    assert events == [{"new": {"name": "Petra Lustig"}}]
    await submit_form(desk.mara, f"/admin/user/edit/{petra.id}", phone="07700 900124")
    history = get_page_text((await desk.mara.get(f"/admin/user/details/{petra.id}")).text)
    assert "07700 900123 → 07700 900124" in history


PARTS = [
    "07700 900123", "07700900123", "7700900123", "900123", "0123", "+44 7700", "+447700900123", "0044 7700 90",
    "900 123", "+44 (0)7700 900123", "petra 900123", "0 7700 900 123 Lustig", "700-900/123",
]  # fmt: skip
NOT_PARTS = ["900124", "07701", "+49 7700 900123", "tom 900123", "0049 7700"]


async def test_a_customer_is_found_by_any_part_of_the_phone_number(desk: AdminDesk, haircut: Service) -> None:
    who: dict[str, Any] = {"by": OWNER, "now": NOW}
    async with desk.database.transaction(by=OWNER, now=NOW) as session:
        petra = await records.create(session, User, **who, name="Petra Lustig", phone=PETRA)
        await records.create(session, User, **who, name="Piotr", phone="+48512987654")
        start = NOW + timedelta(days=1)
        await records.create(session, Booking, **who, user_id=petra.id, service_id=1, start_time=start)

    for term in PARTS:
        assert await found_at_every_box(desk, term) == [["Petra Lustig"]] * 4, term
    for term in NOT_PARTS:
        assert await found_at_every_box(desk, term) == [[]] * 4, term


async def found_at_every_box(desk: AdminDesk, term: str) -> list[list[str]]:
    """Return whom the list of people, the list of bookings, the search page and the look-up find."""
    pages = [
        (await desk.mara.get(f"/admin/{table}/list", params={"search": term})).text.partition("<tbody")[2]
        for table in ("user", "booking")
    ]
    answer = await desk.mara.get("/admin/search", params={"q": term})
    if answer.is_redirect:
        answer = await desk.mara.get(answer.headers["location"])
    pages.append(answer.text.partition("bk-results")[2] or answer.text.partition("card-table")[2])
    params = {"name": "user", "term": term}
    rows = (await desk.mara.get("/admin/booking/ajax/lookup", params=params)).json()["results"]
    pages.append(" ".join(row["text"] for row in rows))
    return [[name for name in ("Petra Lustig", "Piotr") if name in page] for page in pages]


async def test_a_customer_without_an_email_is_erased_by_phone_number(desk: AdminDesk) -> None:
    async with desk.database.transaction(by=OWNER, now=NOW) as session:
        facts: dict[str, Any] = {"name": "Petra Lustig", "phone": PETRA, "birthday": date(1990, 5, 4), "language": "de"}
        petra = await records.create(session, User, by=OWNER, now=NOW, **facts)
    path = f"/admin/user/{petra.id}/erase"

    assert "type the customer's phone number: 07700 900123" in get_page_text((await desk.ada.get(path)).text)
    for typed in ("", "07700 900124", "petra", f"erased-{petra.id}@erased.invalid"):
        refused = await post_form(desk.ada, path, {"email": typed})
        assert (refused.status, str(no.NotTheirPhone()) in refused.text) == (400, True)
    assert (await post_form(desk.ada, path, {"email": "+44 7700 900123"})).status == 303

    row = await desk.fetch_row("users", petra.id) or {}
    names = ("name", "email", "phone", "birthday", "language", "password_hash")
    assert [row[name] for name in names] == [
        "Erased customer", f"erased-{petra.id}@erased.invalid", None, None, None, None,
    ]  # fmt: skip
    created, changed, _ = await desk.database.fetch(
        text("SELECT old, new FROM events WHERE table_name = 'users' AND row_id = :id ORDER BY id"), id=petra.id
    )
    assert [created["new"][name] for name in ("name", "phone", "birthday")] == ["erased"] * 3
    assert (created["new"]["email"], changed["old"]["phone"], changed["new"]["phone"]) == (None, "erased", None)


async def test_a_customer_without_an_email_is_deleted(desk: AdminDesk) -> None:
    async with desk.database.transaction(by=OWNER, now=NOW) as session:
        petra = await records.create(session, User, by=OWNER, now=NOW, name="Petra", phone=PETRA)
        await records.remove(session, petra, by=OWNER, now=NOW)

    assert await desk.fetch_row("users", petra.id) is None
    assert await desk.database.fetch(text("SELECT FROM events WHERE new::text LIKE '%7700%'")) == []


async def test_a_profile_has_phone_birthday_and_language(tom: Person) -> None:
    sent = {"phone": "07700 900123", "birthday": "1984-02-29", "language": "de"}
    answer = await tom.request("PATCH", "/me", json=sent)

    assert answer.json() | sent | {"phone": PETRA} == answer.json()
    assert (await tom.request("GET", "/me")).json() == answer.json()
    for wrong in ({"birthday": "29.2.1984"}, {"birthday": 5}, {"language": "fr"}, {"phone": 7700}, {"phone": "x" * 41}):
        assert (await tom.request("PATCH", "/me", json=wrong)).status_code == 422


async def test_only_the_actor_and_the_desk_change_how_to_reach_a_person(
    database: Database, tom: Person, eve: Person
) -> None:
    async with database.transaction(by=OWNER, now=NOW) as session:
        row = await records.lock(session, User, tom.id)
        with pytest.raises(no.Forbidden):
            await records.change(session, row, by=Actor("api", eve.id, Role.USER), now=NOW, phone=PETRA)
        changed = await records.change(session, row, by=Actor("admin", eve.id, Role.STAFF), now=NOW, phone=PETRA)
    assert changed.phone == PETRA
