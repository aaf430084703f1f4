"""The forms of the admin panel: what each field offers, and how its value is stored."""

import json
import re
from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import text

from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Service
from tests.support.admin_client import AdminDesk, ParsedPage, get_page_text, post_form, submit_form
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.people import OWNER, JoinUser, Person
from tests.support.request_helpers import status_and_code

# In Berlin the clocks skip from 2 to 3 on 31 March 2030; 2:30 occurs twice on 27 October.
GAP, FOLD = "2030-03-31T02:30", "2030-10-27T02:30"
FIRST, SECOND = datetime(2030, 10, 27, 0, 30, tzinfo=UTC), datetime(2030, 10, 27, 1, 30, tzinfo=UTC)


def find_tag(html: str, name: str) -> str:
    """Return the tag of a field."""
    tag = re.search(rf'<(?:input|select|textarea)[^>]* name="{name}"[^>]*>', html)
    assert tag, name
    return tag[0]


def read_required(html: str) -> dict[str, bool]:
    """Return for each label of a form whether it is marked as required."""
    labels = re.findall(r'<label class="([^"]*col-form-label[^"]*)"[^>]*>([^<]*)<', html)
    return {words: "required-label" in classes for classes, words in labels}


PERSON = {
    "Name": True,
    "Phone": False,
    "E-mail": False,
    "Role": True,
    "Works as": False,
    "Birthday": False,
    "Language": False,
}
ASKED = {"For": False, "Seats": False, "Override reason": False}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("booking/create", {"Customer": True, "Service": True, "Resource": False, "Start": True, **ASKED}),
        ("booking/edit/1", {"Resource": True, "Start": True, "End": True, **ASKED}),
        (
            "calendar-exception/create",
            {"Resource": False, "From": True, "Until": True, "Open": False, "Reason": False},
        ),
        ("user/create", {**PERSON, "Password": False}),
        (
            "user/edit/1",
            {**PERSON, "Active": False, "Password": False, "Your current password": False},
        ),
        ("resource/create", {"Name": True, "Seats": True, "Time zone": True, "Active": False}),
        (
            "opening-hours/create",
            {"Resource": True, "Weekday": True, "Opens": True, "Closes": True, "From": False, "Until": False},
        ),
    ],
)
async def test_required_fields_are_marked(
    desk: AdminDesk, visit: Booking, path: str, expected: dict[str, bool]
) -> None:
    assert read_required((await desk.ada.get(f"/admin/{path}")).text) == expected


@pytest.fixture
async def visit(database: Database, tom: Person, haircut: Service) -> Booking:
    """Create a haircut of Tom's tomorrow at ten."""
    return await book(database, tom, TOMORROW_AT_TEN)


async def book(database: Database, who: Person, start: datetime) -> Booking:
    facts: dict[str, Any] = {"user_id": who.id, "service_id": 1, "start_time": start}
    async with database.transaction(by=OWNER) as session:
        return await records.create(session, Booking, by=OWNER, now=NOW, **facts)


@pytest.mark.parametrize(
    ("identity", "name", "expected"),
    [
        ("service", "price", ['type="text"', 'inputmode="decimal"', "required"]),
        ("service", "duration_minutes", ['type="number"', 'min="1"', 'max="86400"', 'step="1"', "required"]),
        ("service", "horizon_days", ['type="number"', 'min="1"', 'max="3660"']),
        ("service", "description", ["<textarea", 'maxlength="1000"']),
        ("service", "title", ['type="text"', 'maxlength="200"', "required"]),
        ("user", "email", ['type="email"', 'maxlength="255"']),
        ("user", "phone", ['type="tel"', 'maxlength="40"']),
        ("user", "birthday", ['type="date"']),
        ("user", "password", ['type="password"', 'autocomplete="new-password"']),
        ("opening-hours", "opens", ['type="time"', "required"]),
        ("opening-hours", "valid_from", ['type="date"']),
        ("opening-hours", "weekday", ["<select"]),
        ("resource", "timezone", ['list="timezone-known"', 'value="Europe/Berlin"']),
        ("booking", "start_time", ['type="datetime-local"', "required"]),
    ],
)
async def test_input_types_match_the_columns(desk: AdminDesk, identity: str, name: str, expected: list[str]) -> None:
    field = find_tag((await desk.ada.get(f"/admin/{identity}/create")).text, name)

    assert [part for part in expected if part not in field] == [], field


async def test_an_optional_field_is_not_required(desk: AdminDesk) -> None:
    page = (await desk.ada.get("/admin/service/create")).text

    for name in ("description", "slot_step_minutes", "horizon_days", "is_active"):
        assert "required" not in find_tag(page, name)


async def test_time_zones_are_offered(desk: AdminDesk) -> None:
    page = (await desk.ada.get("/admin/resource/create")).text

    for name in ("Europe/Berlin", "America/New_York", "UTC"):
        assert f'<option value="{name}">' in page
    refusal = await post_form(
        desk.ada, "/admin/resource/create", {"name": "Lea", "capacity": "1", "timezone": "Berlin"}
    )
    assert refusal.is_refused
    assert 'id="timezone-error"' in refusal.html


async def test_unchanged_fields_are_not_changed(desk: AdminDesk, database: Database, haircut: Service) -> None:
    """A browser ends lines with two characters; an unchanged text is still no change."""
    await submit_form(desk.ada, "/admin/service/edit/1", description="One\nTwo")

    answer = await submit_form(desk.ada, "/admin/service/edit/1", description="One\r\nTwo")

    row = await desk.fetch_row("services", 1)
    assert answer.status == 302
    assert row is not None
    assert (row["description"], row["version"]) == ("One\nTwo", 2)


async def test_weekdays_have_names(desk: AdminDesk, haircut: Service) -> None:
    fields = {"resource": "1", "weekday": "3", "opens": "09:00", "closes": "17:00"}
    made = await post_form(desk.ada, "/admin/opening-hours/create", fields)
    assert made.status == 302, made.text

    form = (await desk.ada.get("/admin/opening-hours/edit/1")).text
    assert ParsedPage(form).selects["weekday"] == [str(number) for number in range(1, 8)]
    assert ParsedPage(form).fields["weekday"] == "3"
    days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    assert re.findall(r">(\w+day)</option>", form) == days
    for page in ("list", "details/1"):
        assert "Wednesday" in get_page_text((await desk.ada.get(f"/admin/opening-hours/{page}")).text), page
    row = await desk.fetch_row("opening_hours", 1)
    assert row is not None
    assert row["weekday"] == 3
    wrong = await post_form(desk.ada, "/admin/opening-hours/create", {**fields, "weekday": "8"})
    assert wrong.is_refused


async def test_enum_values_are_labelled_as_in_forms(desk: AdminDesk, tom: Person) -> None:
    assert "Customer" in get_page_text((await desk.ada.get("/admin/user/list")).text).split()
    assert "Role Customer" in get_page_text((await desk.ada.get(f"/admin/user/details/{tom.id}")).text)
    history = get_page_text((await desk.ada.get("/admin/event/list")).text)
    assert f"created Person {tom.id}" in history
    assert "users" not in history


# Look-ups


async def look_up(desk: AdminDesk, identity: str, name: str, term: str) -> list[str]:
    answer = await desk.ada.get(f"/admin/{identity}/ajax/lookup", params={"name": name, "term": term})
    assert answer.status_code == 200, answer.text
    return [choice["text"] for choice in json.loads(answer.text)["results"]]


async def test_look_ups_distinguish_namesakes(
    desk: AdminDesk, join: JoinUser, database: Database, shared: Service
) -> None:
    await join("Tom")
    async with database.transaction(by=OWNER) as session:
        await session.fetch(
            text("INSERT INTO users (name, email, password_hash) VALUES ('Tom', 'thomas@work.example', 'x')")
        )
        await session.fetch(text("UPDATE resources SET is_active = false WHERE name = 'Max'"))

    assert sorted(await look_up(desk, "booking", "user", "tom")) == [
        "Tom · thomas@work.example",
        "Tom · tom@example.com",
    ]
    assert await look_up(desk, "booking", "user", "@work") == ["Tom · thomas@work.example"]
    assert await look_up(desk, "booking", "service", "col") == ["Colour · 30 min"]
    assert await look_up(desk, "booking", "resource", "") == ["Lea", "Max · inactive"]
    assert await look_up(desk, "service", "resources", "le") == ["Lea"]


async def test_an_empty_look_up_does_not_list_all_users(desk: AdminDesk) -> None:
    assert await look_up(desk, "booking", "user", "") == []
    assert await look_up(desk, "booking", "user", "%") == []


async def test_the_chosen_row_is_shown_with_its_full_label(desk: AdminDesk, visit: Booking, eve: Person) -> None:
    edit = (await desk.mara.get("/admin/booking/edit/1")).text
    assert '<option value="1" selected>Haircut</option>' in edit

    fields = {"user": eve.id, "service": 1, "start_time": GAP}
    again = await post_form(desk.mara, "/admin/booking/create", fields)

    assert f'<option value="{eve.id}" selected>Eve · eve@example.com</option>' in again.html
    assert '<option value="1" selected>Haircut · 45 min</option>' in again.html


async def test_html_in_a_look_up_is_escaped(desk: AdminDesk, visit: Booking, tom: Person) -> None:
    await submit_form(desk.ada, f"/admin/user/edit/{tom.id}", name="<b>&quot;Tom")

    again = await post_form(desk.ada, "/admin/booking/create", {"user": tom.id})

    assert "&lt;b&gt;&amp;quot;Tom · tom@example.com</option>" in again.html


@pytest.mark.parametrize("without", ["user", "service"])
async def test_a_booking_requires_customer_and_service(
    desk: AdminDesk, tom: Person, haircut: Service, without: str
) -> None:
    fields: dict[str, Any] = {"user": tom.id, "service": 1, "start_time": "2030-01-08T11:00"}
    del fields[without]

    answer = await post_form(desk.mara, "/admin/booking/create", fields)

    assert answer.is_refused
    assert f'id="{without}-error">Choose one.<' in answer.html


# The resources of a service


async def fetch_resources(desk: AdminDesk, service: int = 1) -> list[int]:
    statement = text("SELECT resource_id FROM service_resources WHERE service_id = :service ORDER BY 1")
    return [row["resource_id"] for row in await desk.database.fetch(statement, service=service)]


async def fetch_version(desk: AdminDesk, service: int = 1) -> int:
    row = await desk.fetch_row("services", service)
    assert row is not None
    return int(row["version"])


async def test_the_resources_of_a_service_are_chosen_on_its_form(desk: AdminDesk, shared: Service) -> None:
    form = await desk.ada.get("/admin/service/edit/1")
    assert re.findall(r'<option value="(\d)" selected>(\w+)</option>', form.text) == [("1", "Lea"), ("2", "Max")]
    assert "Leave empty to create a resource for this service alone." in get_page_text(form.text)

    answer = await submit_form(desk.ada, "/admin/service/edit/1", resources="2")

    assert answer.status == 302, answer.text
    assert (await fetch_resources(desk), await fetch_version(desk)) == ([2], 2)


async def test_unchanged_resources_leave_the_service_unchanged(desk: AdminDesk, shared: Service) -> None:
    opened = ParsedPage((await desk.ada.get("/admin/service/edit/1")).text).fields

    answer = await desk.ada.post("/admin/service/edit/1", data={**opened, "resources": ["2", "1"]})

    assert answer.status_code == 302
    assert (await fetch_resources(desk), await fetch_version(desk)) == ([1, 2], 1)


async def test_concurrent_choices_of_resources_conflict(desk: AdminDesk, shared: Service) -> None:
    opened = ParsedPage((await desk.ada.get("/admin/service/edit/1")).text).fields
    await submit_form(desk.ada, "/admin/service/edit/1", resources="2")

    late = await post_form(desk.ada, "/admin/service/edit/1", {**opened, "resources": "1"})

    assert late.is_refused
    assert "Someone changed this while you were editing." in late.text
    assert await fetch_resources(desk) == [2]


async def test_a_new_service_gets_the_chosen_resources_or_its_own(desk: AdminDesk, shared: Service) -> None:
    fields = {"price": "10", "duration_minutes": "15"}
    answers = [
        await submit_form(desk.ada, "/admin/service/create", title="Wash", resources="1", **fields),
        await submit_form(desk.ada, "/admin/service/create", title="Dry", **fields),
    ]

    assert [answer.status for answer in answers] == [302, 302], answers
    own = await desk.fetch_row("resources", 3)
    assert own is not None
    assert (await fetch_resources(desk, 2), await fetch_resources(desk, 3), own["name"]) == ([1], [3], "Dry")


async def test_removing_all_resources_creates_its_own(desk: AdminDesk, shared: Service) -> None:
    for _ in range(2):
        answer = await submit_form(desk.ada, "/admin/service/edit/1", resources="")
        assert answer.status == 302, answer.text

    own = await desk.fetch_row("resources", 3)
    assert own is not None
    assert (own["name"], await fetch_resources(desk), await fetch_version(desk)) == ("Colour", [3], 2)


@pytest.mark.parametrize("unknown", ["99", "abc", "9" * 40, "1\0"], ids=["99", "abc", "large", "nul"])
async def test_an_unknown_resource_is_refused_on_its_field(desk: AdminDesk, shared: Service, unknown: str) -> None:
    answer = await submit_form(desk.ada, "/admin/service/edit/1", resources=unknown)

    assert (answer.status, await fetch_resources(desk)) == (404, [1, 2])
    assert 'id="resources-error">There is no such resource.<' in answer.html


async def test_details_show_the_related_rows(desk: AdminDesk, shared: Service) -> None:
    with desk.record_statements() as statements:
        service = await desk.mara.get("/admin/service/details/1")
    resource = await desk.mara.get("/admin/resource/details/2")

    assert "Served by Lea Max" in get_page_text(service.text)
    assert "/admin/resource/details/2" in service.text
    assert "Serves Colour" in get_page_text(resource.text)
    assert "/admin/service/details/1" in resource.text
    assert len(statements) <= 6


async def test_a_change_of_resources_in_the_api_adds_a_version(ada: Person, shared: Service) -> None:
    seen = {"If-Match": '"1"'}
    first = await ada.request("PATCH", "/services/1", json={"resource_ids": [2]}, headers=seen)
    late = await ada.request("PATCH", "/services/1", json={"resource_ids": [1]}, headers=seen)
    same = await ada.request("PATCH", "/services/1", json={"resource_ids": [2]})

    assert (first.status_code, first.json()["version"]) == (200, 2)
    assert status_and_code(late) == (412, "stale")
    assert same.json()["version"] == 2


async def test_a_service_without_resources_in_the_api_gets_its_own(
    ada: Person, shared: Service, database: Database
) -> None:
    answer = await ada.request("PATCH", "/services/1", json={"resource_ids": []})

    rows = await database.fetch(
        text("SELECT r.name FROM resources r JOIN service_resources s ON s.resource_id = r.id WHERE s.service_id = 1")
    )
    assert (answer.status_code, [row["name"] for row in rows]) == (200, ["Colour"])


# When the clocks change


async def test_a_skipped_time_is_refused_on_its_field(desk: AdminDesk, tom: Person, haircut: Service) -> None:
    answer = await post_form(desk.mara, "/admin/booking/create", {"user": tom.id, "service": 1, "start_time": GAP})

    assert answer.is_refused
    assert re.search(r'id="start_time-error">[^<]*2030-03-31 02:30[^<]*Europe/Berlin', answer.html), answer.text
    assert await desk.fetch_row("bookings", 1) is None


async def test_a_repeated_time_is_the_first_and_labelled(desk: AdminDesk, tom: Person, haircut: Service) -> None:
    made = await post_form(desk.mara, "/admin/booking/create", {"user": tom.id, "service": 1, "start_time": FOLD})

    assert made.status == 302, made.text
    row = await desk.fetch_row("bookings", 1)
    assert row is not None
    assert row["start_time"] == FIRST
    for page in ("list?start_time=all", "details/1"):
        text_shown = get_page_text((await desk.mara.get(f"/admin/booking/{page}")).text)
        assert "Sun 27 Oct 2030, 02:30 CEST" in text_shown, page


async def test_an_unchanged_repeated_time_stays_the_second(
    desk: AdminDesk, database: Database, tom: Person, shared: Service
) -> None:
    """The form shows both alike; saved unchanged, the visit does not move by an hour."""
    await book(database, tom, SECOND)
    assert "Sun 27 Oct 2030, 02:30 CET" in get_page_text((await desk.mara.get("/admin/booking/details/1")).text)

    answer = await submit_form(desk.mara, "/admin/booking/edit/1", resource="2")

    row = await desk.fetch_row("bookings", 1)
    assert answer.status == 302, answer.text
    assert row is not None
    assert (row["start_time"], row["resource_id"]) == (SECOND, 2)


async def test_a_date_is_stored_as_chosen(desk: AdminDesk, haircut: Service) -> None:
    fields = {"resource": "1", "weekday": "1", "opens": "22:00", "closes": "02:00", "valid_from": "2030-10-27"}

    made = await post_form(desk.ada, "/admin/opening-hours/create", fields)

    row = await desk.fetch_row("opening_hours", 1)
    assert made.status == 302, made.text
    assert row is not None
    assert (row["valid_from"], row["valid_until"]) == (date(2030, 10, 27), None)
