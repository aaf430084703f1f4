"""The settings of the business: who changes them, what is refused, what follows them, and how amounts are written."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from bookit import business, records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.policy.business import BusinessProfile, CurrentBusiness, is_locale, list_currencies, list_locales
from bookit.policy.permissions import Actor
from bookit.schema.tables import BUSINESS_ID, Business, Role, Service, table_of
from tests.support.admin_client import AdminDesk, ParsedPage, get_page_text, submit_form
from tests.support.clock import NOW
from tests.support.doors import AT_BOTH_DOORS, AT_THE_ADMIN_ONLY, DoorClient
from tests.support.people import OWNER, Person
from tests.support.refusal_assertions import PageMessages, RefusalOutcome

FORM = "/admin/business/edit/1"
SALON: dict[str, Any] = {
    "name": "Salon Zürich",
    "address": "Bahnhofstrasse 1\n8001 Zürich",
    "phone": "+41 44 668 18 00",
    "timezone": "Europe/Zurich",
    "currency": "CHF",
    "locale": "de_CH",
}


async def read_business(database: Database) -> dict[str, Any]:
    (row,) = await database.fetch(text("SELECT * FROM business"))
    return row


async def set_currency(database: Database, currency: str) -> None:
    async with database.transaction(by=OWNER, now=NOW) as session:
        row = await records.lock(session, Business, BUSINESS_ID)
        await records.change(session, row, by=OWNER, now=NOW, currency=currency)


async def add_service(database: Database, facts: dict[str, Any]) -> None:
    async with database.transaction(by=OWNER, now=NOW) as session:
        await records.create(session, Service, by=OWNER, now=NOW, **facts)


# How amounts are written.


@pytest.mark.parametrize(
    ("currency", "locale", "written"),
    [
        ("GBP", "en_GB", "£5,800.50"),
        ("EUR", "de_DE", "5.800,50\xa0€"),
        ("EUR", "en_GB", "€5,800.50"),
        ("CHF", "de_CH", "CHF\xa05’800.50"),
        ("USD", "en_US", "$5,800.50"),
    ],
)
def test_an_amount_is_written_as_the_business_writes_it(currency: str, locale: str, written: str) -> None:
    profile = BusinessProfile(currency=currency, locale=locale)

    assert profile.format_money(Decimal("5800.5")).replace("'", "’") == written


def test_an_amount_in_yen_has_no_decimals_unless_it_is_of_another_time() -> None:
    yen = BusinessProfile(currency="JPY", locale="ja_JP")

    assert (yen.format_money(Decimal("5800.00")), yen.format_money(Decimal("12.50"))) == ("￥5,800", "￥12.5")


def test_every_currency_and_language_that_the_form_offers_writes_an_amount() -> None:
    assert {"EUR", "GBP", "USD", "JPY", "CHF"} <= list_currencies().keys()
    assert not {"DEM", "XAU", "XXX"} & list_currencies().keys()
    assert all(BusinessProfile(currency=code).format_money(1) for code in list_currencies())
    assert all(is_locale(code) and BusinessProfile(locale=code).format_money(1) for code in list_locales())
    assert [code for code in ("", "en", "en-GB", "xx_XX", "de_DE@euro", "../etc") if is_locale(code)] == []


def test_names_that_only_the_database_knows_are_passed_over() -> None:
    current = CurrentBusiness(default_timezone="Europe/Berlin")
    current.update({"name": "Salon", "timezone": "Mars/Base", "currency": "ZZZ", "locale": "xx_XX"})

    assert current.profile == BusinessProfile("Salon", "Europe/Berlin", "EUR", "en_GB")


# Who changes them, and what is refused.


async def test_an_owner_saves_the_business_and_history_says_so(desk: AdminDesk) -> None:
    opened = ParsedPage((await desk.ada.get(FORM)).text).fields
    saved = await submit_form(desk.ada, FORM, **SALON)
    listed = await desk.ada.get("/admin/business/list", follow_redirects=True)
    page = get_page_text((await desk.ada.get("/admin/business/details/1")).text)

    assert {name: opened[name] for name in SALON} == {
        "name": "My business", "address": "", "phone": "", "timezone": "Europe/Berlin", "currency": "EUR",
        "locale": "en_GB",
    }  # fmt: skip
    assert (saved.status, PageMessages(listed.text).successes) == (302, ["The business is saved."])
    assert await read_business(desk.database) == SALON | {"id": 1, "version": 2}
    assert desk.app.state.business.profile == BusinessProfile("Salon Zürich", "Europe/Zurich", "CHF", "de_CH")
    assert "Swiss Franc (CHF)" in page
    assert "Swiss High German (Switzerland)" in page or "German (Switzerland)" in page
    assert "Ada (owner) changed it at the desk. Name: My business → Salon Zürich" in page
    assert "Currency: EUR → CHF" in page


async def test_a_late_edit_is_refused(desk: AdminDesk) -> None:
    await desk.database.fetch(text("UPDATE business SET phone = '1'"))

    assert (await submit_form(desk.ada, FORM, version=1, name="Salon")).status == 412


@pytest.mark.parametrize("path", ["edit/1", "details/1", "list"])
async def test_only_owners_see_the_business(desk: AdminDesk, path: str) -> None:
    assert (await desk.mara.get(f"/admin/business/{path}")).status_code == 403
    assert "Business" not in get_page_text((await desk.mara.get("/admin/")).text)
    assert "/admin/business/list" in (await desk.ada.get("/admin/")).text


async def test_a_manager_changes_nothing(database: Database) -> None:
    manager = Actor("admin", 1, Role.MANAGER)
    async with database.transaction(by=manager, now=NOW) as session:
        row = await records.lock(session, Business, BUSINESS_ID)
        with pytest.raises(no.Forbidden):
            await records.change(session, row, by=manager, now=NOW, name="Mine")


REFUSED: dict[str, tuple[type[no.Refusal], dict[str, str]]] = {
    "no name": (no.BusinessNameNeeded, {"name": ""}),
    "no visible name": (no.NotVisible, {"name": "..."}),
    "no time zone": (no.UnknownTimezone, {"timezone": ""}),
    "an unknown time zone": (no.UnknownTimezone, {"timezone": "Europe/Bonn"}),
    "a currency of the past": (no.UnknownCurrency, {"currency": "DEM"}),
    "an unknown language": (no.UnknownLocale, {"locale": "xx_XX"}),
    "three decimals": (no.CurrencyNotOffered, {"currency": "KWD"}),
}


@pytest.mark.parametrize("case", REFUSED)
@AT_THE_ADMIN_ONLY  # The API does not change the business.
async def test_wrong_settings_are_refused(door: DoorClient, database: Database, case: str) -> None:
    _, values = REFUSED[case]
    answer = await submit_form(door.desk.ada, FORM, **values)

    assert answer.status in {400, 422}, answer.text
    assert list(PageMessages(answer.html).field_errors) == [*values]
    assert (await read_business(database))["version"] == 1


@pytest.mark.parametrize("case", [case for case in REFUSED if "name" not in case])
async def test_the_rule_refuses_wrong_settings_of_every_writer(database: Database, case: str) -> None:
    refusal, values = REFUSED[case]
    async with database.transaction(by=OWNER, now=NOW) as session:
        row = await records.lock(session, Business, BUSINESS_ID)
        with pytest.raises(refusal):
            await records.change(session, row, by=OWNER, now=NOW, **values)


# Prices.


@AT_BOTH_DOORS
async def test_a_price_is_whole_where_the_currency_is(door: DoorClient, database: Database, haircut: Service) -> None:
    await set_currency(database, "JPY")
    facts: dict[str, Any] = {"title": "Colour", "duration_minutes": 30}

    refused = await door.add(Service, **facts, price=Decimal("58.50"))
    changed = await door.change(Service, haircut, price=Decimal("35.50"))
    added = await door.add(Service, **facts, price=Decimal("5800.00"))

    assert refused == changed == RefusalOutcome(no.PriceNotWhole)
    assert added["price"] == 5800


async def test_a_currency_without_decimals_needs_whole_prices(desk: AdminDesk, haircut: Service) -> None:
    async with desk.database.transaction(by=OWNER, now=NOW) as session:
        await records.change(session, haircut, by=OWNER, now=NOW, price=Decimal("35.50"))

    refused = await submit_form(desk.ada, FORM, currency="JPY")
    await desk.database.fetch(table_of(Service).update().values(price=36))
    saved = await submit_form(desk.ada, FORM, currency="JPY")

    assert "First change the price of Haircut." in refused.text
    assert (refused.status, saved.status) == (400, 302)


async def test_a_price_and_a_currency_that_do_not_fit_are_not_written_at_one_time(database: Database) -> None:
    facts: dict[str, Any] = {"title": "Cut", "duration_minutes": 30, "price": Decimal("12.50")}
    async with database.transaction(by=OWNER, now=NOW) as session:
        await records.create(session, Service, by=OWNER, now=NOW, **facts)
        other = asyncio.create_task(set_currency(database, "JPY"))
        await asyncio.sleep(0.2)
        assert not other.done()  # It waits for the price.
    with pytest.raises(no.PricesNotWhole):
        await other

    await database.fetch(text("UPDATE services SET price = 12"))
    async with database.transaction(by=OWNER, now=NOW) as session:
        row = await records.lock(session, Business, BUSINESS_ID)
        await records.change(session, row, by=OWNER, now=NOW, currency="JPY")
        other = asyncio.create_task(add_service(database, facts))
        await asyncio.sleep(0.2)
        assert not other.done()
    with pytest.raises(no.PriceNotWhole):
        await other


# What follows them.


async def test_pages_follow_the_settings(desk: AdminDesk, haircut: Service) -> None:
    await submit_form(desk.ada, FORM, **SALON)

    services = (await desk.ada.get("/admin/service/list")).text
    form = get_page_text((await desk.ada.get("/admin/service/create")).text)
    today = get_page_text((await desk.ada.get("/admin/")).text)

    assert "CHF\xa035.00" in services
    assert "In CHF." in form
    assert "Salon Zürich · Monday, 07 January 2030, 10:00" in today


async def test_a_process_follows_the_row_and_the_variable_counts_until_it_has_a_time_zone(database: Database) -> None:
    current = CurrentBusiness(default_timezone="Europe/Paris")
    await business.read(database, current)
    before = current.profile.timezone
    await database.fetch(text("UPDATE business SET timezone = 'Asia/Tokyo'"))
    await business.read(database, current)

    assert (before, current.profile.timezone) == ("Europe/Paris", "Asia/Tokyo")


async def test_reading_takes_no_statement_of_a_request(
    desk: AdminDesk, haircut: Service, tom: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise AssertionError("A request reads the business.")

    monkeypatch.setattr(business, "read", refuse)

    assert (await tom.client.get("/services")).status_code == 200
    visit = {"service_id": haircut.id, "start_time": "2030-01-08T10:00:00Z"}
    assert (await tom.client.post("/bookings", json=visit)).status_code == 201
    assert (await desk.ada.get("/admin/booking/list")).status_code == 200
