"""Dragging visits on the calendar: to another time, resource or length, and refusals."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Browser, expect
from sqlalchemy import text

from bookit.db.pool import Database
from tests.support.browser import find_accessibility_violations, fits_viewport
from tests.support.calendar_scenario import (
    BERLIN,
    PHONE,
    berlin_time,
    create_booking,
    drag_visit,
    fetch_duration,
    fetch_start_and_resource,
    open_calendar,
    resize_visit,
    wait_for_box,
)
from tests.support.server import RunningServer


async def test_a_booking_is_dragged_to_another_time_and_resource(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    booking = await create_booking(berlin_database, berlin_time(0, 10))
    page, errors, elsewhere = await open_calendar(browser, berlin, berlin_time(0, 10))
    visit = page.locator(".cal-visit")
    await expect(visit).to_contain_text(re.compile("10:00 Tom Pending.*Colour"))
    violations = await find_accessibility_violations(page)

    await drag_visit(page, visit, minutes=75, columns=1)

    await expect(page.locator("#cal-toast span")).to_have_text("Tom, Colour: now 11:15 – 11:45, Max.")
    await expect(visit).to_contain_text("11:15")
    assert await fetch_start_and_resource(berlin_database, booking) == (berlin_time(0, 11, 15), 2)
    assert (violations, errors, elsewhere, await fits_viewport(page)) == ([], [], [], True)


async def test_a_refused_drag_returns_and_shows_the_reason(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    booking = await create_booking(berlin_database, berlin_time(1, 11), 2)
    await create_booking(berlin_database, berlin_time(1, 12), 2)
    page, errors, elsewhere = await open_calendar(browser, berlin, berlin_time(1, 11))
    visit = page.locator(".cal-visit", has_text="11:00")
    before = await wait_for_box(visit)

    await drag_visit(page, visit, minutes=45)
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("alert")).to_have_text("Booking conflict: time slot is not available")
    await expect(dialog.get_by_label("Override reason")).to_be_hidden()
    await expect(dialog.locator(".cal-free button").first).to_contain_text("12:30, Max")
    violations = await find_accessibility_violations(page)
    await dialog.get_by_role("button", name="OK").click()
    assert await wait_for_box(visit) == before
    assert await fetch_start_and_resource(berlin_database, booking) == (berlin_time(1, 11), 2)

    await drag_visit(page, visit, minutes=150)
    await expect(dialog.get_by_role("alert")).to_contain_text("hours")
    await expect(dialog.get_by_label("Override reason")).to_be_focused()
    await page.keyboard.type("She stays late")
    await page.keyboard.press("Enter")
    await expect(page.locator("#cal-toast span")).to_have_text("Tom, Colour: now 13:30 – 14:00, Max.")
    assert await fetch_start_and_resource(berlin_database, booking) == (berlin_time(1, 13, 30), 2)
    kept_reason = await berlin_database.fetch(text("SELECT reason FROM events ORDER BY id DESC LIMIT 1"))
    unexpected = [error for error in errors if not re.search("400|409", error)]
    assert (kept_reason, violations, unexpected, elsewhere) == ([{"reason": "She stays late"}], [], [], [])


async def test_dragging_the_lower_edge_lengthens_a_visit(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    booking = await create_booking(berlin_database, berlin_time(8, 10))
    page, errors, elsewhere = await open_calendar(browser, berlin, berlin_time(8, 10))
    visit = page.locator(".cal-visit")

    await resize_visit(page, visit, minutes=45)
    await expect(page.locator("#cal-toast span")).to_have_text("Tom, Colour: now 10:00 – 11:15, Lea.")
    assert (
        await fetch_start_and_resource(berlin_database, booking),
        await fetch_duration(berlin_database, booking),
    ) == (
        (berlin_time(8, 10), 1),
        timedelta(minutes=75),
    )
    await drag_visit(page, visit, minutes=60)
    await expect(page.locator("#cal-toast span")).to_have_text("Tom, Colour: now 11:00 – 12:15, Lea.")
    await resize_visit(page, visit, minutes=-30)
    await expect(page.locator("#cal-toast span")).to_have_text("Tom, Colour: now 11:00 – 11:45, Lea.")

    assert await fetch_duration(berlin_database, booking) == timedelta(minutes=45)
    assert (errors, elsewhere) == ([], [])


async def test_a_refused_lengthening_returns_and_suggests_slots(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    booking = await create_booking(berlin_database, berlin_time(9, 11), 2)
    await create_booking(berlin_database, berlin_time(9, 12), 2)
    page, errors, elsewhere = await open_calendar(browser, berlin, berlin_time(9, 11))
    visit = page.locator(".cal-visit", has_text="11:00")
    before = await wait_for_box(visit)

    await resize_visit(page, visit, minutes=45)
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("alert")).to_have_text("Booking conflict: time slot is not available")
    await expect(dialog.get_by_label("Override reason")).to_be_hidden()
    free = dialog.locator(".cal-free button").first
    await expect(free).to_contain_text("08:00, Max")
    violations = await find_accessibility_violations(page)
    await dialog.get_by_role("button", name="OK").click()
    assert await wait_for_box(visit) == before
    assert await fetch_duration(berlin_database, booking) == timedelta(minutes=30)

    await resize_visit(page, visit, minutes=45)
    await free.click()
    await expect(page.locator("#cal-toast span")).to_contain_text("08:00 – 09:15, Max.")
    assert await fetch_duration(berlin_database, booking) == timedelta(minutes=75)
    assert ([error for error in errors if not re.search("409", error)], violations, elsewhere) == ([], [], [])


async def test_a_length_beyond_the_hours_asks_for_a_reason(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    booking = await create_booking(berlin_database, berlin_time(15, 12, 30), 2)
    page, errors, _ = await open_calendar(browser, berlin, berlin_time(15, 12))

    await resize_visit(page, page.locator(".cal-visit"), minutes=60)
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("alert")).to_contain_text("hours")
    await expect(dialog.get_by_label("Override reason")).to_be_focused()
    await page.keyboard.type("She stays late")
    await page.keyboard.press("Enter")

    await expect(page.locator("#cal-toast span")).to_have_text("Tom, Colour: now 12:30 – 14:00, Max.")
    assert await fetch_duration(berlin_database, booking) == timedelta(minutes=90)
    assert [error for error in errors if "400" not in error] == []


async def test_a_finger_moves_a_visit_from_any_point(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    """On a phone the edge of a visit is too small to hit on purpose."""
    booking = await create_booking(berlin_database, berlin_time(12, 10))
    page, errors, _ = await open_calendar(browser, berlin, berlin_time(12, 10), PHONE, has_touch=True)
    visit = page.locator(".cal-visit")
    box = await wait_for_box(visit)
    session = await page.context.new_cdp_session(page)

    async def touch(kind: str, *, down: int = 0) -> None:
        points = [{"x": box["x"] + 30, "y": box["y"] + box["height"] - 2 + down}] if kind != "touchEnd" else []
        await session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    await touch("touchStart")
    await expect(page.locator(".ec-preview, .ec-dragging").first).to_be_attached()
    for down in range(5, 65, 5):
        await touch("touchMove", down=down)
    await touch("touchEnd")

    await expect(page.locator("#cal-toast span")).to_have_text("Tom, Colour: now 11:00 – 11:30, Lea.")
    assert (await fetch_start_and_resource(berlin_database, booking), errors) == ((berlin_time(12, 11), 1), [])


async def test_dragging_on_the_day_of_a_repeated_hour(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    for hour in (0, 1):
        await create_booking(berlin_database, datetime(2030, 10, 27, hour, 30, tzinfo=UTC))
    late = await create_booking(berlin_database, datetime(2030, 10, 27, 9, 0, tzinfo=UTC))
    page, errors, _ = await open_calendar(browser, berlin, datetime(2030, 10, 27, tzinfo=UTC))

    await expect(page.locator(".cal-visit", has_text="CEST")).to_contain_text("02:30 CEST")
    await expect(page.locator(".cal-visit", has_text="CET")).to_contain_text("02:30 CET")
    await drag_visit(page, page.locator(".cal-visit", has_text="10:00"), minutes=90)
    await expect(page.locator("#cal-toast span")).to_contain_text("now 11:30 – 12:00")

    assert await fetch_start_and_resource(berlin_database, late) == (datetime(2030, 10, 27, 11, 30, tzinfo=BERLIN), 1)
    assert errors == []


@pytest.mark.parametrize("day", [10, 31], ids=["Los Angeles skips an hour", "Berlin skips an hour"])
async def test_dragging_on_the_day_of_a_skipped_hour(
    day: int, browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    """Berlin has a half past two on the day on which Los Angeles has none, and the other way round."""
    booking = await create_booking(berlin_database, datetime(2030, 3, day, 1, 0, tzinfo=BERLIN))
    page, _, _ = await open_calendar(browser, berlin, datetime(2030, 3, day, tzinfo=UTC))
    visit = page.locator(".cal-visit")
    await expect(visit).to_have_count(1)
    await page.locator(".ec-main").evaluate("(grid) => { grid.scrollTop = 0; }")

    await drag_visit(page, visit, minutes=90)

    if day == 10:
        await expect(page.locator("#cal-toast span")).to_contain_text("now 02:30 – 03:00")
        assert await fetch_start_and_resource(berlin_database, booking) == (
            datetime(2030, 3, day, 2, 30, tzinfo=BERLIN),
            1,
        )
        return
    await expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("02:30 does not exist")
    await expect(visit).to_contain_text("01:00")
    assert await fetch_start_and_resource(berlin_database, booking) == (datetime(2030, 3, day, 1, 0, tzinfo=BERLIN), 1)
