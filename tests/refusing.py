"""What every refusal owes: its status, a plain sentence, nothing of what is inside, and a database left as it was."""

import re
from typing import Any

import httpx2
from sqlalchemy import text

from bookit.database import Database
from bookit.tables import home
from tests.conftest import every_table

Told = tuple[int, str, str | None]  # The status, the code, and the field it is about.

TABLES = [home(table).name for table in every_table()]
COUNTS = text(" UNION ALL ".join(f"SELECT '{name}' AS name, count(*) FROM {name}" for name in TABLES))
SENTENCE = re.compile(r"[^\n\\^]{8,}\.")
INSIDE = re.compile(
    r"Traceback|psycopg|sqlalchemy|pydantic|starlette|\b(SELECT|INSERT|UPDATE|WHERE)\b|constraint|violat|pattern|codec"
    r"|Exception|Error\b|None\b|<class|\b0x|site-packages|\.py\b|\b(New|Changed)[A-Z]\w+|\w+Query\b|\bjwt|Decimal\("
)


async def rows(database: Database) -> dict[str, int]:
    """Count the rows of every table; history counts every write."""
    return {row["name"]: row["count"] for row in await database.fetch(COUNTS)}


async def refusal(database: Database, who: httpx2.AsyncClient, method: str, path: str, **more: Any) -> Told:
    """Ask for what will be refused; give its status, its code and its field."""
    before = await rows(database)

    answer = await who.request(method, path, **more)

    assert await rows(database) == before, answer.text
    return told(answer)


def told(answer: httpx2.Response) -> Told:
    """Give the status, the code and the field of a refusal, which is told plainly."""
    assert answer.headers.get("content-type") == "application/problem+json", (answer.status_code, answer.text[:500])
    problem = answer.json()
    assert (problem["status"], problem["type"]) == (answer.status_code, f"/problems/{problem['code']}")
    assert SENTENCE.fullmatch(problem["detail"]), problem["detail"]
    assert not INSIDE.search(answer.text), answer.text[:500]
    assert (answer.headers.get("www-authenticate") == "Bearer") == (answer.status_code == 401)
    return answer.status_code, problem["code"], problem.get("field")
