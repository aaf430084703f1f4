"""A double click, a second tap, the back button and Save again book once, over a slow network too."""

import asyncio
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, Route, expect
from sqlalchemy import text

from bookit.db.pool import Database
from tests.support.browser import find_accessibility_violations, fits_viewport, open_admin
from tests.support.calendar_scenario import PHONE, berlin_time, create_booking, open_calendar
from tests.support.server import RunningServer

DELAYS_MS = [0, 150, 600, 2000]


async def delay_writes(page: Page, milliseconds: int) -> None:
    """Let every POST wait before the server gets it, as over a slow network."""

    async def wait(route: Route) -> None:
        if route.request.method == "POST":
            await asyncio.sleep(milliseconds / 1000)
        await route.continue_()

    await page.route("**/admin/**", wait)


async def count_bookings(database: Database, day: int) -> int:
    statement = "SELECT count(*) AS n FROM bookings WHERE start_time >= :since AND start_time < :until"
    rows = await database.fetch(text(statement), since=berlin_time(day, 0), until=berlin_time(day + 1, 0))
    return int(rows[0]["n"])


async def choose_tom(dialog: Locator) -> None:
    await dialog.get_by_label("Service").select_option("1")
    await dialog.get_by_label("Customer (name, phone or e-mail)").fill("tom")
    await dialog.get_by_role("option", name="Tom").click()


@pytest.mark.parametrize("delay", DELAYS_MS)
async def test_a_double_click_in_the_calendar_books_once(
    browser: Browser, berlin: RunningServer, berlin_database: Database, delay: int
) -> None:
    day = 30 + DELAYS_MS.index(delay)
    page, errors, _ = await open_calendar(browser, berlin, berlin_time(day, 9))
    await delay_writes(page, delay)
    await page.get_by_role("button", name="New booking").click()
    dialog = page.get_by_role("dialog")
    await choose_tom(dialog)

    await dialog.get_by_role("button", name="Book", exact=True).dblclick()

    await expect(page.get_by_role("status").filter(has_text="Booked with Lea")).to_be_visible()
    assert (await count_bookings(berlin_database, day), errors) == (1, [])


async def test_the_button_says_what_it_does_and_comes_back_after_an_error(
    browser: Browser, berlin: RunningServer
) -> None:
    page, _, _ = await open_calendar(browser, berlin, berlin_time(34, 9))

    async def lose(route: Route) -> None:
        await asyncio.sleep(0.3)
        await route.abort()

    await page.route("**/admin/calendar/book", lose)
    await page.get_by_role("button", name="New booking").click()
    dialog = page.get_by_role("dialog")
    await choose_tom(dialog)
    button = dialog.locator(".cal-submit button")

    await button.click()

    await expect(button).to_have_text("Booking…")
    await expect(button).to_be_disabled()
    await expect(button).to_have_attribute("aria-busy", "true")
    await expect(dialog.get_by_role("alert")).to_have_text("Cannot reach BookIt. Please try again.")
    await expect(button).to_be_enabled()
    await expect(button).to_have_text("Book")


async def test_a_request_that_the_network_lost_is_sent_again_and_books_once(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    page, _, _ = await open_calendar(browser, berlin, berlin_time(35, 9))
    lost = []

    async def lose_first_answer(route: Route) -> None:
        await route.fetch()
        lost.append(route)
        await (route.abort() if len(lost) == 1 else route.continue_())

    await page.route("**/admin/calendar/book", lose_first_answer)
    await page.get_by_role("button", name="New booking").click()
    dialog = page.get_by_role("dialog")
    await choose_tom(dialog)
    button = dialog.get_by_role("button", name="Book", exact=True)
    await button.click()
    await expect(dialog.get_by_role("alert")).to_have_text("Cannot reach BookIt. Please try again.")
    await button.click()

    await expect(page.get_by_role("status").filter(has_text="Booked with Lea")).to_be_visible()
    assert await count_bookings(berlin_database, 35) == 1


async def fill_form(page: Page, day: int) -> None:
    start, hour = f"{berlin_time(day, 9):%Y-%m-%dT%H:%M}", page.get_by_label("Start")
    for label, term in (("Customer", "Tom"), ("Service", "Colour")):
        await page.locator(f"label:has-text('{label}') + div .select2-selection").click()
        await page.locator(".select2-container--open .select2-search__field").fill(term)
        await page.locator(".select2-results__option", has_text=term).first.click()
    await hour.fill(start)


@pytest.mark.parametrize("delay", DELAYS_MS)
async def test_a_double_click_on_the_form_books_once_and_back_and_save_too(
    browser: Browser, berlin: RunningServer, berlin_database: Database, delay: int
) -> None:
    day = 40 + DELAYS_MS.index(delay)
    page, errors, _ = await open_calendar(browser, berlin, berlin_time(day, 9))
    await page.goto(f"{berlin.url}/admin/booking/create")
    await delay_writes(page, delay)
    await fill_form(page, day)

    await page.get_by_role("button", name="Save", exact=True).dblclick()
    await expect(page.get_by_text("Booked with Lea")).to_be_visible()
    await page.go_back()
    await fill_form(page, day)
    await page.get_by_role("button", name="Save", exact=True).click()

    await expect(page.get_by_text("This was saved already. Nothing was saved twice.")).to_be_visible()
    assert (await count_bookings(berlin_database, day), errors) == (1, [])


async def test_the_desk_is_asked_about_another_visit_and_goes_on(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    await create_booking(berlin_database, berlin_time(36, 9))
    page, errors, _ = await open_calendar(browser, berlin, berlin_time(36, 9))
    await page.get_by_role("button", name="New booking").click()
    dialog = page.get_by_role("dialog")
    await choose_tom(dialog)
    await dialog.get_by_role("button", name="Book", exact=True).click()

    await expect(dialog.get_by_role("alert")).to_contain_text("Tom already has Colour at 09:00 on")
    violations = await find_accessibility_violations(page)
    await dialog.get_by_role("button", name="Book anyway").click()

    await expect(page.get_by_role("status").filter(has_text="Booked with Max")).to_be_visible()
    assert await count_bookings(berlin_database, 36) == 2
    assert violations == []
    assert [error for error in errors if "409" not in error] == []


@pytest.mark.parametrize("width", [1400, 390])
async def test_the_page_of_a_booking_asks_before_it_is_live_again_over_another(
    browser: Browser, berlin: RunningServer, berlin_database: Database, width: int
) -> None:
    day = 37 if width == 390 else 38
    first = (await create_booking(berlin_database, berlin_time(day, 9))).id
    await berlin_database.fetch(text("UPDATE bookings SET status = 'cancelled' WHERE id = :id"), id=first)
    await create_booking(berlin_database, berlin_time(day, 9), resource=2)
    page, _, _ = await open_admin(browser, berlin.url, path=f"booking/details/{first}", width=width)
    await page.get_by_role("button", name="Reopen…").click()
    await page.get_by_role("dialog").filter(visible=True).get_by_role("button", name="Yes").click()

    await expect(page.get_by_text("Are both meant?")).to_be_visible()
    fits, violations = await fits_viewport(page), await find_accessibility_violations(page)
    await page.get_by_role("button", name="Reopen anyway").click()

    await expect(page.get_by_text(f"Booking #{first} is reopened.")).to_be_visible()
    assert (fits, violations) == (True, [])


# Acts are taken back where they were done.


async def open_visit(page: Page) -> Locator:
    await page.locator(".cal-visit").first.click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_be_visible()
    return dialog


async def test_a_cancelled_visit_comes_back_with_undo(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    await create_booking(berlin_database, berlin_time(50, 10))
    page, errors, _ = await open_calendar(browser, berlin, berlin_time(50, 10))
    dialog = await open_visit(page)
    await expect(dialog.get_by_role("button", name="Cancel visit")).to_be_hidden()
    await dialog.get_by_text("More actions").click()
    await dialog.get_by_role("button", name="Cancel visit").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("Cancel this booking?")
    await dialog.get_by_role("alert").get_by_role("button", name="Cancel visit").click()
    await expect(page.locator(".cal-visit")).to_have_count(0)

    await page.get_by_role("button", name="Undo").click()

    await expect(page.locator(".cal-visit")).to_contain_text("Pending")
    await expect(page.get_by_role("status").filter(has_text="Undone: Tom, Colour is pending")).to_be_visible()
    assert errors == []


async def test_a_new_booking_is_taken_back_by_keyboard(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    page, errors, _ = await open_calendar(browser, berlin, berlin_time(51, 10))
    await page.get_by_role("button", name="New booking").click()
    dialog = page.get_by_role("dialog")
    await choose_tom(dialog)
    await dialog.get_by_role("button", name="Book", exact=True).click()
    await expect(page.locator(".cal-visit")).to_contain_text("Confirmed")

    await page.keyboard.press("Control+z")

    await expect(page.locator(".cal-visit")).to_have_count(0)
    rows = await berlin_database.fetch(
        text("SELECT status FROM bookings WHERE start_time = :start"), start=berlin_time(51, 9)
    )
    assert (rows, errors) == ([{"status": "cancelled"}], [])


async def test_no_key_throws_away_what_was_typed(browser: Browser, berlin: RunningServer) -> None:
    page, errors, _ = await open_calendar(browser, berlin, berlin_time(52, 10))
    await page.get_by_role("button", name="New booking").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_label("Service")).to_have_value("")
    box = dialog.get_by_label("Customer (name, phone or e-mail)")
    await box.fill("Nobody by that name")

    for _ in range(3):
        await page.keyboard.press("Escape")
    await page.mouse.click(5, 5)
    await expect(dialog.get_by_text("Discard what you entered?")).to_be_visible()
    await expect(box).to_have_value("Nobody by that name")
    violations = await find_accessibility_violations(page)
    await dialog.get_by_role("button", name="Keep editing").click()
    await expect(box).to_have_value("Nobody by that name")
    await dialog.get_by_role("button", name="Close").click()
    await dialog.get_by_role("button", name="Discard").click()

    await expect(dialog).to_be_hidden()
    await page.get_by_role("button", name="New booking").click()
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    assert (violations, errors) == ([], [])


async def test_a_completed_visit_asks_before_it_becomes_a_no_show(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    booking = await create_booking(berlin_database, berlin_time(53, 10))
    await berlin_database.fetch(text("UPDATE bookings SET status = 'completed' WHERE id = :id"), id=booking.id)
    page, errors, _ = await open_calendar(browser, berlin, berlin_time(53, 10), PHONE)
    dialog = await open_visit(page)
    await dialog.get_by_text("More actions").click()

    await dialog.get_by_role("button", name="No-show").click()

    await expect(dialog.get_by_role("alert")).to_contain_text("The customer did not come.")
    fits, violations = await fits_viewport(page), await find_accessibility_violations(page)
    await dialog.get_by_role("alert").get_by_role("button", name="Back").click()
    row: Any = await berlin_database.fetch(text("SELECT status FROM bookings WHERE id = :id"), id=booking.id)
    assert (row, fits, violations, errors) == ([{"status": "completed"}], True, [], [])
