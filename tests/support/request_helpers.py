"""What every refusal must have: its status, a plain sentence, no internals, and an unchanged database."""

import json
import re
from typing import Any

import httpx2
from sqlalchemy import text

from bookit.db.pool import Database
from bookit.schema.tables import table_of
from tests.support.databases import list_tables
from tests.support.people import PASSWORD, Person

RefusalFacts = tuple[int, str, str | None]  # The status, the code, and the field.

JSON_HEADERS = {"content-type": "application/json"}
# A valid body for every route that takes one.
VALID_BODIES: dict[str, dict[str, Any]] = {
    "POST /auth/register": {"name": "New", "email": "new@example.com", "password": PASSWORD},
    "POST /auth/login": {"email": "ada@example.com", "password": PASSWORD},
    "POST /auth/refresh": {"refresh_token": "none"},
    "POST /auth/logout": {"refresh_token": "none"},
    "PATCH /me": {"name": "Ada", "email": "a@example.com", "password": PASSWORD, "current_password": PASSWORD},
    "POST /services": {"title": "Massage", "description": "", "price": 10, "duration_minutes": 60, "resource_ids": [1]},
    "PATCH /services/1": {"title": "Massage", "description": "", "price": 10, "duration_minutes": 60},
    "POST /bookings": {"service_id": 1, "start_time": "2030-01-08T10:00:00Z", "resource_id": 1},
    "PATCH /bookings/1": {"start_time": "2030-01-08T10:00:00Z", "resource_id": 1, "status": "confirmed"},
    "POST /reviews": {"booking_id": 1, "rating": 5, "comment": "Good."},
    "PATCH /reviews/1": {"rating": 5, "comment": "Good."},
}
TABLE_NAMES = [table_of(table).name for table in list_tables()]
COUNT_ROWS = text(" UNION ALL ".join(f"SELECT '{name}' AS name, count(*) FROM {name}" for name in TABLE_NAMES))
SENTENCE_PATTERN = re.compile(r"[^\n\\^]{8,}\.")
INTERNALS_PATTERN = re.compile(
    r"Traceback|psycopg|sqlalchemy|pydantic|starlette|\b(SELECT|INSERT|UPDATE|WHERE)\b|constraint|violat|pattern|codec"
    r"|Exception|Error\b|(?<!If-)None\b|<class|\b0x|site-packages|\.py\b|\b(New|Changed)[A-Z]\w+|Query\b|\bjwt|Decimal\("
)


def status_and_code(answer: httpx2.Response) -> tuple[int, str | None]:
    """Return the status of a response, and the code if it is a refusal."""
    is_problem = answer.headers.get("content-type") == "application/problem+json"
    return answer.status_code, answer.json()["code"] if is_problem else None


async def count_rows(database: Database) -> dict[str, int]:
    """Count the rows of every table; history counts every write. Sign-in attempts do not count."""
    return {row["name"]: row["count"] for row in await database.fetch(COUNT_ROWS) if row["name"] != "tries"}


async def request_refusal(
    database: Database, client: httpx2.AsyncClient, method: str, path: str, **more: Any
) -> RefusalFacts:
    """Send a request that will be refused; return its status, its code and its field."""
    before = await count_rows(database)

    answer = await client.request(method, path, **more)

    assert await count_rows(database) == before, answer.text
    return read_refusal(answer)


def read_refusal(answer: httpx2.Response) -> RefusalFacts:
    """Return the status, the code and the field of a refusal, and check that its sentence is plain."""
    assert answer.headers.get("content-type") == "application/problem+json", (answer.status_code, answer.text[:500])
    problem = answer.json()
    assert (problem["status"], problem["type"]) == (answer.status_code, f"/problems/{problem['code']}")
    assert SENTENCE_PATTERN.fullmatch(problem["detail"]), problem["detail"]
    assert not INTERNALS_PATTERN.search(answer.text), answer.text[:500]
    challenge = answer.headers.get("www-authenticate")
    assert (challenge is not None and challenge.split()[0] == "Bearer") == (answer.status_code == 401)
    return answer.status_code, problem["code"], problem.get("field")


async def request_with_field(database: Database, ada: Person, endpoint: str, field: str, value: str) -> RefusalFacts:
    """Send a valid body with one invalid value, in JSON notation."""
    content = json.dumps({**VALID_BODIES[endpoint], field: "HERE"}).replace('"HERE"', value)
    return await request_refusal(database, ada.client, *endpoint.split(), content=content, headers=JSON_HEADERS)
