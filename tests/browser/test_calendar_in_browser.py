"""The calendar in a real browser, whose clock is in Los Angeles while the business is in Berlin."""

import re
from datetime import timedelta
from typing import Any

from playwright.async_api import Browser, expect
from sqlalchemy import text

from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Resource, Service, User
from tests.support.browser import find_accessibility_violations, fits_viewport
from tests.support.calendar_scenario import (
    NOW,
    PHONE,
    PIXELS_PER_MINUTE,
    WIDE,
    berlin_time,
    create_booking,
    drag_visit,
    fetch_duration,
    open_calendar,
    wait_for_box,
)
from tests.support.people import OWNER
from tests.support.server import RunningServer


async def test_the_length_of_a_visit_is_changed_by_keyboard(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    booking = await create_booking(berlin_database, berlin_time(11, 10))
    page, errors, _ = await open_calendar(browser, berlin, berlin_time(11, 10), PHONE)

    await page.locator(".cal-visit").focus()
    await page.keyboard.press("Enter")
    await page.get_by_role("dialog").get_by_role("link", name="Edit").focus()
    await page.keyboard.press("Enter")
    await page.get_by_label("End").fill(f"{berlin_time(11, 11):%Y-%m-%dT%H:%M}")
    await page.keyboard.press("Enter")

    await expect(page).to_have_url(re.compile("/booking/(list|details)"))
    assert (await fetch_duration(berlin_database, booking), errors) == (timedelta(hours=1), [])


async def test_an_inactive_resource_keeps_its_column_on_days_with_visits(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    await create_booking(berlin_database, berlin_time(8, 10))
    await berlin_database.fetch(text("UPDATE resources SET is_active = false WHERE id = 1"))
    page, errors, _ = await open_calendar(browser, berlin, berlin_time(8, 10))
    name = (await berlin_database.fetch(text("SELECT name FROM resources WHERE id = 1")))[0]["name"]
    column, option = page.locator(".ec-col-head", has_text=f"{name} (inactive)"), page.locator("option[data-inactive]")

    await expect(column).to_have_count(1)
    await expect(page.locator(".cal-visit")).to_have_count(1)
    await expect(option).to_have_text(f"{name} (inactive)")
    await page.get_by_role("button", name="Next").click()
    await expect(column).to_have_count(0)
    await expect(option).to_have_count(0)
    await berlin_database.fetch(text("UPDATE resources SET is_active = true"))  # The tests share the resources.
    assert errors == []


async def test_a_click_on_an_empty_slot_books_a_new_customer(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    await create_booking(berlin_database, berlin_time(2, 10))
    page, errors, elsewhere = await open_calendar(browser, berlin, berlin_time(2, 10))
    box = await wait_for_box(page.locator(".cal-visit"))
    column = await wait_for_box(page.locator(".ec-col-head", has_text="Max"))

    await page.mouse.click(column["x"] + 40, box["y"] + 120 * PIXELS_PER_MINUTE + 2)
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_label("Start")).to_have_value(f"{berlin_time(2, 12):%Y-%m-%dT%H:%M}")
    await expect(dialog.get_by_label("Resource")).to_have_value("2")
    await dialog.get_by_label("Service").select_option("1")
    await dialog.get_by_label("New customer").check()
    await dialog.get_by_label("Name", exact=True).fill("Nora New")
    await dialog.get_by_label("E-mail", exact=True).fill("nora@example.com")
    violations = await find_accessibility_violations(page)
    await dialog.get_by_role("button", name="Book").click()

    await expect(page.locator(".cal-visit", has_text="Nora New")).to_contain_text("12:00")
    rows = await berlin_database.fetch(
        text(
            "SELECT b.start_time, b.resource_id FROM bookings b JOIN users u ON u.id = b.user_id WHERE u.name = :name"
        ),
        name="Nora New",
    )
    assert rows == [{"start_time": berlin_time(2, 12), "resource_id": 2}]
    assert (violations, errors, elsewhere) == ([], [], [])


async def test_the_calendar_works_by_keyboard(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    booking = await create_booking(berlin_database, berlin_time(3, 10))
    page, errors, _ = await open_calendar(browser, berlin, berlin_time(3, 10))

    await page.locator(".cal-visit").focus()
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("10:00 – 10:30")
    violations = await find_accessibility_violations(page)
    await dialog.get_by_role("button", name="Confirm").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".cal-visit")).to_contain_text("Confirmed")

    await page.get_by_role("button", name="New booking").focus()
    await page.keyboard.press("Enter")
    await expect(dialog.get_by_label("Customer (name, phone or e-mail)")).to_be_focused()
    await dialog.get_by_label("Service").focus()
    await page.keyboard.type("Colour")
    await dialog.get_by_label("Customer (name, phone or e-mail)").focus()
    await page.keyboard.type("tom")
    await expect(dialog.get_by_role("listbox").get_by_role("option")).to_have_text("Tom · tom@example.com")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    await expect(page.locator(".cal-visit", has_text="09:00")).to_contain_text("Tom")

    row = await berlin_database.get(Booking, booking.id)
    assert row is not None
    assert (row.status, violations, errors) == ("confirmed", [], [])


async def test_a_new_customer_is_booked_by_phone(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    await create_booking(berlin_database, berlin_time(60, 9), 2)
    page, errors, elsewhere = await open_calendar(browser, berlin, berlin_time(60, 9))
    await page.get_by_role("button", name="New booking").click()
    dialog = page.get_by_role("dialog")
    await page.keyboard.type("Petra Lustig")
    await expect(dialog.get_by_role("listbox").get_by_role("option")).to_have_text("New customer: Petra Lustig")
    await page.keyboard.press("Enter")
    await expect(dialog.get_by_label("Name", exact=True)).to_have_value("Petra Lustig")
    await page.keyboard.type("07700900123")
    await dialog.get_by_label("Service").select_option("1")
    await dialog.get_by_label("Resource").select_option("2")
    await dialog.get_by_label("Part of the day").select_option("evening")
    await expect(dialog.get_by_text("No free time.")).to_be_visible()
    await dialog.get_by_role("button", name="Why is nobody free?").click()
    await expect(dialog.get_by_role("listitem")).to_have_text("Max: not working.")
    violations = await find_accessibility_violations(page)
    await dialog.get_by_label("Part of the day").select_option("morning")
    times = dialog.get_by_role("group", name="Free times").get_by_role("button")
    await expect(times.first).to_have_text("08:00 Max")
    await expect(dialog.get_by_text("7 free times. Choose one to book it.")).to_be_visible()

    await times.nth(3).click()

    await expect(page.get_by_role("status").filter(has_text="Booked with Max")).to_contain_text("10:00")
    await expect(page.locator(".cal-visit", has_text="Petra Lustig")).to_contain_text("10:00")
    rows = await berlin_database.fetch(text("SELECT phone, email FROM users WHERE name = 'Petra Lustig'"))
    assert rows == [{"phone": "+447700900123", "email": None}]
    assert (violations, errors, elsewhere) == ([], [], [])


async def test_the_dialog_opens_for_a_customer_from_elsewhere(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    page, errors, _ = await open_calendar(browser, berlin, berlin_time(61, 9), query="&book=1&customer=2")
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_label("Customer (name, phone or e-mail)")).to_have_value("Tom · tom@example.com")
    await expect(dialog.get_by_label("Service")).to_be_focused()
    await dialog.get_by_label("Service").select_option("1")

    await dialog.get_by_role("button", name="09:00 Lea").click()

    await expect(page.get_by_role("status").filter(has_text="Booked with Lea")).to_contain_text("09:00")
    assert "book" not in page.url
    await page.goto(f"{page.url.partition('/calendar')[0]}/calendar?book=1&customer=999999")
    await expect(dialog.get_by_label("Customer (name, phone or e-mail)")).to_have_value("")
    await page.goto(f"{page.url.partition('/calendar')[0]}/calendar?customer=2")
    await expect(dialog).to_be_hidden()
    await page.goto(f"{page.url.partition('/calendar')[0]}/")
    await page.get_by_role("link", name="New booking").click()
    await expect(dialog).to_be_visible()
    assert errors == []


async def test_a_phone_shows_one_resource_at_a_time(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    for resource, hour in ((1, 10), (2, 11)):
        await create_booking(berlin_database, berlin_time(4, hour), resource)
    page, errors, elsewhere = await open_calendar(browser, berlin, berlin_time(4, 10), PHONE)
    visits = page.locator(".cal-visit")
    await expect(visits).to_contain_text(["10:00"])
    fitted = [await fits_viewport(page)]

    await page.get_by_label("Resource").first.select_option("Max")
    await expect(visits).to_contain_text(["11:00"])
    violations = await find_accessibility_violations(page)
    await visits.click()
    await expect(page.get_by_role("dialog")).to_contain_text("Max")
    fitted.append(await fits_viewport(page))
    await page.keyboard.press("Escape")
    await page.get_by_label("Resource").first.select_option("All")
    await page.get_by_role("button", name="List").click()
    await expect(visits.first).to_be_visible()
    fitted.append(await fits_viewport(page))
    violations += await find_accessibility_violations(page)

    assert (fitted, violations, errors, elsewhere) == ([True, True, True], [], [], [])


NAMES = ["Charlotte Fischer", "Björn Ostermann", "Frank Dietrich", "Selin Korkmaz", "Luca Moretti", "Katharina Busch",
         "Diego Fernández", "Zeynep Aksoy", "Oliver Grant", "Lena Brandt"]  # fmt: skip
CUT = """
[...document.querySelectorAll(".cal-visit .cal-customer")].filter((who) => {
  const [name, visit] = [who, who.closest(".ec-event-body")].map((part) => part.getBoundingClientRect());
  return name.right > visit.right + 1 || name.bottom > visit.bottom + 1 || !name.width;
}).map((who) => who.textContent)
"""


async def test_a_class_lists_its_customers(browser: Browser, berlin: RunningServer, berlin_database: Database) -> None:
    how: dict[str, Any] = {"by": OWNER, "now": NOW}
    async with berlin_database.transaction(by=OWNER) as session:
        studio = await records.create(session, Resource, **how, name="Studio", capacity=12, timezone="Europe/Berlin")
        facts: dict[str, Any] = {"title": "Yoga", "price": 15, "duration_minutes": 60, "resource_ids": [studio.id]}
        yoga = await records.create(session, Service, **how, **facts)
        for at_place, name in enumerate(NAMES):
            known: dict[str, Any] = {"name": name, "email": f"yogi{at_place}@example.com", "password_hash": "-"}
            yogi = await records.create(session, User, **how, **known)
            visit: dict[str, Any] = {"user_id": yogi.id, "service_id": yoga.id, "start_time": berlin_time(20, 10)}
            await records.create(session, Booking, **how, **visit)
    violations = []
    looks = [(WIDE, "day", "light"), (WIDE, "week", "dark"), (PHONE, "day", "dark"), (PHONE, "week", "light")]
    for width, view, scheme in looks:
        where = f"&view={view}&resource={studio.id if width == PHONE else ''}"
        page, errors, _ = await open_calendar(browser, berlin, berlin_time(20, 10), width, where)
        await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        await page.reload()
        await expect(page.locator(".cal-visit")).to_have_count(len(NAMES))
        await wait_for_box(page.locator(".cal-visit").last)
        violations.append(
            (
                await page.evaluate(CUT),
                await fits_viewport(page),
                await find_accessibility_violations(page),
                errors,
            )
        )
        await page.close()

    assert violations == [([], True, [], [])] * 4


async def test_two_users_see_each_others_changes(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    (one, _, _), (other, _, _) = [await open_calendar(browser, berlin, berlin_time(5, 10)) for _ in range(2)]

    await create_booking(berlin_database, berlin_time(5, 10))
    for page in (one, other):
        await expect(page.locator(".cal-visit")).to_contain_text("10:00", timeout=2000)
    await drag_visit(one, one.locator(".cal-visit"), minutes=60, columns=1)

    await expect(other.locator(".cal-visit")).to_contain_text("11:00", timeout=3000)
    await berlin_database.fetch(text("DELETE FROM bookings WHERE start_time = :start"), start=berlin_time(5, 11))
    for page in (one, other):
        await expect(page.locator(".cal-visit")).to_have_count(0, timeout=2000)


async def test_a_visit_of_ten_days_is_shown_on_each_of_them(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    """Each view shows it on a day in the middle, with the days on which it begins and ends."""
    start = berlin_time(200, 10)
    async with berlin_database.transaction(by=OWNER) as session:
        how: dict[str, Any] = {"by": OWNER, "now": NOW}
        van = await records.create(session, Resource, name="Van", timezone="Europe/Berlin", **how)
        about: dict[str, Any] = {"title": "Rental", "price": 600, "duration_minutes": 14400}
        rental = await records.create(session, Service, **about, resource_ids=[van.id], **how)
        facts: dict[str, Any] = {"user_id": 2, "service_id": rental.id, "start_time": start}
        await records.create(session, Booking, **facts, **how)
    times = f"{start:%a %d %b %H:%M} – {berlin_time(210, 10):%a %d %b %H:%M}"
    page, errors, _ = await open_calendar(browser, berlin, berlin_time(205, 12))

    weekday = berlin_time(205, 12).weekday()
    days = range(max(200, 205 - weekday), min(210, 211 - weekday) + 1)  # of this week that it covers
    counts = {"Day": 1, "Week": len(days), "List": len(days)}
    for view, count in counts.items():
        await page.get_by_role("button", name=view, exact=True).click()
        blocks = page.locator(f".cal-visit[title^='{times}']")
        await expect(blocks).to_have_count(count)
        await expect(blocks.first.locator(".cal-customer")).to_be_in_viewport()
    await page.get_by_role("button", name="Day", exact=True).click()
    await page.locator(".cal-visit").click()
    await expect(page.get_by_role("dialog")).to_contain_text(times)
    await berlin_database.fetch(text("UPDATE resources SET is_active = false WHERE name = 'Van'"))  # as it is shared
    assert errors == []
