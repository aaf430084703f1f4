"""The cost of a new plain table: a class, a line in the API, and a migration that Alembic writes."""

import json
from pathlib import Path

import psycopg
import pytest

from tests.support.databases import TEMPLATE_DATABASE, create_database
from tests.support.scratch_project import ScratchProject

pytestmark = pytest.mark.process

CLASS = '''class Voucher(SQLModel, table=True):
    """A present that pays for a visit."""

    __tablename__ = "vouchers"
    __table_args__ = (check("voucher_amount_is_zero_or_more", "amount >= 0", no.PriceBelowZero),)
    id: int = primary_key()
    title: RequiredText = required_text(80, title="Title")
    amount: Decimal = money("Amount")
    version: int = version_counter()


'''
NEXT_CLASS = "class OpeningHours("
LINE = 'vouchers = generate_endpoints(api, Voucher, "/vouchers")\n'
IMPORT = "import Booking, Review, Service, table_of"
USE = """
import asyncio
import json
import os

import httpx2

from api.openapi import build_document
from api.routes import ENDPOINTS
from api.auth import create_access_token
from bookit.people import sign_ins
from bookit import records
from bookit.clock import system_clock
from bookit.policy.permissions import Actor
from bookit.schema.tables import Role, User
from bookit.settings import Settings
from server.app import build

url = os.environ["DATABASE_URL"]
settings = Settings(database_url=url, secret_key="x" * 32, _env_file=None)
app = build(settings)
by = Actor("seed", role=Role.ADMIN)


async def main():
    async with app.router.lifespan_context(app):
        async with app.state.database.transaction(by=by) as session:
            facts = {"name": "Ada", "email": "ada@example.com", "password_hash": "x", "role": Role.ADMIN}
            ada = await records.create(session, User, by=by, now=system_clock(), **facts)
            lifetime = sign_ins.lifetime_at("api", ada.role, settings)
            where = {"door": "api", "lifetime": lifetime, "client": sign_ins.Client()}
            begun = await sign_ins.begin(session, ada, now=system_clock(), **where)
        token = create_access_token(ada, settings, now=system_clock(), sid=begun.sid)
        headers = {"Authorization": "Bearer " + token}
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://bookit.test") as client:
            async def ask(method, path, who=headers, **more):
                answer = await client.request(method, path, headers=who, **more)
                return [answer.status_code, answer.json() if answer.content else None]

            new = {"title": "For two", "amount": 50}
            done = [
                await ask("POST", "/vouchers", json=new),
                await ask("GET", "/vouchers", None),
                await ask("GET", "/vouchers/1", None),
                await ask("PATCH", "/vouchers/1", json={"amount": 60.5}),
                (await ask("POST", "/vouchers", json=new | {"amount": -1}))[0],
                (await ask("POST", "/vouchers", None, json=new))[0],
                await ask("DELETE", "/vouchers/1"),
            ]
            paths = build_document(ENDPOINTS)["paths"]
            print(json.dumps([done, sorted(paths["/vouchers"]), sorted(paths["/vouchers/{id}"])]))


asyncio.run(main())
"""


EVENTS = "SELECT action, actor, door, old, new FROM events WHERE table_name = 'vouchers' ORDER BY id"


def test_a_plain_table_costs_a_class_a_line_and_a_migration(server: str, worker_id: str, tmp_path: Path) -> None:
    url = create_database(server, f"plain_{worker_id}", TEMPLATE_DATABASE)
    project = ScratchProject(tmp_path, "admin", "api", DATABASE_URL=url)
    project.replace("bookit/schema/tables.py", NEXT_CLASS, CLASS + NEXT_CLASS)
    project.replace("api/catalogue.py", IMPORT, IMPORT.replace("Service,", "Service, Voucher,"))
    with (tmp_path / "api/catalogue.py").open("a") as catalogue:
        catalogue.write(LINE)
    project.autogenerate("Add vouchers")
    assert project.alembic("upgrade", "head") == (0, "", "")

    status, output, errors = project.python("-c", USE)

    first = {"id": 1, "title": "For two", "amount": 50.0, "version": 1}
    second = first | {"amount": 60.5, "version": 2}
    answers = [[201, first], [200, [first]], [200, first], [200, second], 422, 401, [204, None]]
    assert status == 0, errors
    assert json.loads(output.splitlines()[-1]) == [answers, ["get", "post"], ["delete", "get", "patch"]]
    with psycopg.connect(url) as console:
        assert console.execute(EVENTS).fetchall() == [
            ("created", "admin 1", "api", None, first),
            ("changed", "admin 1", "api", {"amount": 50}, {"amount": 60.5}),
            ("deleted", "admin 1", "api", second, None),
        ]
        with pytest.raises(psycopg.errors.CheckViolation, match="delete the rows instead"):
            console.execute("TRUNCATE vouchers")
