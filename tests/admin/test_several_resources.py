"""The desk's pages of visits that take several resources: with Sofia in Room 1."""

import csv
import html
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from admin.bookings.form import label_fields
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Service
from tests.support.admin_client import AdminDesk, ParsedPage, get_page_text
from tests.support.claims import create_massage, insert_massage
from tests.support.clock import TOMORROW_AT_TEN, Clock
from tests.support.people import OWNER, Person

DAY = {"start": "2030-01-08T00:00:00", "end": "2030-01-09T00:00:00"}
PAUSE = text("UPDATE services SET free_from_minutes = 20, free_until_minutes = 40 WHERE id = :id")
MOVE = text("UPDATE bookings SET resource_id = 2, other_resource_ids = :others WHERE id = :id")
CHANGE_ROOM = text("UPDATE bookings SET other_resource_ids = :others WHERE id = :id")
SOFIA, MAREK, ROOM_1, ROOM_2 = 1, 2, 3, 4

# The form as it shows the visit, without the room.
FORM = {
    "version": "1",
    "resource": str(SOFIA),
    "start_time": "2030-01-08T11:00",
    "end_time": "2030-01-08T12:00",
    "end_seen": "2030-01-08T12:00",
    "seats": "1",
}


@pytest.fixture
async def massage(database: Database) -> Service:
    return await create_massage(database)


@pytest.fixture
async def visit(desk: AdminDesk, clock: Clock, massage: Service, tom: Person) -> Booking:
    """Book Tom a massage with Sofia in Room 1, tomorrow at 11:00 in Berlin."""
    return await insert_massage(desk.database, massage, tom.id, [SOFIA, ROOM_1])


async def feed(desk: AdminDesk, **more: Any) -> list[dict[str, Any]]:
    answer = await desk.mara.get("/admin/calendar/feed", params={**DAY, **more})
    visits: list[dict[str, Any]] = answer.json()["visits"]
    return visits


async def test_the_calendar_has_a_visit_in_each_column_that_it_takes(desk: AdminDesk, visit: Booking) -> None:
    [fed] = await feed(desk)

    span = {"start": "2030-01-08T11:00:00", "end": "2030-01-08T12:00:00"}
    assert (fed["resource"], fed["resource_ids"]) == ("Sofia and Room 1", [SOFIA, ROOM_1])
    assert fed["parts"] == [
        {**span, "resource_id": SOFIA, "position": 1, "role": "with", "name": "Sofia"},
        {**span, "resource_id": ROOM_1, "position": 2, "role": "in", "name": "Room 1"},
    ]


@pytest.mark.parametrize(("resource", "count"), [(SOFIA, 1), (ROOM_1, 1), (MAREK, 0), (ROOM_2, 0)])
async def test_the_calendar_of_a_resource_has_the_visits_that_take_it(
    desk: AdminDesk, visit: Booking, resource: int, count: int
) -> None:
    assert len(await feed(desk, resource=resource)) == count


async def test_the_calendar_shows_a_pause_as_free(desk: AdminDesk, massage: Service, tom: Person) -> None:
    async with desk.database.transaction(by=OWNER) as session:
        await session.fetch(PAUSE, id=massage.id)
    await insert_massage(desk.database, massage, tom.id, [SOFIA, ROOM_1], TOMORROW_AT_TEN + timedelta(hours=2))

    [fed] = await feed(desk)

    assert [(part["name"], part["start"][11:16], part["end"][11:16]) for part in fed["parts"]] == [
        ("Sofia", "13:00", "13:20"),
        ("Sofia", "13:40", "14:00"),
        ("Room 1", "13:00", "14:00"),
    ]


# Lists and pages.


async def test_the_list_names_all_resources_and_finds_a_visit_by_each(desk: AdminDesk, visit: Booking) -> None:
    listed = [
        get_page_text((await desk.mara.get("/admin/booking/list", params={"resource_id": resource})).text)
        for resource in (SOFIA, ROOM_1, MAREK, ROOM_2)
    ]

    assert ["Sofia and Room 1" in page for page in listed] == [True, True, False, False]


@pytest.mark.parametrize("path", ["list", "details/1"])
async def test_each_resource_is_a_link_of_its_own(desk: AdminDesk, visit: Booking, path: str) -> None:
    page = (await desk.mara.get(f"/admin/booking/{path}")).text

    link = '<a href="https://bookit.test/admin/resource/details/{}">{}</a>'
    assert f"{link.format(SOFIA, 'Sofia')} and {link.format(ROOM_1, 'Room 1')}" in page


async def test_the_pages_of_a_day_name_all_resources(desk: AdminDesk, visit: Booking) -> None:
    today = (await desk.mara.get("/admin/")).text
    page = (await desk.mara.get(f"/admin/booking/details/{visit.id}")).text
    bulk = (await desk.mara.get("/admin/booking/bulk", params={"of": ROOM_1, "first": "2030-01-08"})).text

    assert "Massage · Sofia and Room 1" in get_page_text(today)
    assert "Sofia and Room 1" in get_page_text(page)
    assert "Sofia and Room 1" in get_page_text(bulk)


async def test_an_export_has_the_other_resources_and_the_seats(desk: AdminDesk, visit: Booking) -> None:
    answer = await desk.ada.get("/admin/booking/export/csv", params={"start_time": "all"})

    [row] = csv.DictReader(answer.text.removeprefix("\ufeff").splitlines())
    assert (row["Resource"], row["Other resources"], row["Seats"]) == ("Sofia", "Room 1", "1")


async def test_history_names_all_resources_of_a_visit_that_moved(desk: AdminDesk, visit: Booking) -> None:
    async with desk.database.transaction(by=OWNER) as session:
        await session.fetch(MOVE, id=visit.id, others=[ROOM_2])

    page = get_page_text((await desk.mara.get(f"/admin/booking/details/{visit.id}")).text)

    assert "Resource: Sofia and Room 1 → Marek and Room 2" in page


async def test_history_names_the_room_alone_that_changed(desk: AdminDesk, visit: Booking) -> None:
    async with desk.database.transaction(by=OWNER) as session:
        await session.fetch(CHANGE_ROOM, id=visit.id, others=[ROOM_2])

    page = get_page_text((await desk.mara.get(f"/admin/booking/details/{visit.id}")).text)

    assert "Other resources: Room 1 → Room 2" in page


async def test_history_names_what_can_fill_a_need(desk: AdminDesk, massage: Service) -> None:
    listed = get_page_text((await desk.ada.get("/admin/event/list", params={"pageSize": 100})).text)
    async with desk.database.transaction(by=OWNER) as session:
        await session.fetch(text("DELETE FROM service_needs"))
    later = get_page_text((await desk.ada.get("/admin/event/list", params={"pageSize": 100})).text)

    assert "Need 1 (Room 1 or Room 2)" in listed
    assert "Need 1" in later
    assert "Need 1 (" not in later


async def test_the_data_of_a_customer_names_all_resources(desk: AdminDesk, visit: Booking, tom: Person) -> None:
    answer = await desk.ada.get(f"/admin/user/{tom.id}/data")

    document = answer.json()
    [created] = [event for event in document["history"] if event["what"] == f"booking {visit.id} created"]
    assert [(one["resource"], one["seats"]) for one in document["bookings"]] == [("Sofia and Room 1", 1)]
    assert (created["after"]["Resource"], created["after"]["Other resources"]) == ("Sofia", ["Room 1"])


# Changes.


async def taken(desk: AdminDesk, booking: Booking) -> list[int]:
    """Return the resources of a booking as they are now, in the order of their positions."""
    row = await desk.database.get(Booking, booking.id)
    assert row
    return [row.resource_id, *row.other_resource_ids]


async def test_dragging_in_one_column_changes_that_resource_alone(desk: AdminDesk, visit: Booking) -> None:
    sent = {"version": 1, "start": "2030-01-08T13:00:00", "resources": {"2": ROOM_2}}
    answer = await desk.mara.post(f"/admin/calendar/move/{visit.id}", json=sent)

    moved = answer.json()["visit"]
    assert (moved["resource"], moved["times"]) == ("Sofia and Room 2", "13:00 – 14:00")
    assert {part["start"] for part in moved["parts"]} == {"2030-01-08T13:00:00"}
    assert await taken(desk, visit) == [SOFIA, ROOM_2]


async def test_a_drag_to_the_column_of_another_role_is_refused(desk: AdminDesk, visit: Booking) -> None:
    sent = {"version": 1, "resources": {"2": SOFIA}}
    answer = await desk.mara.post(f"/admin/calendar/move/{visit.id}", json=sent)

    assert (answer.status_code, answer.json()["message"]) == (400, str(no.ResourceUnsuitable()))
    assert await taken(desk, visit) == [SOFIA, ROOM_1]


async def test_a_taken_room_is_refused_with_the_next_free_combination(
    desk: AdminDesk, visit: Booking, massage: Service, eve: Person
) -> None:
    later = TOMORROW_AT_TEN + timedelta(hours=1)
    await insert_massage(desk.database, massage, eve.id, [MAREK, ROOM_1], later)

    answer = await desk.mara.post(
        f"/admin/calendar/move/{visit.id}", json={"version": 1, "start": "2030-01-08T12:00:00"}
    )

    first = answer.json()["next_free"][0]
    assert answer.json()["message"] == no.SlotTaken.__doc__
    assert (first["start"], first["resource"]) == ("2030-01-08T13:00:00", "Sofia and Room 1")
    assert first["resources"] == {"1": SOFIA, "2": ROOM_1}


async def test_the_calendar_books_the_room_that_was_clicked(desk: AdminDesk, massage: Service, tom: Person) -> None:
    sent = {
        "service_id": massage.id,
        "user_id": tom.id,
        "start": "2030-01-08T11:00:00",
        "resources": {"2": ROOM_2},
        "seats": 1,
    }
    answer = await desk.mara.post("/admin/calendar/book", json=sent)

    assert answer.json()["visit"]["resource"] == "Sofia and Room 2"


async def test_the_form_has_each_resource_and_changes_one(desk: AdminDesk, visit: Booking) -> None:
    address = f"/admin/booking/edit/{visit.id}"
    form = ParsedPage((await desk.mara.get(address)).text)
    labels = get_page_text((await desk.mara.get(address)).text)

    answer = await desk.mara.post(address, data={**FORM, "second_resource": str(ROOM_2)})

    assert form.selects["second_resource"] == [str(ROOM_1)]
    assert "third_resource" not in form.selects
    assert "In which room" in labels
    assert answer.status_code == 302
    assert await taken(desk, visit) == [SOFIA, ROOM_2]


async def test_the_form_of_a_visit_with_one_resource_has_no_second(
    desk: AdminDesk, tom: Person, haircut: Service
) -> None:
    booking = await insert_massage(desk.database, haircut, tom.id, [1])

    assert "second_resource" not in (await desk.mara.get(f"/admin/booking/edit/{booking.id}")).text


async def test_a_refused_form_keeps_its_labels(desk: AdminDesk, visit: Booking) -> None:
    answer = await desk.mara.post(f"/admin/booking/edit/{visit.id}", data={**FORM, "second_resource": str(MAREK)})

    assert "In which room" in get_page_text(answer.text)
    assert ParsedPage(answer.text).selects["second_resource"] == [str(MAREK)]


def test_the_second_resource_in_a_role_has_its_number() -> None:
    labels = label_fields({1: "with", 2: "in", 3: "with", 4: "using", 5: "using"})

    assert [*labels.values()] == ["In which room", "With whom (2)", "Using what", "Using what (2)"]


async def test_a_form_that_was_not_touched_changes_nothing(desk: AdminDesk, visit: Booking) -> None:
    answer = await desk.mara.post(f"/admin/booking/edit/{visit.id}", data={**FORM, "second_resource": str(ROOM_1)})

    row = await desk.database.get(Booking, visit.id)
    assert answer.status_code == 302
    assert row == visit


async def test_a_new_booking_has_as_many_fields_as_a_service_needs(desk: AdminDesk, massage: Service) -> None:
    page = await desk.mara.get("/admin/booking/create")

    assert "Also needs (1)" in get_page_text(page.text)
    assert "Also needs (2)" not in get_page_text(page.text)
    assert f'{{"{massage.id}": {{"second_resource": "In which room"}}}}' in html.unescape(page.text)


async def test_each_resource_can_be_looked_up(desk: AdminDesk, massage: Service) -> None:
    for field in ("resource", "second_resource", "fifth_resource"):
        answer = await desk.mara.get("/admin/booking/ajax/lookup", params={"name": field, "term": "room 2"})
        assert [row["text"] for row in answer.json()["results"]] == ["Room 2"]


async def test_a_new_booking_takes_one_resource_where_no_service_needs_more(desk: AdminDesk, haircut: Service) -> None:
    page = await desk.mara.get("/admin/booking/create")

    assert "second_resource" not in page.text
    assert "Also needs" not in page.text


@pytest.mark.parametrize(("room", "names"), [(ROOM_2, "Sofia and Room 2"), ("", "Sofia and Room 1")])
async def test_a_new_booking_takes_the_chosen_room(
    desk: AdminDesk, massage: Service, tom: Person, room: int | str, names: str
) -> None:
    sent = {"user": str(tom.id), "service": str(massage.id), "start_time": "2030-01-08T11:00"}

    answer = await desk.mara.post("/admin/booking/create", data={**sent, "second_resource": str(room)})

    page = get_page_text((await desk.mara.get(answer.headers["location"])).text)
    assert f"Booked with {names}, Tue 08 Jan 11:00." in page


@pytest.mark.parametrize(("fields", "refusal"), [
    ({"second_resource": MAREK}, no.ResourceUnsuitable),
    ({"second_resource": 99}, no.UnknownResource),
    ({"third_resource": ROOM_2}, no.ResourceUnsuitable),
    ({"resource": SOFIA, "second_resource": SOFIA}, no.OneRoleEach),
])  # fmt: skip
async def test_a_new_booking_refuses_a_wrong_room(
    desk: AdminDesk, massage: Service, tom: Person, fields: dict[str, int], refusal: type[no.Refusal]
) -> None:
    sent = {"user": str(tom.id), "service": str(massage.id), "start_time": "2030-01-08T11:00"}

    answer = await desk.mara.post("/admin/booking/create", data=sent | {name: str(one) for name, one in fields.items()})

    assert str(refusal.__doc__).format(what="resource") in get_page_text(answer.text)
    assert await desk.database.fetch(text("SELECT FROM bookings")) == []


async def test_a_taken_room_suggests_the_next_time_with_it(
    desk: AdminDesk, visit: Booking, massage: Service, eve: Person
) -> None:
    sent = {"user": str(eve.id), "service": str(massage.id), "start_time": "2030-01-08T11:00"}

    answer = await desk.mara.post("/admin/booking/create", data={**sent, "second_resource": str(ROOM_1)})

    assert "Next free: Tue 08 Jan, 12:00" in get_page_text(answer.text)


async def test_a_new_booking_says_with_what_it_is(desk: AdminDesk, massage: Service, tom: Person) -> None:
    sent = {"user": str(tom.id), "service": str(massage.id), "start_time": "2030-01-08T11:00"}

    answer = await desk.mara.post("/admin/booking/create", data=sent)

    page = get_page_text((await desk.mara.get(answer.headers["location"])).text)
    assert "Booked with Sofia and Room 1, Tue 08 Jan 11:00." in page
