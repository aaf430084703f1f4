"""Numbers are read as people write them, and never guessed: at the desk, in JSON and in an address."""

from decimal import Decimal
from typing import Any

import httpx2
import pytest

from bookit.schema.tables import Service
from tests.support.admin_client import AdminDesk, submit_form
from tests.support.people import Person
from tests.support.refusal_assertions import PageMessages

MASSAGE: dict[str, Any] = {"title": "Massage", "duration_minutes": "50"}
READ = {"12.50": "12.50", "12,50": "12.50", " 0,5 ": "0.50", "7": "7.00", "1234.5": "1234.50", "1234,5": "1234.50"}
GROUPS = "Write the number without separators between thousands, such as 1234.50."
NUMBER, WHOLE = "Enter a number, such as 12.50.", "Enter a whole number, such as 45."
REFUSED = {
    "1.234,50": GROUPS,
    "1,234.50": GROUPS,
    "1.234": GROUPS,
    "1,234": GROUPS,
    "1 234,50": GROUPS,
    "1\u202f234": GROUPS,
    "1\u2019234.50": GROUPS,
    "1_000": NUMBER,
    "1e2": NUMBER,
    "+5": NUMBER,
    "\u0661\u0662": NUMBER,
    "\uff15": NUMBER,
    "\u00bd": NUMBER,
    "12,,5": NUMBER,
    ",5": NUMBER,
    "5,": NUMBER,
    "12.50 \u20ac": NUMBER,
    "0x10": NUMBER,
    "NaN": NUMBER,
}
NO_WHOLE_NUMBER = ["1_0", "1e2", "+5", "\u0665\u0660", "\uff15", "5.0", "5,0", "\u00b2", "0x10", "five"]


async def test_the_desk_reads_a_price_with_a_point_or_a_comma(desk: AdminDesk) -> None:
    for typed in READ:
        page = await submit_form(desk.ada, "/admin/service/create", **MASSAGE, price=typed)
        assert page.status == 302, (typed, page.text)

    rows = await desk.database.fetch(Service.__table__.select().order_by("id"))  # type: ignore[attr-defined]
    assert [row["price"] for row in rows] == [Decimal(price) for price in READ.values()]


async def test_the_desk_refuses_a_price_that_could_be_two(desk: AdminDesk) -> None:
    said = {}
    for typed in REFUSED:
        page = await submit_form(desk.ada, "/admin/service/create", **MASSAGE, price=typed)
        said[typed] = PageMessages(page.html).field_errors.get("price")

    assert said == REFUSED


async def test_the_desk_reads_whole_numbers_of_plain_digits(desk: AdminDesk) -> None:
    for typed in NO_WHOLE_NUMBER:
        page = await submit_form(desk.ada, "/admin/service/create", title="Massage", price="1", duration_minutes=typed)
        assert PageMessages(page.html).field_errors == {"duration_minutes": WHOLE}, typed
    page = await submit_form(desk.ada, "/admin/service/create", title="Massage", price="1", duration_minutes="1.000")
    assert PageMessages(page.html).field_errors == {"duration_minutes": GROUPS}


@pytest.mark.parametrize("name", ["limit", "price_min"])
async def test_an_address_has_numbers_of_plain_digits(visitor: httpx2.AsyncClient, name: str) -> None:
    for typed in ("1_0", "1e1", "+5", "\u0665", "\uff15", "1,0", " 5", "5 "):
        assert (await visitor.get("/services", params={name: typed})).status_code == 422, typed
    assert (await visitor.get("/services", params={name: "5"})).status_code == 200


async def test_json_has_numbers_and_no_texts_of_numbers(ada: Person) -> None:
    body = {"title": "Massage", "price": 12.5, "duration_minutes": 50}
    for name in ("price", "duration_minutes"):
        for text in ("12,50", "1_000", "12"):
            assert (await ada.request("POST", "/services", json=body | {name: text})).status_code == 422
    assert (await ada.request("POST", "/services", json=body)).json()["price"] == 12.5
