"""The first day: what Today says is to do, and what empty lists say."""

from datetime import time
from typing import Any

import pytest

from bookit import business, records
from bookit.db.pool import Database
from bookit.schema.tables import OpeningHours, Service
from tests.support.admin_client import AdminDesk, get_page_text, submit_form
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.people import OWNER, Person

STEPS = [
    "Name your business",
    "Add your team and rooms, and when they are open",
    "Add your services",
    "Book the first visit",
]


def read_steps(html: str) -> list[tuple[str, bool]]:
    """Return the title of each first step on Today, and whether it is done."""
    if 'id="first-steps"' not in html:
        return []
    section = html[html.index('id="first-steps"') :].split("</section>", 1)[0]
    return [(next(step for step in STEPS if step in item), "(done)" in item) for item in section.split("<li")[1:]]


async def test_today_lists_the_first_steps_until_all_are_done(desk: AdminDesk, database: Database, tom: Person) -> None:
    seen = []

    async def look() -> None:
        html = (await desk.ada.get("/admin/")).text
        seen.append([is_done for _, is_done in read_steps(html)])

    await look()
    await submit_form(desk.ada, "/admin/business/edit/1", name="Salon")
    await look()
    await submit_form(desk.ada, "/admin/service/create", title="Haircut", price="35", duration_minutes="45")
    await look()
    hours: dict[str, Any] = {"resource_id": 1, "weekday": 2, "opens": time(9), "closes": time(17)}
    async with database.transaction(by=OWNER, now=NOW) as session:
        await records.create(session, OpeningHours, by=OWNER, now=NOW, **hours)
    await look()
    visit = {"service_id": 1, "start_time": TOMORROW_AT_TEN.isoformat()}
    assert (await tom.client.post("/bookings", json=visit)).status_code == 201
    await look()

    assert seen == [
        [False, False, False, False],
        [True, False, False, False],
        [True, False, True, False],
        [True, True, True, False],
        [],
    ]


async def test_a_business_that_is_set_up_is_not_asked_again(desk: AdminDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def find_all(*_: object) -> dict[str, bool]:
        asked.append(True)
        return dict.fromkeys(("business", "team", "services", "booking", "resources"), True)

    asked: list[bool] = []
    monkeypatch.setattr(business, "find_first_steps", find_all)
    for _ in range(3):
        assert read_steps((await desk.ada.get("/admin/")).text) == []

    assert asked == [True]


async def test_an_empty_business_shows_nothing_but_the_steps(desk: AdminDesk) -> None:
    page = (await desk.ada.get("/admin/")).text

    assert read_steps(page) == [(step, False) for step in STEPS]
    assert "Revenue" not in get_page_text(page)
    assert 'id="next"' not in page
    assert read_steps((await desk.mara.get("/admin/")).text) == []  # She cannot do them.


@pytest.mark.parametrize("path", ["/admin/business/edit/1", "/admin/resource/list", "/admin/service/create"])
async def test_each_step_leads_to_its_page(desk: AdminDesk, path: str) -> None:
    page = (await desk.ada.get("/admin/")).text

    assert f'href="https://bookit.test{path}"' in page
    assert (await desk.ada.get(path)).status_code == 200


@pytest.mark.parametrize(
    ("identity", "sentence", "button"),
    [
        ("booking", "No visits are booked from today on.", "New booking"),
        ("service", "No services yet. A service is what customers book, such as a haircut or a lesson.", "New service"),
        (
            "resource",
            "Nobody can be booked yet. Add the people who work here, and rooms or things that are booked.",
            "New resource",
        ),
        (
            "opening-hours",
            "No opening hours yet. They say when each of the team and each room can be booked.",
            "New opening hours",
        ),
        (
            "calendar-exception",
            "No closures yet. In a closure, such as a holiday or a leave, nobody can book.",
            "New closure",
        ),
        ("review", "No reviews yet. Customers can write one when their visit is completed.", ""),
    ],
)
async def test_an_empty_list_has_one_sentence_and_one_button(
    desk: AdminDesk, identity: str, sentence: str, button: str
) -> None:
    page = (await desk.ada.get(f"/admin/{identity}/list")).text
    searched = get_page_text((await desk.ada.get(f"/admin/{identity}/list?search=1")).text)

    assert sentence in get_page_text(page)
    assert page.count(f'/admin/{identity}/create"') == bool(button)
    assert not button or f"{sentence} {button}" in get_page_text(page)
    assert "Export this list" not in get_page_text(page)
    assert sentence not in searched


async def test_a_list_with_rows_has_its_buttons_above(desk: AdminDesk, haircut: Service) -> None:
    page = get_page_text((await desk.ada.get("/admin/service/list")).text)

    assert "No services yet" not in page
    assert "Export this list" in page
    assert haircut.title in page
