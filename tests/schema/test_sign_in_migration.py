"""Sign-ins of before go on after the upgrade: their refresh tokens become those of a row."""

from datetime import timedelta

import psycopg

from bookit.db.pool import Database
from bookit.people import refresh_tokens
from bookit.people.sign_ins import Client
from bookit.schema import revisions
from tests.support.clock import NOW
from tests.support.databases import create_database, drop_database
from tests.support.people import OWNER

OF_BEFORE = """
    INSERT INTO users (name, email, password_hash, role)
    VALUES ('Tom', 'tom@example.com', '-', 'user'), ('Mara', 'mara@example.com', '-', 'staff');
    INSERT INTO refresh_tokens (user_id, family, token_hash, created_at, expires_at, spent_at)
    VALUES (1, 'a', 'spent', '2030-01-01Z', '2030-01-08Z', '2030-01-06Z'),
           (1, 'a', '{}', '2030-01-06Z', '2030-01-13Z', NULL),
           (2, 'b', 'other', '2030-01-05Z', '2030-01-12Z', NULL);
"""
SIGN_INS = "SELECT user_id, door, role, sid, created_at::text, idle_ends_at::text, expires_at::text FROM sign_ins"


async def test_an_upgrade_makes_sign_ins_of_the_families_of_refresh_tokens(server: str, worker_id: str) -> None:
    url = create_database(server, f"families_{worker_id}", "template0")
    revisions.migrate(url, "0010")
    with psycopg.connect(url, autocommit=True) as console:
        console.execute(OF_BEFORE.format(refresh_tokens.hash_token("tom's")).encode())
        revisions.migrate(url)
        console.execute("SET timezone = 'UTC'")
        rows = console.execute(f"{SIGN_INS} ORDER BY sid").fetchall()
        events = console.execute("SELECT count(*) FROM events WHERE table_name = 'sign_ins'").fetchone()
    async with Database(url, size=1) as database, database.transaction(by=OWNER, now=NOW) as session:
        renewed = await refresh_tokens.rotate(session, "tom's", now=NOW, lifetime=timedelta(days=7), client=Client())
    drop_database(server, f"families_{worker_id}")

    assert rows == [
        (1, "api", "user", "a", "2030-01-01 00:00:00+00", "2030-01-13 00:00:00+00", "2030-04-01 00:00:00+00"),
        (2, "api", "staff", "b", "2030-01-05 00:00:00+00", "2030-01-12 00:00:00+00", "2030-04-05 00:00:00+00"),
    ]
    assert events == (0,)
    assert renewed is not None
    assert (renewed.user.name, renewed.sid) == ("Tom", "a")
