"""`bookit worker` and the cleanup that it runs."""

from datetime import timedelta

import psycopg
import pytest

from bookit import cleanup
from bookit.db.pool import Database
from tests.support.clock import NOW
from tests.support.processes import Workspace, wait_until

INSERT_LIVE_AND_EXPIRED = """
    WITH person AS (
        INSERT INTO users (name, email, password_hash) VALUES ('Tom', 'tom@example.com', '-') RETURNING id
    ), begun AS (
        INSERT INTO sign_ins (user_id, door, role, sid, idle_ends_at, expires_at)
        SELECT id, 'api', 'user', 's', now() + interval '1 hour', now() + interval '1 day' FROM person RETURNING id
    ), tokens AS (
        INSERT INTO refresh_tokens (sign_in_id, token_hash, expires_at)
        SELECT id, word, now() + lasts::interval
        FROM begun, (VALUES ('live', '1 hour'), ('expired', '0 seconds')) AS token (word, lasts)
    )
    INSERT INTO idempotency_keys (user_id, key, request_hash, created_at)
    SELECT id, word, '-', now() - age::interval
    FROM person, (VALUES ('live', '23 hours 59 minutes'), ('expired', '24 hours')) AS key (word, age)
"""


def read_names(connection: psycopg.Connection) -> list[str]:
    """Return the names of the tokens and keys that remain."""
    rows = connection.execute("SELECT token_hash FROM refresh_tokens UNION ALL SELECT key FROM idempotency_keys")
    return [str(name) for (name,) in rows]


@pytest.mark.process
def test_the_worker_deletes_expired_rows_until_it_is_stopped(installed: Workspace, own_url: str) -> None:
    with psycopg.connect(own_url, autocommit=True) as connection:
        connection.execute(INSERT_LIVE_AND_EXPIRED)
        worker = installed.start("worker")
        worker.wait_for_output("The worker is running. Press Ctrl-C to stop it.")
        wait_until(lambda: "expired" not in read_names(connection))
        assert read_names(connection) == ["live", "live"]
    assert worker.stop() == 0
    assert worker.lines[-1] == "The worker has stopped."
    assert "Traceback" not in worker.output


async def test_cleanup_keeps_rows_that_have_not_expired(database: Database) -> None:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(INSERT_LIVE_AND_EXPIRED.replace("now()", f"timestamptz '{NOW.isoformat()}'"))

        await cleanup.clean_up(database, now=NOW)
        assert read_names(connection) == ["live", "live"]

        await cleanup.clean_up(database, now=NOW + timedelta(hours=25))
        assert read_names(connection) == []
