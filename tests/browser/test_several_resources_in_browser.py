"""A visit that takes several resources, on the calendar: it stands in each column, and moves as one."""

import re

from playwright.async_api import Browser, expect

from bookit.db.pool import Database
from tests.support.browser import find_accessibility_violations
from tests.support.calendar_scenario import berlin_time, drag_visit, open_calendar
from tests.support.claims import create_massage, insert_massage
from tests.support.server import RunningServer


async def test_a_visit_stands_in_each_column_and_moves_as_one(
    browser: Browser, berlin: RunningServer, berlin_database: Database
) -> None:
    massage = await create_massage(berlin_database)
    sofia, room = 3, 5
    await insert_massage(berlin_database, massage, 2, [sofia, room], berlin_time(3, 10))
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
