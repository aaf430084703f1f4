"""People and services are found by words, whatever their case, accents, apostrophes and order, at both doors."""

from typing import Any

import pytest

from bookit import records
from bookit.schema.tables import Service, User
from tests.support.admin_client import AdminDesk
from tests.support.clock import NOW
from tests.support.people import OWNER, PASSWORD_HASH

# Each name, and what people type to find it.
TYPED = {
    "Müller": ["muller", "MÜLLER", "mu\u0308ller", "Müll", "  müller "],
    "Siobhán": ["siobhan", "SIOBHÁN", "siobha\u0301n"],
    "Patrick O\u2019Brien": [
        "O'Brien",
        "O\u2019Brien",
        "obrien",
        "o\u02bcbrien",
        "O`Brien",
        "brien patrick",
        "O\u00b4Brien",
    ],
    "Anna  Meier": ["anna meier", "Anna   Meier", "Meier Anna", "meier\u00a0anna", "\u200banna", "nna eie"],
    "\u039f\u03b4\u03c5\u03c3\u03c3\u03b5\u03cd\u03c2": [
        "\u03bf\u03b4\u03c5\u03c3\u03c3\u03b5\u03c5\u03c2",
        "\u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3",
        "\u03bf\u03b4\u03c5\u03c3\u03c3\u03b5\u03cd\u03c3",
    ],
    "\u0130pek I\u015f\u0131k": ["ipek", "\u0130PEK", "ISIK", "\u0131\u015f\u0131k", "isik ipek"],
    "Weiß": ["weiss", "WEISS", "wei\u1e9e", "weiß"],
    "Øyvind Ærø": ["oyvind", "ØYVIND", "aero", "ærø"],
    "\u0141ukasz": ["lukasz", "\u0142UKASZ"],
    "\u0110\u1eb7ng": ["dang", "\u0111\u1eb7ng"],
    "\uff21\uff4b\uff49\uff52\uff41": ["akira", "AKIRA"],  # full-width letters
    "\u0419\u043e\u0441\u0438\u0444": ["\u0438\u043e\u0441\u0438\u0444", "\u0419\u041e\u0421"],
    "Fran\u00e7oise 100%_\\": ["francoise", "100%", "francoise %_\\"],
}
NOT_FOUND = ["zzz", "m_ller", "%ller", "muller anna", "mu ller x", "\\\\", "100_"]


@pytest.fixture
async def desk_with_names(desk: AdminDesk) -> AdminDesk:
    """Return a desk with a customer, a service and a resource of each name, in no order."""
    async with desk.database.transaction(by=OWNER, now=NOW) as session:
        for number, name in enumerate(TYPED):
            stored = " ".join(name.split())
            facts: dict[str, Any] = {"by": OWNER, "now": NOW}
            await records.create(
                session, User, **facts, name=stored, email=f"p{number}@example.com", password_hash=PASSWORD_HASH
            )
            await records.create(session, Service, **facts, title=stored, price=1, duration_minutes=60)
    return desk


async def found_at_every_box(desk: AdminDesk, term: str) -> dict[str, list[str]]:
    """Return the names that each box finds: the lists, the search page, the look-ups, and the API."""
    people = (await desk.ada.get("/admin/booking/ajax/lookup", params={"name": "user", "term": term})).json()
    offered = (await desk.ada.get("/admin/booking/ajax/lookup", params={"name": "service", "term": term})).json()
    services = (await desk.visitor.get("/services", params={"q": term})).json()
    found = {}
    for table in ("user", "service"):
        page = await desk.ada.get(f"/admin/{table}/list", params={"search": term})
        found[f"{table} list"] = names_in(page.text.partition("<tbody")[2])
    results = (await desk.ada.get("/admin/search", params={"q": term})).text.partition("bk-results")[2]
    found["search page"] = names_in(results)
    found["look-up of people"] = names_in(" ".join(row["text"] for row in people["results"]))
    found["look-up of services"] = names_in(" ".join(row["text"] for row in offered["results"]))
    return found | {"API": sorted(row["title"] for row in services)}


def names_in(text: str) -> list[str]:
    names = (" ".join(name.split()) for name in TYPED)
    return sorted(name for name in names if name in text)


async def test_every_box_finds_the_name_however_it_is_typed(desk_with_names: AdminDesk) -> None:
    for name, terms in TYPED.items():
        for term in terms:
            found = await found_at_every_box(desk_with_names, term)

            assert found == {box: [" ".join(name.split())] for box in found}, term


@pytest.mark.parametrize("term", NOT_FOUND)
async def test_no_box_finds_what_is_not_there(desk_with_names: AdminDesk, term: str) -> None:
    found = await found_at_every_box(desk_with_names, term)

    assert found == {box: [] for box in found}


async def test_lists_are_in_the_order_of_an_address_book(desk: AdminDesk) -> None:
    """Accents and case do not count, and a number counts as a number. Each place has its own statement."""
    names = ["Zoe", "anna", "Room 10", "Änne", "Øyvind", "Room 2", "zoe 1"]
    expected = ["anna", "Änne", "Øyvind", "Room 2", "Room 10", "Zoe", "zoe 1"]
    async with desk.database.transaction(by=OWNER, now=NOW) as session:
        for number, name in enumerate(names):
            facts: dict[str, Any] = {"by": OWNER, "now": NOW}
            await records.create(
                session, User, **facts, name=name, email=f"p{number}@example.com", password_hash=PASSWORD_HASH
            )
            await records.create(session, Service, **facts, title=name, price=1, duration_minutes=60)

    offered = (await desk.ada.get("/admin/booking/ajax/lookup", params={"name": "resource", "term": ""})).json()
    assert [row["text"] for row in offered["results"]] == expected
    for path in (
        "user/list?sortBy=name", "user/list?sortBy=name&search=example.com", "service/list?sortBy=title",
        "resource/list?sortBy=name", "search?q=p%40example", "booking/bulk", "calendar", "booking/list",
    ):  # fmt: skip
        html = (await desk.ada.get(f"/admin/{path}")).text
        at = {name: html.find(f">{name}<") for name in expected}
        assert path.startswith(("search", "calendar", "booking")) or -1 not in at.values(), (path, at)
        shown = [name for name in expected if at[name] >= 0]
        assert sorted(shown, key=at.__getitem__) == shown, path
