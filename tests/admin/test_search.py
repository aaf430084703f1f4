"""The search of the admin panel: what it finds, for which users, and with how few statements."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from bookit import records
from bookit.bookings import acts
from bookit.db.pool import Database
from bookit.policy import permissions
from bookit.policy.permissions import READ_ONLY
from bookit.schema.tables import Booking, Resource, Role, Service, User
from tests.support.admin_client import INTERNALS_PATTERN, AdminDesk, get_page_text, shorten
from tests.support.clock import NOW, Clock
from tests.support.people import OWNER, JoinUser, Person

PLACE = "https://bookit.test/admin"


async def find(desk: AdminDesk, term: str, status: int = 200) -> str:
    """Search for this as Mara, and return the text of the results."""
    answer = await desk.mara.get("/admin/search", params={"q": term})
    assert answer.status_code == status, answer.text
    return get_page_text(answer.text[answer.text.index("bk-results") :])


async def create_booking(database: Database, user: int, start: datetime) -> Booking:
    async with database.transaction(by=OWNER, now=NOW) as session:
        facts: dict[str, Any] = {"user_id": user, "service_id": 1, "start_time": start}
        return await records.create(session, Booking, by=OWNER, now=NOW, **facts)


async def test_a_customer_is_found_with_the_next_and_last_visit(desk: AdminDesk, tom: Person, visit: Booking) -> None:
    for days in (-2, -1, 5):
        await create_booking(desk.database, tom.id, NOW + timedelta(days=days))
    cancelled = [await create_booking(desk.database, tom.id, NOW + timedelta(hours=hours)) for hours in (-3, 3)]
    async with desk.database.transaction(by=OWNER, now=NOW) as session:
        for booking in cancelled:
            await acts.cancel(session, booking, by=OWNER, now=NOW)

    for term in ("tom", "TOM@example", f" {tom.user.email} "):
        assert await find(desk, term) == (
            'bk-results"> People Tom #3 tom@example.com'
            " Next Tue 08 Jan 2030, 11:00 Haircut Pending Last Sun 06 Jan 2030, 10:00 Haircut Pending"
            f" All bookings of people matching “{term.strip()}”"
        )


async def test_every_result_links_to_its_page(desk: AdminDesk, tom: Person, visit: Booking) -> None:
    html = (await desk.mara.get("/admin/search", params={"q": "tom"})).text
    of_service = (await desk.mara.get("/admin/search", params={"q": "hair"})).text

    for address in (f"user/details/{tom.id}", f"booking/details/{visit.id}", "booking/list?search=tom"):
        assert f'href="{PLACE}/{address}"' in html
        assert (await desk.mara.get(f"/admin/{address}")).status_code == 200
    for address in (
        "service/details/1",
        "booking/list?service_id=1",
        "resource/details/1",
        "booking/list?resource_id=1",
    ):
        assert f'href="{PLACE}/{address}"' in of_service
        assert (await desk.mara.get(f"/admin/{address}")).status_code == 200


async def test_services_and_resources_are_found_by_their_names(desk: AdminDesk, shared: Service) -> None:
    assert await find(desk, "LEA") == 'bk-results"> Resources Lea #1 Bookings for Lea'
    assert await find(desk, "colo") == 'bk-results"> Services Colour #1 Bookings for Colour'


async def test_a_number_finds_every_row_with_that_id(desk: AdminDesk, visit: Booking) -> None:
    """Mara is user 1, since she was created first."""
    assert await find(desk, "#1") == (
        'bk-results"> Bookings #1 Tue 08 Jan 2030, 11:00 Tom Haircut Pending'
        " People Mara #1 mara@example.com Desk Services Haircut #1 Bookings for Haircut"
        " Resources Haircut #1 Bookings for Haircut"
    )


@pytest.mark.parametrize("term", ["#3", "3", " #03 "])
async def test_a_single_row_with_the_id_is_opened_at_once(desk: AdminDesk, tom: Person, term: str) -> None:
    answer = await desk.mara.get("/admin/search", params={"q": term})

    assert (answer.status_code, answer.headers["location"]) == (303, f"/admin/user/details/{tom.id}")


async def test_a_number_also_matches_titles(desk: AdminDesk, tom: Person) -> None:
    async with desk.database.transaction(by=OWNER) as session:
        facts: dict[str, Any] = {"title": "Massage, 3 hands", "price": 1, "duration_minutes": 60}
        await records.create(session, Service, by=OWNER, now=NOW, **facts)

    results = await find(desk, "3")

    assert ("People Tom #3" in results, "Services Massage, 3 hands" in results) == (True, True)


async def test_too_many_results_link_to_the_list(desk: AdminDesk, join: JoinUser) -> None:
    for number in range(11):
        await join(f"Anna{number}")

    html = (await desk.mara.get("/admin/search", params={"q": "anna"})).text

    assert "More than 10. Show all in people" in get_page_text(html)
    assert get_page_text(html).count("@example.com") == 10
    assert f'href="{PLACE}/user/list?search=anna"' in html


async def test_an_exact_email_comes_first(desk: AdminDesk, join: JoinUser) -> None:
    for name in ("Aanna", "Banna", "Anna"):
        await join(name)

    results = await find(desk, "anna@example.com")

    assert results.index("Anna #") < results.index("Aanna #") < results.index("Banna #")


async def test_an_expired_hold_is_not_the_next_visit(
    desk: AdminDesk, tom: Person, haircut: Service, clock: Clock
) -> None:
    async with desk.database.transaction(by=OWNER, now=NOW) as session:
        facts: dict[str, Any] = {"user_id": tom.id, "service_id": 1, "start_time": NOW + timedelta(days=1)}
        await records.create(session, Booking, by=OWNER, now=NOW, hold=True, **facts)
    held = await find(desk, "tom")
    clock.advance(hours=1)

    assert "Next Tue 08 Jan 2030, 10:00 Haircut Pending" in held
    assert "Next" not in await find(desk, "tom")


NOTHING = ["", " ", "\0", "#", "#0", "#-1", "zzz", "#999", "9" * 30, "%", "_", "\\", "%%%", "t%m", "to_", "x" * 10_000,
           "<script>alert(1)</script>", "' OR 1=1 --", "\ud7ff\U0001f600", "#tom"]  # fmt: skip


@pytest.mark.parametrize("term", NOTHING, ids=shorten)
async def test_invalid_input_finds_nothing(desk: AdminDesk, tom: Person, term: str) -> None:
    answer = await desk.mara.get("/admin/search", params={"q": term})

    page_text = get_page_text(answer.text)
    message = "Nothing found." if term.strip("\0 ") else "Type a number, a name, a phone number, an e-mail or a title."
    assert (answer.status_code, message in page_text) == (200, True)
    assert "<script>alert" not in answer.text
    assert len(answer.text) < 20_000
    assert not INTERNALS_PATTERN.search(page_text)


async def test_an_empty_search_asks_for_a_term(desk: AdminDesk) -> None:
    answer = await desk.mara.get("/admin/search?q=a&q=&x=1")

    assert (answer.status_code, "Type a number, a name" in get_page_text(answer.text)) == (200, True)


async def test_a_search_needs_a_sign_in(desk: AdminDesk) -> None:
    answer = await desk.visitor.get("/admin/search", params={"q": "tom"})

    assert (answer.status_code, answer.headers["location"]) == (302, "/admin/login")
    assert "bk-search" not in (await desk.visitor.get("/admin/login")).text
    assert (await desk.mara.post("/admin/search", data={"q": "tom"})).status_code == 405


@pytest.mark.parametrize(
    ("sees", "groups"),
    [
        ({Booking}, {"Bookings"}),
        ({User}, {"People"}),
        ({Service}, {"Services"}),
        ({Resource}, {"Resources"}),
        ({User, Booking}, {"People", "Bookings"}),
        (set(), set()),
    ],
)
async def test_only_permitted_rows_are_found(
    desk: AdminDesk, visit: Booking, monkeypatch: pytest.MonkeyPatch, sees: set[Any], groups: set[str]
) -> None:
    monkeypatch.setattr(permissions, "PERMISSIONS_BY_ROLE", {Role.STAFF: dict.fromkeys(sees, READ_ONLY)})
    async with desk.database.transaction(by=OWNER, now=NOW) as session:
        how: dict[str, Any] = {"by": OWNER, "now": NOW}
        facts: dict[str, Any] = {"title": "Tom's", "price": 1, "duration_minutes": 5}
        await records.create(session, Service, **how, **facts)  # And its own resource by that name.
    results = {}
    for client, reader in ((desk.mara, "mara"), (desk.ada, "ada")):
        html = ""
        for term in ("#1", "tom"):
            answer = await client.get("/admin/search", params={"q": term}, follow_redirects=False)
            html += answer.text[answer.text.find("bk-results") :] + answer.headers.get("location", "")
        results[reader] = html

    titles = {"Bookings": "booking/details/", "People": "user/details/", "Services": "service/details/",
              "Resources": "resource/details/"}  # fmt: skip
    assert {title for title, address in titles.items() if address in results["mara"]} == groups
    assert {title for title, address in titles.items() if address in results["ada"]} == set(titles)


@pytest.mark.parametrize("term", ["tom", "#1", "1", "a", "zzz", "%"])
async def test_a_search_takes_few_statements(
    desk: AdminDesk, tom: Person, visit: Booking, join: JoinUser, term: str
) -> None:
    for name in ("Anna", "Alma", "Tomas"):
        person = await join(name)
        await create_booking(desk.database, person.id, NOW + timedelta(days=person.id))

    with desk.record_statements() as statements:
        await desk.mara.get("/admin/search", params={"q": term})

    assert 1 <= len(statements) <= 4  # and one more through BookIt's own pool: the signed-in user


async def test_the_search_box_is_on_every_page_and_keeps_its_term(desk: AdminDesk, visit: Booking) -> None:
    for path in (
        "booking/list",
        "booking/create",
        "booking/details/1",
        "password",
        "resource/1/week",
        "search?q=t%22o",
    ):
        html = (await desk.mara.get(f"/admin/{path}")).text
        assert ('value="t&#34;o"' in html) == path.startswith("search")
        assert html.count('role="search"') == 1
        assert f'action="{PLACE}/search"' in html
        assert '<label class="visually-hidden" for="bk-search">' in html


async def test_the_indexes_of_the_search_exist(database: Database) -> None:
    index_names = {"users_by_search_key", "users_by_sort_key", "bookings_by_user"}
    rows = await database.fetch(text("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'"))

    assert index_names <= {row["indexname"] for row in rows}
