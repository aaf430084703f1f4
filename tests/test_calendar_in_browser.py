"""The calendar in a real browser, whose clock is in Los Angeles while the business keeps Berlin's."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]  # it has no types
from playwright.async_api import Browser, FloatRect, Locator, Page, expect
from sqlalchemy import text

from bookit import people, records
from bookit.database import Database
from bookit.tables import Booking, OpeningHours, Resource, Role, Service, User
from tests.browser import PATIENCE_SECONDS, Served, Watched, browser, serving, watch
from tests.conftest import OWNER, PASSWORD, TEMPLATE, make_database

__all__ = ["browser"]  # a fixture, which pytest finds by its name here

WIDE, PHONE = 1400, 390
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime.now(UTC)  # The server's clock goes.
NEXT_WEEK = NOW.astimezone(BERLIN).date() + timedelta(days=7)
MINUTE = 1  # A minute is a pixel high.
AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}
FITS = "document.documentElement.scrollWidth <= window.innerWidth"


@pytest.fixture(scope="module")
def berlin(server: str, worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Run a business in Berlin."""
    url = make_database(server, f"berlin_{worker_id}", TEMPLATE)
    home = tmp_path_factory.mktemp("berlin")
    with serving(home, url, TIMEZONE="Europe/Berlin") as address:
        yield Served(address, url, home / "log")


@pytest.fixture(scope="module")
async def kept(berlin: Served) -> AsyncIterator[Database]:
    """The database that is served: Mara (1) at the desk, Tom (2), and Lea and Max, who colour; Max until 13:00."""
    who: dict[str, Any] = {"by": OWNER, "now": NOW, "password_hash": people.PASSWORDS.hash(PASSWORD)}
    how: dict[str, Any] = {"by": OWNER, "now": NOW}
    async with Database(berlin.database_url, timezone="Europe/Berlin") as database:
        async with database.transaction(by=OWNER) as session:
            await records.create(session, User, name="Mara", email="mara@example.com", role=Role.STAFF, **who)
            await records.create(session, User, name="Tom", email="tom@example.com", **who)
            for name in ("Lea", "Max"):
                await records.create(session, Resource, name=name, timezone="Europe/Berlin", **how)
            facts: dict[str, Any] = {"title": "Colour", "price": 60, "duration_minutes": 30, "resource_ids": [1, 2]}
            await records.create(session, Service, **facts, **how)
            for weekday in range(1, 8):
                hours: dict[str, Any] = {"weekday": weekday, "opens": time(8), "closes": time(13)}
                await records.create(session, OpeningHours, resource_id=2, **hours, **how)
        yield database


def at(days: int, hour: int, minute: int = 0) -> datetime:
    """Give a time by Berlin's clock, so many days after next week begins."""
    return datetime.combine(NEXT_WEEK + timedelta(days=days), time(hour, minute), BERLIN)


async def book(database: Database, start: datetime, resource: int = 1) -> Booking:
    """Have Tom come."""
    async with database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"user_id": 2, "service_id": 1, "start_time": start, "resource_id": resource}
        return await records.create(session, Booking, by=OWNER, now=NOW, **facts)


async def stands(database: Database, booking: Booking) -> tuple[datetime, int]:
    """Give when and where a booking is by now."""
    row = await database.get(Booking, booking.id)
    assert row is not None
    return row.start_time.astimezone(BERLIN), row.resource_id


async def at_the_calendar(
    browser: Browser, berlin: Served, day: datetime, width: int = WIDE, more: str = "", *, is_touched: bool = False
) -> Watched:
    """Open the calendar at a day, as Mara, in Los Angeles."""
    address = f"{berlin.url}/admin/calendar?date={day:%Y-%m-%d}{more}"
    watched = await watch(browser, address, width=width, timezone="America/Los_Angeles", is_touched=is_touched)
    await watched.page.get_by_label("E-mail").fill("mara@example.com")
    await watched.page.get_by_label("Password").fill(PASSWORD)
    await watched.page.get_by_role("button", name="Sign in").click()
    await expect(watched.page).to_have_title("Calendar – BookIt")
    await expect(watched.page.locator("#cal-live")).to_have_text("Live")
    return watched


async def box_of(place: Locator) -> FloatRect:
    """Give where something is on the page, once it stays there: the calendar may draw it anew while it loads."""
    before = None
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (box := await place.bounding_box()) is None or box != before:
            before = box
            await asyncio.sleep(0.1)
    return box


async def drag(page: Page, visit: Locator, *, minutes: int, columns: int = 0) -> None:
    """Drag a visit so many minutes down and columns to the right."""
    box = await box_of(visit)
    column = await box_of(page.locator(".ec-col-head", has_text="Lea"))
    x, y = box["x"] + 30, box["y"] + 5
    await page.mouse.move(x, y)
    await page.mouse.down()
    await page.mouse.move(x + 10, y + 10, steps=2)
    await page.mouse.move(x + columns * column["width"], y + minutes * MINUTE, steps=8)
    await page.mouse.up()


async def faults(page: Page) -> list[Any]:
    """Give what somebody who sees or hears little would stumble over."""
    result = await Axe().run(page, options=AXE)
    return [
        (fault["id"], [node["html"][:200] for node in fault["nodes"]][:3])
        for fault in result.response["violations"]
        if fault["impact"] in {"serious", "critical"}
    ]


async def test_a_booking_is_dragged_to_another_time_and_resource(
    browser: Browser, berlin: Served, kept: Database
) -> None:
    booking = await book(kept, at(0, 10))
    page, errors, elsewhere = await at_the_calendar(browser, berlin, at(0, 10))
    visit = page.locator(".cal-visit")
    await expect(visit).to_contain_text(re.compile("10:00 Tom Pending.*Colour"))
    found = await faults(page)

    await drag(page, visit, minutes=75, columns=1)

    await expect(page.locator("#cal-told")).to_have_text("Tom, Colour: now 11:15 – 11:45, Max.")
    await expect(visit).to_contain_text("11:15")
    assert await stands(kept, booking) == (at(0, 11, 15), 2)
    assert (found, errors, elsewhere, await page.evaluate(FITS)) == ([], [], [], True)


async def test_a_drag_that_is_refused_goes_back_and_says_why(browser: Browser, berlin: Served, kept: Database) -> None:
    booking = await book(kept, at(1, 11), 2)
    await book(kept, at(1, 12), 2)
    page, errors, elsewhere = await at_the_calendar(browser, berlin, at(1, 11))
    visit = page.locator(".cal-visit", has_text="11:00")
    before = await box_of(visit)

    await drag(page, visit, minutes=45)
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("alert")).to_have_text("Booking conflict: time slot is not available")
    await expect(dialog.get_by_label("Why anyway?")).to_be_hidden()
    await expect(dialog.locator(".cal-free button").first).to_contain_text("12:30, Max")
    found = await faults(page)
    await dialog.get_by_role("button", name="Leave it there").click()
    assert await box_of(visit) == before
    assert await stands(kept, booking) == (at(1, 11), 2)

    await drag(page, visit, minutes=150)
    await expect(dialog.get_by_role("alert")).to_contain_text("hours")
    await expect(dialog.get_by_label("Why anyway?")).to_be_focused()
    await page.keyboard.type("She stays late")
    await page.keyboard.press("Enter")
    await expect(page.locator("#cal-told")).to_have_text("Tom, Colour: now 13:30 – 14:00, Max.")
    assert await stands(kept, booking) == (at(1, 13, 30), 2)
    kept_reason = await kept.fetch(text("SELECT reason FROM events ORDER BY id DESC LIMIT 1"))
    unexpected = [error for error in errors if not re.search("400|409", error)]
    assert (kept_reason, found, unexpected, elsewhere) == ([{"reason": "She stays late"}], [], [], [])


async def pull(page: Page, visit: Locator, *, minutes: int) -> None:
    """Drag the lower edge of a visit so many minutes down."""
    box = await box_of(visit)
    x, y = box["x"] + 30, box["y"] + box["height"] - 2
    await page.mouse.move(x, y)
    await page.mouse.down()
    await page.mouse.move(x, y + 8, steps=2)
    await page.mouse.move(x, y + minutes * MINUTE, steps=8)
    await page.mouse.up()


async def lasts(database: Database, booking: Booking) -> timedelta:
    row = await database.get(Booking, booking.id)
    assert row is not None
    return row.end_time - row.start_time


async def test_a_visit_is_lengthened_by_its_lower_edge_and_keeps_that_length(
    browser: Browser, berlin: Served, kept: Database
) -> None:
    booking = await book(kept, at(8, 10))
    page, errors, elsewhere = await at_the_calendar(browser, berlin, at(8, 10))
    visit = page.locator(".cal-visit")

    await pull(page, visit, minutes=45)
    await expect(page.locator("#cal-told")).to_have_text("Tom, Colour: now 10:00 – 11:15, Lea.")
    assert (await stands(kept, booking), await lasts(kept, booking)) == ((at(8, 10), 1), timedelta(minutes=75))
    await drag(page, visit, minutes=60)
    await expect(page.locator("#cal-told")).to_have_text("Tom, Colour: now 11:00 – 12:15, Lea.")
    await pull(page, visit, minutes=-30)
    await expect(page.locator("#cal-told")).to_have_text("Tom, Colour: now 11:00 – 11:45, Lea.")

    assert await lasts(kept, booking) == timedelta(minutes=45)
    assert (errors, elsewhere) == ([], [])


async def test_a_lengthening_that_is_refused_goes_back_and_says_why_and_when(
    browser: Browser, berlin: Served, kept: Database
) -> None:
    booking = await book(kept, at(9, 11), 2)
    await book(kept, at(9, 12), 2)
    page, errors, elsewhere = await at_the_calendar(browser, berlin, at(9, 11))
    visit = page.locator(".cal-visit", has_text="11:00")
    before = await box_of(visit)

    await pull(page, visit, minutes=45)
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("alert")).to_have_text("Booking conflict: time slot is not available")
    await expect(dialog.get_by_label("Why anyway?")).to_be_hidden()
    free = dialog.locator(".cal-free button").first
    await expect(free).to_contain_text("08:00, Max")
    found = await faults(page)
    await dialog.get_by_role("button", name="Leave it there").click()
    assert await box_of(visit) == before
    assert await lasts(kept, booking) == timedelta(minutes=30)

    await pull(page, visit, minutes=45)
    await free.click()
    await expect(page.locator("#cal-told")).to_contain_text("08:00 – 09:15, Max.")
    assert await lasts(kept, booking) == timedelta(minutes=75)
    assert ([error for error in errors if not re.search("409", error)], found, elsewhere) == ([], [], [])


async def test_a_length_against_the_hours_asks_why(browser: Browser, berlin: Served, kept: Database) -> None:
    booking = await book(kept, at(10, 12, 30), 2)
    page, errors, _ = await at_the_calendar(browser, berlin, at(10, 12))

    await pull(page, page.locator(".cal-visit"), minutes=60)
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("alert")).to_contain_text("hours")
    await expect(dialog.get_by_label("Why anyway?")).to_be_focused()
    await page.keyboard.type("She stays late")
    await page.keyboard.press("Enter")

    await expect(page.locator("#cal-told")).to_have_text("Tom, Colour: now 12:30 – 14:00, Max.")
    assert await lasts(kept, booking) == timedelta(minutes=90)
    assert [error for error in errors if "400" not in error] == []


async def test_a_visit_s_length_is_reached_by_keyboard(browser: Browser, berlin: Served, kept: Database) -> None:
    booking = await book(kept, at(11, 10))
    page, errors, _ = await at_the_calendar(browser, berlin, at(11, 10), PHONE)

    await page.locator(".cal-visit").focus()
    await page.keyboard.press("Enter")
    await page.get_by_role("dialog").get_by_role("link", name="Time and length by form").focus()
    await page.keyboard.press("Enter")
    await page.get_by_label("End").fill(f"{at(11, 11):%Y-%m-%dT%H:%M}")
    await page.keyboard.press("Enter")

    await expect(page).to_have_url(re.compile("/booking/(list|details)"))
    assert (await lasts(kept, booking), errors) == (timedelta(hours=1), [])


async def test_a_finger_moves_a_visit_wherever_it_takes_hold(browser: Browser, berlin: Served, kept: Database) -> None:
    """On a phone nobody tells the edge of a visit from the visit."""
    booking = await book(kept, at(12, 10))
    page, errors, _ = await at_the_calendar(browser, berlin, at(12, 10), PHONE, is_touched=True)
    visit = page.locator(".cal-visit")
    box = await box_of(visit)
    session = await page.context.new_cdp_session(page)

    async def touch(kind: str, *, down: int = 0) -> None:
        points = [{"x": box["x"] + 30, "y": box["y"] + box["height"] - 2 + down}] if kind != "touchEnd" else []
        await session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    await touch("touchStart")
    await expect(page.locator(".ec-preview, .ec-dragging").first).to_be_attached()
    for down in range(5, 65, 5):
        await touch("touchMove", down=down)
    await touch("touchEnd")

    await expect(page.locator("#cal-told")).to_have_text("Tom, Colour: now 11:00 – 11:30, Lea.")
    assert (await stands(kept, booking), errors) == ((at(12, 11), 1), [])


async def test_a_click_on_an_empty_slot_books_somebody_new(browser: Browser, berlin: Served, kept: Database) -> None:
    await book(kept, at(2, 10))
    page, errors, elsewhere = await at_the_calendar(browser, berlin, at(2, 10))
    box = await box_of(page.locator(".cal-visit"))
    column = await box_of(page.locator(".ec-col-head", has_text="Max"))

    await page.mouse.click(column["x"] + 40, box["y"] + 120 * MINUTE + 2)
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_label("Start")).to_have_value(f"{at(2, 12):%Y-%m-%dT%H:%M}")
    await expect(dialog.get_by_label("Resource")).to_have_value("2")
    await dialog.get_by_label("Somebody new").check()
    await dialog.get_by_label("Name", exact=True).fill("Nora New")
    await dialog.get_by_label("E-mail", exact=True).fill("nora@example.com")
    found = await faults(page)
    await dialog.get_by_role("button", name="Book").click()

    await expect(page.locator(".cal-visit", has_text="Nora New")).to_contain_text("12:00")
    rows = await kept.fetch(
        text(
            "SELECT b.start_time, b.resource_id FROM bookings b JOIN users u ON u.id = b.user_id WHERE u.name = :name"
        ),
        name="Nora New",
    )
    assert rows == [{"start_time": at(2, 12), "resource_id": 2}]
    assert (found, errors, elsewhere) == ([], [], [])


async def test_all_of_it_goes_by_keyboard(browser: Browser, berlin: Served, kept: Database) -> None:
    booking = await book(kept, at(3, 10))
    page, errors, _ = await at_the_calendar(browser, berlin, at(3, 10))

    await page.locator(".cal-visit").focus()
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("10:00 – 10:30")
    found = await faults(page)
    await dialog.get_by_role("button", name="Confirm").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".cal-visit")).to_contain_text("Confirmed")

    await page.get_by_role("button", name="New booking").focus()
    await page.keyboard.press("Enter")
    await expect(dialog.get_by_label("Customer, by name or e-mail")).to_be_focused()
    await page.keyboard.type("tom")
    await expect(dialog.get_by_role("listbox").get_by_role("option")).to_have_text("Tom · tom@example.com")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    await expect(page.locator(".cal-visit", has_text="09:00")).to_contain_text("Tom")

    row = await kept.get(Booking, booking.id)
    assert row is not None
    assert (row.status, found, errors) == ("confirmed", [], [])


async def test_a_phone_shows_one_resource_at_a_time(browser: Browser, berlin: Served, kept: Database) -> None:
    for resource, hour in ((1, 10), (2, 11)):
        await book(kept, at(4, hour), resource)
    page, errors, elsewhere = await at_the_calendar(browser, berlin, at(4, 10), PHONE)
    visits = page.locator(".cal-visit")
    await expect(visits).to_contain_text(["10:00"])
    fitted = [await page.evaluate(FITS)]

    await page.get_by_label("Resource").first.select_option("Max")
    await expect(visits).to_contain_text(["11:00"])
    found = await faults(page)
    await visits.click()
    await expect(page.get_by_role("dialog")).to_contain_text("Max")
    fitted.append(await page.evaluate(FITS))
    await page.keyboard.press("Escape")
    await page.get_by_label("Resource").first.select_option("All")
    await page.get_by_role("button", name="List").click()
    await expect(visits.first).to_be_visible()
    fitted.append(await page.evaluate(FITS))
    found += await faults(page)

    assert (fitted, found, errors, elsewhere) == ([True, True, True], [], [], [])


NAMES = ["Charlotte Fischer", "Björn Ostermann", "Frank Dietrich", "Selin Korkmaz", "Luca Moretti", "Katharina Busch",
         "Diego Fernández", "Zeynep Aksoy", "Oliver Grant", "Lena Brandt"]  # fmt: skip
CUT = """
[...document.querySelectorAll(".cal-visit .cal-who")].filter((who) => {
  const [name, visit] = [who, who.closest(".ec-event-body")].map((part) => part.getBoundingClientRect());
  return name.right > visit.right + 1 || name.bottom > visit.bottom + 1 || !name.width;
}).map((who) => who.textContent)
"""


async def test_a_class_is_read_name_by_name(browser: Browser, berlin: Served, kept: Database) -> None:
    how: dict[str, Any] = {"by": OWNER, "now": NOW}
    async with kept.transaction(by=OWNER) as session:
        studio = await records.create(session, Resource, **how, name="Studio", capacity=12, timezone="Europe/Berlin")
        facts: dict[str, Any] = {"title": "Yoga", "price": 15, "duration_minutes": 60, "resource_ids": [studio.id]}
        yoga = await records.create(session, Service, **how, **facts)
        for at_place, name in enumerate(NAMES):
            known: dict[str, Any] = {"name": name, "email": f"yogi{at_place}@example.com", "password_hash": "-"}
            yogi = await records.create(session, User, **how, **known)
            visit: dict[str, Any] = {"user_id": yogi.id, "service_id": yoga.id, "start_time": at(20, 10)}
            await records.create(session, Booking, **how, **visit)
    found = []
    looks = [(WIDE, "day", "light"), (WIDE, "week", "dark"), (PHONE, "day", "dark"), (PHONE, "week", "light")]
    for width, view, scheme in looks:
        where = f"&view={view}&resource={studio.id if width == PHONE else ''}"
        page, errors, _ = await at_the_calendar(browser, berlin, at(20, 10), width, where)
        await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        await page.reload()
        await expect(page.locator(".cal-visit")).to_have_count(len(NAMES))
        await box_of(page.locator(".cal-visit").last)
        found.append((await page.evaluate(CUT), await page.evaluate(FITS), await faults(page), errors))
        await page.close()

    assert found == [([], True, [], [])] * 4


async def test_two_at_the_desk_see_each_other_s_changes(browser: Browser, berlin: Served, kept: Database) -> None:
    (one, _, _), (other, _, _) = [await at_the_calendar(browser, berlin, at(5, 10)) for _ in range(2)]

    await book(kept, at(5, 10))
    for page in (one, other):
        await expect(page.locator(".cal-visit")).to_contain_text("10:00", timeout=2000)
    await drag(one, one.locator(".cal-visit"), minutes=60, columns=1)

    await expect(other.locator(".cal-visit")).to_contain_text("11:00", timeout=3000)
    await kept.fetch(text("DELETE FROM bookings WHERE start_time = :start"), start=at(5, 11))
    for page in (one, other):
        await expect(page.locator(".cal-visit")).to_have_count(0, timeout=2000)


async def test_the_day_on_which_berlin_s_clocks_go_back(browser: Browser, berlin: Served, kept: Database) -> None:
    for hour in (0, 1):
        await book(kept, datetime(2030, 10, 27, hour, 30, tzinfo=UTC))
    late = await book(kept, datetime(2030, 10, 27, 9, 0, tzinfo=UTC))
    page, errors, _ = await at_the_calendar(browser, berlin, datetime(2030, 10, 27, tzinfo=UTC))

    await expect(page.locator(".cal-visit", has_text="CEST")).to_contain_text("02:30 CEST")
    await expect(page.locator(".cal-visit", has_text="CET")).to_contain_text("02:30 CET")
    await drag(page, page.locator(".cal-visit", has_text="10:00"), minutes=90)
    await expect(page.locator("#cal-told")).to_contain_text("now 11:30 – 12:00")

    assert await stands(kept, late) == (datetime(2030, 10, 27, 11, 30, tzinfo=BERLIN), 1)
    assert errors == []


@pytest.mark.parametrize("day", [10, 31], ids=["Los Angeles skips an hour", "Berlin skips an hour"])
async def test_an_hour_that_is_skipped(day: int, browser: Browser, berlin: Served, kept: Database) -> None:
    """Berlin has a half past two on the day on which Los Angeles has none, and the other way round."""
    booking = await book(kept, datetime(2030, 3, day, 1, 0, tzinfo=BERLIN))
    page, _, _ = await at_the_calendar(browser, berlin, datetime(2030, 3, day, tzinfo=UTC))
    visit = page.locator(".cal-visit")
    await expect(visit).to_have_count(1)
    await page.locator(".ec-main").evaluate("(grid) => { grid.scrollTop = 0; }")

    await drag(page, visit, minutes=90)

    if day == 10:
        await expect(page.locator("#cal-told")).to_contain_text("now 02:30 – 03:00")
        assert await stands(kept, booking) == (datetime(2030, 3, day, 2, 30, tzinfo=BERLIN), 1)
        return
    await expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("02:30 does not exist")
    await expect(visit).to_contain_text("01:00")
    assert await stands(kept, booking) == (datetime(2030, 3, day, 1, 0, tzinfo=BERLIN), 1)
