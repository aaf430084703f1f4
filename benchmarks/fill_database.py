"""Fills a database with bookings, for the benchmarks beside this module."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import psycopg

from bookit.schema import revisions

# `bookit serve` refuses a database whose accounts have a public password; this one is for measurements alone.
KEEP_DEMO_PEOPLE = """
ALTER TABLE users DISABLE TRIGGER USER;
UPDATE users SET is_demo = false WHERE is_demo;
ALTER TABLE users ENABLE TRIGGER USER;
"""


def print_progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def fill_database(home: Path, url: str, bookings: int) -> None:
    """Migrate the database and seed this many bookings if it is empty. Raise ClickException if it has fewer."""
    revisions.migrate(url)
    with psycopg.connect(url, autocommit=True) as console:
        count = fetch_count(console, "SELECT count(*) FROM bookings")
        if not count:
            print_progress(f"Filling {home} with {bookings:,} bookings")
            command = [sys.executable, "-m", "seed", "--bookings", str(bookings)]
            env_vars = {**os.environ, "DATABASE_URL": "", "BOOKIT_HOME": str(home)}
            subprocess.run(
                command, check=True, stdout=subprocess.DEVNULL, env=env_vars, cwd=Path(__file__).parent.parent
            )
        elif count < bookings * 0.99:
            raise click.ClickException(f"{home} has {count:,} bookings. Choose another folder, or --bookings {count}.")
        console.execute(KEEP_DEMO_PEOPLE)
        console.execute("VACUUM (ANALYZE)")  # as autovacuum does soon after


def fetch_count(connection: psycopg.Connection[Any], query: Any) -> int:
    row = connection.execute(query).fetchone()
    return int(row[0]) if row else 0


def fetch_value(url: str, query: Any) -> Any:
    with psycopg.connect(url) as console:
        row = console.execute(query).fetchone()
        return row[0] if row else ""
