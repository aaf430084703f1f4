"""Names that BookIt does not know, ranges that end before they start, and null: each has one answer everywhere."""

import re
from typing import Any

import pytest

from api.endpoint import Endpoint
from api.openapi import build_document
from api.routes import ENDPOINTS
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Service
from tests.support.people import Person
from tests.support.request_helpers import VALID_BODIES, read_refusal, request_refusal, request_with_field

NOON = "2030-01-08T12:00:00Z"
# What an endpoint needs to be answered at all.
REQUIRED_QUERY = {"/services/{id}/availability/explain": f"start_time={NOON}"}


def address_of(endpoint: Endpoint, query: str) -> str:
    """Return the address of an endpoint with this query and what it requires."""
    parts = [REQUIRED_QUERY[endpoint.path]] if endpoint.path in REQUIRED_QUERY else []
    return endpoint.path.replace("{id}", "1").replace("{sign_in_id}", "1") + "?" + "&".join([*parts, query])


def body_for(endpoint: Endpoint) -> Any:
    return VALID_BODIES.get(f"{endpoint.method} {endpoint.path.replace('{id}', '1')}")


async def test_an_unknown_parameter_is_refused_with_the_known_ones(
    ada: Person, visit: Booking, database: Database
) -> None:
    for endpoint in ENDPOINTS:
        address = address_of(endpoint, "colour=red")

        answer = await ada.request(endpoint.method, address, json=body_for(endpoint))

        assert (address, read_refusal(answer)) == (address, (422, "wrong-shape", "colour"))
        names = ", ".join(endpoint.query_model.model_fields)
        advice = f"Use {names}." if names else "This address takes none."
        assert answer.json()["errors"] == [{"loc": ["query", "colour"], "msg": f"There is no such parameter. {advice}"}]


@pytest.mark.parametrize("name", ["x", "utm", "utmsource", "UTM_source", "__", "_t", "utm-source", "utm_ü", ""])
async def test_only_the_known_noise_is_let_through(name: str, ada: Person, database: Database) -> None:
    answers = [
        await request_refusal(database, ada.client, "GET", path, params={name: "1"}) for path in ("/me", "/services")
    ]

    assert answers == [(422, "wrong-shape", name)] * 2


async def test_noise_that_browsers_and_links_add_is_ignored(ada: Person, haircut: Service) -> None:
    noise = "_=1700000000&utm_source=mail&utm_campaign=spring&utm_&_=2"
    reads = [
        endpoint for endpoint in ENDPOINTS if endpoint.method == "GET" and not endpoint.path.startswith("/reviews")
    ]
    await ada.request("POST", "/bookings", json={"service_id": haircut.id, "start_time": NOON})

    answers = {endpoint.path: await ada.request("GET", address_of(endpoint, noise)) for endpoint in reads}

    assert {path: answer.status_code for path, answer in answers.items()} == dict.fromkeys(answers, 200)


async def test_a_page_keeps_its_filters_beside_noise(ada: Person, haircut: Service) -> None:
    for hour in (10, 11):
        await ada.request("POST", "/bookings", json={"service_id": 1, "start_time": f"2030-01-08T{hour}:00:00Z"})

    first = await ada.request("GET", "/bookings?limit=1&_=5&status=pending")
    link = re.search("<(.*)>", first.headers["link"])
    second = await ada.request("GET", link[1] if link else "")

    assert [len(first.json()), len(second.json()), "link" in second.headers] == [1, 1, False]


async def test_an_unknown_field_is_refused_with_the_known_ones(ada: Person) -> None:
    answer = await ada.request("POST", "/auth/refresh", json={"refresh_token": "x", "token": "y"})

    assert read_refusal(answer) == (422, "wrong-shape", "token")
    assert answer.json()["detail"] == "token: There is no such field. Use refresh_token."


RANGES = {
    "/bookings": ("from_date", "to_date"),
    "/services/1/availability": ("from_date", "to_date"),
    "/reports/revenue": ("from_date", "to_date"),
    "/reports/utilisation": ("from_date", "to_date"),
    "/reports/no-shows": ("from_date", "to_date"),
    "/reports/repeat-customers": ("from_date", "to_date"),
    "/services": ("price_min", "price_max"),
}


def test_every_range_is_tested() -> None:
    ends = {"to_date", "price_max"}
    with_range = {
        endpoint.path.replace("{id}", "1") for endpoint in ENDPOINTS if ends & set(endpoint.query_model.model_fields)
    }

    assert with_range == RANGES.keys()


async def test_a_reversed_range_is_refused_alike(ada: Person, haircut: Service, database: Database) -> None:
    days, amounts = ("2030-02-02", "2030-02-01"), ("20", "10")
    answers = {}
    for path, (start, end) in RANGES.items():
        values = amounts if path == "/services" else days
        query = f"{start}={values[0]}&{end}={values[1]}"
        answers[path] = await request_refusal(database, ada.client, "GET", f"{path}?{query}")

    assert answers == {path: (400, "range-reversed", end) for path, (_, end) in RANGES.items()}


@pytest.mark.parametrize("path", ["/bookings", "/services/1/availability"])
async def test_a_range_of_times_ends_after_it_starts(
    path: str, mara: Person, haircut: Service, database: Database
) -> None:
    queries = [f"from_date={NOON}&to_date=2030-01-08T11:59:59Z", f"from_date={NOON}&to_date={NOON}"]

    refused = [await request_refusal(database, mara.client, "GET", f"{path}?{query}") for query in queries]
    one_day = await mara.request("GET", f"{path}?from_date=2030-01-08&to_date=2030-01-08")

    assert (refused, one_day.status_code) == ([(400, "range-reversed", "to_date")] * 2, 200)


async def test_one_amount_is_a_range(mara: Person, haircut: Service) -> None:
    answer = await mara.request("GET", "/services?price_min=35&price_max=35")

    assert [service["title"] for service in answer.json()] == ["Haircut"]


# What null means in a PATCH: these columns may be empty, and the others have no such value.
NULLABLE = {
    *(("/me", name) for name in ("phone", "birthday", "language")),
    ("/bookings/1", "visitor_name"),
    ("/services/1", "slot_step_minutes"),
    ("/services/1", "horizon_days"),
    ("/services/1", "free_from_minutes"),
    ("/services/1", "free_until_minutes"),
    ("/bookings/1", "override_reason"),
}
FIELDS_OF_CHANGES = [
    (endpoint.path.replace("{id}", "1"), name)
    for endpoint in ENDPOINTS
    if endpoint.method == "PATCH" and endpoint.body
    for name in endpoint.body.field_names
]


async def test_null_is_refused_where_there_is_no_such_value(ada: Person, visit: Booking, database: Database) -> None:
    fields = [field for field in FIELDS_OF_CHANGES if field not in NULLABLE]

    answers = {
        (path, name): await request_refusal(database, ada.client, "PATCH", path, json={name: None})
        for path, name in fields
    }

    assert answers == {(path, name): (422, "wrong-shape", name) for path, name in fields}


async def test_null_sets_a_column_to_nothing(ada: Person, haircut: Service) -> None:
    await ada.request("PATCH", "/services/1", json={"slot_step_minutes": 15, "horizon_days": 30})

    kept = await ada.request("PATCH", "/services/1", json={"price": 36})
    emptied = await ada.request("PATCH", "/services/1", json={"slot_step_minutes": None, "horizon_days": None})

    names = ("slot_step_minutes", "horizon_days")
    assert [[answer.json()[name] for name in names] for answer in (kept, emptied)] == [[15, 30], [None, None]]


async def test_no_reason_is_no_reason(mara: Person, visit: Booking) -> None:
    answer = await mara.request("PATCH", "/bookings/1", json={"status": "confirmed", "override_reason": None})

    assert (answer.status_code, answer.json()["status"]) == (200, "confirmed")


def test_the_document_says_which_fields_can_be_null() -> None:
    components = build_document(ENDPOINTS)["components"]["schemas"]
    changes = {"/me": "User", "/services/1": "Service", "/bookings/1": "Booking", "/reviews/1": "Review"}
    properties = {
        (path, name): schema
        for path, table in changes.items()
        for name, schema in components[f"Changed{table}"]["properties"].items()
    }

    assert set(properties) == set(FIELDS_OF_CHANGES)
    assert {field for field, schema in properties.items() if {"type": "null"} in schema.get("anyOf", [])} == NULLABLE
    assert [field for field, schema in properties.items() if "default" in schema] == []


async def test_a_patch_may_be_called_a_merge_patch(tom: Person, ada: Person, haircut: Service) -> None:
    headers = {"Content-Type": "application/merge-patch+json; charset=utf-8"}

    changed = await tom.request("PATCH", "/me", content=b'{"name": "Thomas"}', headers=headers)
    created = await ada.request("POST", "/services", content=b"{}", headers=headers)

    assert (changed.status_code, changed.json()["name"]) == (200, "Thomas")
    assert read_refusal(created) == (415, "not-json", None)


@pytest.mark.parametrize(
    ("endpoint", "field", "value", "message"),
    [
        ("PATCH /bookings/1", "hold", "true", "Choose false."),
        ("POST /bookings", "hold", '"false"', "Enter true or false."),
        ("PATCH /bookings/1", "status", '"open"', "Choose pending, confirmed, completed, cancelled or no_show."),
        ("POST /services", "resource_ids", "5", "Send a list."),
        ("POST /services", "duration_minutes", "1.5", "Enter a whole number."),
        ("POST /services", "title", "null", "This cannot be null."),
        ("PATCH /services/1", "title", "null", "This cannot be null. Leave it out to keep its value."),
        ("POST /reviews", "rating", "9", "This must be at most 5."),
        ("POST /auth/register", "name", '""', "Enter some text."),
    ],
)
async def test_a_message_has_no_python_in_it(
    endpoint: str, field: str, value: str, message: str, ada: Person, database: Database
) -> None:
    await request_with_field(database, ada, endpoint, field, value)
    method, path = endpoint.split()
    content = f'{{"{field}": {value}}}'

    answer = await ada.request(method, path, content=content, headers={"Content-Type": "application/json"})

    assert message in [error["msg"] for error in answer.json()["errors"]]
