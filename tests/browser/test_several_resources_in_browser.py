"""Visits that take several resources or seats, at the desk: booked, moved, swapped, replaced, closed and stranded."""

import re
from datetime import datetime
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Resource, Role, Service, User
from tests.support.browser import (
    WatchedPage,
    find_accessibility_violations,
    find_violations_in_both_themes,
    fits_viewport,
    go_to,
    open_admin,
)
from tests.support.calendar_scenario import NOW, berlin_time, drag_visit, open_calendar
from tests.support.claims import create_massage, insert_massage
from tests.support.people import OWNER, PASSWORD_HASH
from tests.support.server import RunningServer

MARA, TOM = 1, 2
SOFIA, MAREK, ROOM_1, ROOM_2, STUDIO = 3, 4, 5, 6, 7
MASSAGE, YOGA = 2, 3


@pytest.fixture(scope="module")
async def massage(berlin_database: Database) -> Service:
    """Create a massage with Sofia or Marek in Room 1 or Room 2, yoga for six in the Studio, and Ada, who owns it."""
    service = await create_massage(berlin_database)
    how: dict[str, Any] = {"by": OWNER, "now": NOW}
    async with berlin_database.transaction(by=OWNER) as session:
        ada: dict[str, Any] = {"name": "Ada", "email": "ada@example.com", "role": Role.ADMIN}
        await records.create(session, User, **ada, password_hash=PASSWORD_HASH, **how)
        await records.create(session, Resource, name="Studio", capacity=6, timezone="Europe/Berlin", **how)
        facts: dict[str, Any] = {"title": "Yoga", "price": 12, "duration_minutes": 60, "resource_ids": [STUDIO]}
        await records.create(session, Service, **facts, max_party=4, price_is_per_person=True, **how)
    return service


async def open_desk(browser: Browser, berlin: RunningServer, path: str, email: str = "mara@example.com") -> WatchedPage:
    watched = await open_admin(browser, berlin.url, email)
    await go_to(watched.page, f"{berlin.url}/admin/{path}")
    return watched


async def choose(page: Page, field: str, name: str) -> None:
    """Choose a row in a look-up of a form."""
    await page.locator(f"#{field} + .select2").click()
    await page.locator(".select2-container--open .select2-search__field").fill(name)
    await page.locator(".select2-results__option--selectable", has_text=name).click()


async def taken(database: Database, *bookings: Booking) -> list[list[int]]:
    """Return the resources of these bookings as they are now, in the order of their positions."""
    rows = [await database.get(Booking, booking.id) for booking in bookings]
    return [[row.resource_id, *row.other_resource_ids] for row in rows if row]


async def test_a_visit_stands_in_each_column_and_moves_as_one(
    browser: Browser, berlin: RunningServer, berlin_database: Database, massage: Service
) -> None:
    await insert_massage(berlin_database, massage, TOM, [SOFIA, ROOM_1], berlin_time(3, 10))
    page, errors, _ = await open_calendar(browser, berlin, berlin_time(3, 10))
    blocks = page.locator(".cal-visit")
    await expect(blocks).to_have_count(2)
    await expect(blocks.filter(has_text=re.compile("Massage · Room 1"))).to_have_count(1)
    in_room = blocks.filter(has_text=re.compile("Massage · Sofia"))

    await drag_visit(page, in_room, minutes=60, columns=1)

    await expect(page.locator("#cal-toast span")).to_have_text("Tom, Massage: now 11:00 – 12:00, Sofia and Room 2.")
    await expect(blocks.filter(has_text="11:00")).to_have_count(2)
    assert (errors, await find_accessibility_violations(page)) == ([], [])

    await page.get_by_role("button", name="Undo").click()

    await expect(blocks.filter(has_text="10:00")).to_have_count(2)
    await expect(blocks.filter(has_text="Massage · Room 1")).to_have_count(1)


async def test_a_new_booking_asks_for_the_room_in_words(
    browser: Browser, berlin: RunningServer, berlin_database: Database, massage: Service
) -> None:
    """Its label is a number until the service is known; a service without a room has no such field."""
    page, errors, _ = await open_desk(browser, berlin, "booking/create")
    await expect(page.get_by_text("Also needs (1)", exact=True)).to_be_visible()
    await choose(page, "service", "Yoga")
    await expect(page.locator("#second_resource-label")).to_be_hidden()
    await choose(page, "service", "Massage")
    await expect(page.get_by_text("In which room", exact=True)).to_be_visible()
    await choose(page, "user", "Tom")
    await choose(page, "second_resource", "Room 2")
    await page.get_by_label("Start").fill(f"{berlin_time(4, 10):%Y-%m-%dT%H:%M}")
    assert (await find_violations_in_both_themes(page), await fits_viewport(page)) == ([], True)

    await page.get_by_role("button", name="Save", exact=True).click()

    await expect(page.get_by_text("Booked with Sofia and Room 2")).to_be_visible()
    row = page.locator("tr", has_text="Sofia and Room 2")
    links = [await link.get_attribute("href") for link in await row.locator("a[href*='/resource/details/']").all()]
    assert [str(link).rpartition("/")[2] for link in links] == [str(SOFIA), str(ROOM_2)]
    assert (await find_violations_in_both_themes(page), errors) == ([], [])


async def test_a_party_takes_its_seats(
    browser: Browser, berlin: RunningServer, berlin_database: Database, massage: Service
) -> None:
    """A party of four leaves two of six seats, and one of seven never fits."""
    page, errors, _ = await open_desk(browser, berlin, f"calendar?date={berlin_time(5, 10):%Y-%m-%d}")

    await book_party(page, berlin_time(5, 10), 4)
    await expect(page.locator("#cal-toast span")).to_contain_text("Booked with Studio")
    await book_party(page, berlin_time(5, 10), 3)
    refusal = page.locator("#cal-book .cal-refusal")
    await expect(refusal).to_have_text("Booking conflict: time slot is not available")
    assert await find_accessibility_violations(page) == []
    await page.locator("#cal-book").get_by_role("button", name="Close").click()
    await page.get_by_role("button", name="Discard").click()
    await book_party(page, berlin_time(5, 14), 7)
    await expect(refusal).to_have_text("There is room for 6 at most. Choose fewer seats.")

    unexpected = [error for error in errors if not re.search("400|409", error)]
    assert (unexpected, await fits_viewport(page)) == ([], True)


async def book_party(page: Page, start: datetime, seats: int) -> None:
    """Fill in the dialog of the calendar for Yoga and Tom, and send it."""
    await page.get_by_role("button", name="New booking").click()
    dialog = page.locator("#cal-book")
    await dialog.get_by_label("Service").select_option(str(YOGA))
    await dialog.get_by_label("Start").fill(f"{start:%Y-%m-%dT%H:%M}")
    await dialog.get_by_label("Seats").fill(str(seats))
    await dialog.get_by_label("Customer (name, phone or e-mail)").fill("Tom")
    await dialog.locator("#cal-customers [role=option]").first.click()
    await dialog.get_by_role("button", name="Book", exact=True).click()


async def test_two_visits_swap_all_their_resources(
    browser: Browser, berlin: RunningServer, berlin_database: Database, massage: Service
) -> None:
    one = await insert_massage(berlin_database, massage, TOM, [SOFIA, ROOM_1], berlin_time(6, 10))
    other = await insert_massage(berlin_database, massage, MARA, [MAREK, ROOM_2], berlin_time(6, 10))
    page, errors, _ = await open_desk(browser, berlin, f"booking/bulk?pks={one.id},{other.id}")

    await page.get_by_label("Action").select_option("Swap the two")
    await page.get_by_role("button", name="Preview").click()

    await expect(page.get_by_text("Sofia and Room 1 → Marek and Room 2")).to_be_visible()
    await expect(page.get_by_text("Marek and Room 2 → Sofia and Room 1")).to_be_visible()
    await page.get_by_role("button", name="Apply").click()
    await expect(page.get_by_role("status").first).to_contain_text("Changed 2 of 2.")
    assert await taken(berlin_database, one, other) == [[MAREK, ROOM_2], [SOFIA, ROOM_1]]
    assert (errors, await find_accessibility_violations(page)) == ([], [])


async def test_a_sick_colleague_is_replaced_in_her_role_alone(
    browser: Browser, berlin: RunningServer, berlin_database: Database, massage: Service
) -> None:
    day = berlin_time(7, 10)
    visit = await insert_massage(berlin_database, massage, TOM, [SOFIA, ROOM_1], day)
    page, errors, _ = await open_desk(browser, berlin, f"booking/bulk?of={SOFIA}&first={day:%Y-%m-%d}")

    await expect(page.locator("input[name=booking]")).to_have_count(1)
    await page.get_by_role("button", name="Preview").click()
    await expect(page.get_by_text("Sofia and Room 1 → Marek and Room 1")).to_be_visible()
    await page.get_by_role("button", name="Apply").click()

    await expect(page.get_by_role("status").first).to_contain_text("Changed 1 of 1.")
    assert await taken(berlin_database, visit) == [[MAREK, ROOM_1]]
    assert (errors, await find_accessibility_violations(page)) == ([], [])


async def test_a_closure_names_the_visits_of_the_room(
    browser: Browser, berlin: RunningServer, berlin_database: Database, massage: Service
) -> None:
    """Before it is saved, and on its page: the visits that have the room beside somebody."""
    start = berlin_time(8, 10)
    await insert_massage(berlin_database, massage, TOM, [SOFIA, ROOM_1], start)
    await insert_massage(berlin_database, massage, MARA, [MAREK, ROOM_2], start)
    page, errors, _ = await open_desk(browser, berlin, "calendar-exception/create")
    await choose(page, "resource", "Room 1")
    await page.get_by_label("From").fill(f"{start:%Y-%m-%d}T09:00")
    await page.get_by_label("Until").fill(f"{start:%Y-%m-%d}T18:00")

    await page.get_by_role("button", name="Save", exact=True).click()

    stranded = page.get_by_role("region", name="Visits that would no longer fit")
    await expect(stranded.locator("li")).to_have_count(1)
    await expect(stranded.locator("li")).to_contain_text("Tom, Massage, Sofia and Room 1")
    assert (await find_violations_in_both_themes(page), await fits_viewport(page)) == ([], True)
    await page.get_by_role("button", name=re.compile("Save anyway")).click()
    await expect(page).to_have_title("Closures – BookIt")
    await page.locator("a[href*='/calendar-exception/details/']").first.click()
    await expect(page.get_by_text("Tom, Massage, Sofia and Room 1")).to_be_visible()
    assert not [error for error in errors if "409" not in error]


async def test_a_room_that_is_given_up_names_its_visits(
    browser: Browser, berlin: RunningServer, berlin_database: Database, massage: Service
) -> None:
    """The same page for a resource that becomes inactive; the visit stays booked."""
    visit = await insert_massage(berlin_database, massage, TOM, [MAREK, ROOM_2], berlin_time(9, 10))
    page, errors, _ = await open_desk(browser, berlin, f"resource/edit/{ROOM_2}", "ada@example.com")

    await page.get_by_label("Active").uncheck()
    await page.get_by_role("button", name="Save", exact=True).click()

    stranded = page.get_by_role("region", name="Visits that would no longer fit")
    await expect(stranded.locator("li", has_text=f"#{visit.id}")).to_contain_text("Tom, Massage, Marek and Room 2")
    assert await find_violations_in_both_themes(page) == []
    await page.get_by_role("button", name=re.compile("Save anyway")).click()
    await expect(page).to_have_title("Team & rooms – BookIt")
    assert await taken(berlin_database, visit) == [[MAREK, ROOM_2]]
    assert not [error for error in errors if "409" not in error]
