"""Conditional requests, on every address whose answers have an ETag."""

from typing import Any

import anyio
import httpx2
import pytest

from api.routes import ENDPOINTS
from bookit.db.pool import Database
from bookit.schema.tables import Service
from tests.support.people import Person
from tests.support.request_helpers import read_refusal, request_refusal, status_and_code

VISITED = "2030-01-08T10:00:00Z"
CHANGES: dict[str, dict[str, Any]] = {
    "/me": {"name": "Ada Two"},
    "/services/1": {"price": 36},
    "/bookings/1": {"status": "confirmed"},
    "/reviews/1": {"rating": 4},
}
READS = [*CHANGES, "/services/1/availability?from_date=2030-01-08&to_date=2030-01-08"]
PAGES = ["/docs", "/redoc", "/static/icon.svg"]


@pytest.fixture
async def rows(ada: Person, haircut: Service, database: Database) -> None:
    """Create a row of each kind that has a version: Ada's booking and her review of it."""
    await ada.request("POST", "/bookings", json={"service_id": haircut.id, "start_time": VISITED})
    await ada.request("PATCH", "/bookings/1", json={"status": "completed"})
    await ada.request("POST", "/reviews", json={"booking_id": 1, "rating": 5, "comment": "Good."})


async def test_every_address_with_an_etag_is_tested(rows: None, ada: Person) -> None:
    paths = {endpoint.path.replace("{id}", "1") for endpoint in ENDPOINTS if endpoint.method == "GET"}
    explain = "/services/1/availability/explain"
    queries = {explain: f"?start_time={VISITED}"}

    answers = {path: await ada.request("GET", path + queries.get(path, "")) for path in sorted(paths)}

    assert {answer.status_code for answer in answers.values()} == {200}
    assert {path for path, answer in answers.items() if "etag" in answer.headers} == {
        path.partition("?")[0] for path in READS
    }


async def test_a_read_is_answered_with_304_while_nothing_has_changed(rows: None, ada: Person) -> None:
    for path in READS + PAGES:
        first = await ada.request("GET", path)
        etag = first.headers["etag"]
        weak = "W/" + etag.removeprefix("W/")
        for known in (etag, weak, "*", f'"other", {etag}', f'W/"x",{weak} , "y"'):
            for method in ("GET", "HEAD"):
                answer = await ada.request(method, path, headers={"If-None-Match": known})

                assert (path, known, answer.status_code, answer.content) == (path, known, 304, b"")
                assert (answer.headers["etag"], "content-type" in answer.headers) == (etag, False)
        again = await ada.request("GET", path, headers={"If-None-Match": '"other", W/"another"'})

        assert (path, again.status_code, again.content) == (path, 200, first.content)


async def test_a_read_of_another_version_is_refused(rows: None, ada: Person) -> None:
    for path in CHANGES:
        etag = (await ada.request("GET", path)).headers["etag"]
        answers = [
            await ada.request("GET", path, headers={"If-Match": tags})
            for tags in (etag, "*", f'"x", {etag}', f"W/{etag}", '"999"', '"abc"')
        ]

        assert (path, [status_and_code(answer)[0] for answer in answers]) == (path, [200, 200, 200, 412, 412, 412])
        assert read_refusal(answers[-1]) == (412, "stale", None)


@pytest.mark.parametrize("path", CHANGES)
async def test_a_change_of_another_version_is_refused(path: str, rows: None, ada: Person, database: Database) -> None:
    etag = (await ada.request("GET", path)).headers["etag"]
    stale = {"If-Match": '"999"'}, {"If-Match": f"W/{etag}"}, {"If-Match": 'W/"1", "999", "abc"'}
    known = {"If-None-Match": etag}, {"If-None-Match": f"W/{etag}"}, {"If-None-Match": "*"}

    refused = [
        await request_refusal(database, ada.client, "PATCH", path, json=CHANGES[path], headers=headers)
        for headers in (*stale, *known)
    ]
    taken = await ada.request(
        "PATCH", path, json=CHANGES[path], headers={"If-Match": f'"999", {etag}', "If-None-Match": '"999"'}
    )

    assert refused == [(412, "stale", None)] * 3 + [(412, "unchanged", None)] * 3
    assert (taken.status_code, taken.headers["etag"]) == (200, f'"{int(etag.strip(chr(34))) + 1}"')


async def test_deleting_obeys_the_same_conditions(rows: None, ada: Person, database: Database) -> None:
    etag = (await ada.request("GET", "/reviews/1")).headers["etag"]

    refused = [
        await request_refusal(database, ada.client, "DELETE", "/reviews/1", headers=headers)
        for headers in ({"If-Match": f"W/{etag}"}, {"If-None-Match": etag})
    ]
    deleted = await ada.request("DELETE", "/reviews/1", headers={"If-Match": etag})

    assert refused == [(412, "stale", None), (412, "unchanged", None)]
    assert deleted.status_code == 204


async def test_two_lines_of_a_header_are_one_list(ada: Person) -> None:
    lines = [("If-Match", '"7"'), ("If-Match", '"1"')]

    answer = await ada.request("PATCH", "/me", json={"name": "Ada Two"}, headers=lines)

    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
async def test_what_is_no_etag_is_refused_by_every_endpoint(
    name: str, rows: None, ada: Person, database: Database
) -> None:
    reads = [await request_refusal(database, ada.client, "GET", path, headers={name: "3"}) for path in READS]
    writes = [
        await request_refusal(database, ada.client, "PATCH", path, json=CHANGES[path], headers={name: '"3" "4"'})
        for path in CHANGES
    ]

    assert reads + writes == [(422, "wrong-shape", name)] * (len(READS) + len(CHANGES))


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
async def test_a_request_that_creates_takes_no_condition(
    name: str, ada: Person, haircut: Service, database: Database
) -> None:
    body = {"service_id": haircut.id, "start_time": VISITED}

    for tags in ('"1"', "*"):
        answer = await request_refusal(database, ada.client, "POST", "/bookings", json=body, headers={name: tags})

        assert answer == (422, "wrong-shape", name)


async def test_an_invalid_condition_on_a_page_is_ignored(visitor: httpx2.AsyncClient) -> None:
    answer = await visitor.get("/docs", headers={"If-None-Match": "no etag"})

    assert answer.status_code == 200


async def test_a_stranger_does_not_learn_whether_a_version_is_right(
    rows: None, eve: Person, database: Database
) -> None:
    for path in ("/bookings/1", "/reviews/1"):
        for tags in ('"1"', '"999"'):
            answers = [
                await request_refusal(
                    database, eve.client, "PATCH", path, json=CHANGES[path], headers={"If-Match": tags}
                ),
                await request_refusal(database, eve.client, "DELETE", path, headers={"If-Match": tags}),
            ]

            code = "not-your-booking" if path == "/bookings/1" else "not-your-review"
            assert (path, tags, answers) == (path, tags, [(403, code, None)] * 2)


async def test_an_invalid_condition_is_not_answered_to_others(visitor: httpx2.AsyncClient, haircut: Service) -> None:
    statuses: dict[int, int] = {}

    async def read(number: int) -> None:
        headers = {"If-None-Match": "no etag"} if number % 2 else {}
        statuses[number] = (await visitor.get("/services", headers=headers)).status_code

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(read, number)

    assert statuses == {number: 422 if number % 2 else 200 for number in range(20)}
