"""History is kept as long as the business wants, and never less than a month."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

import psycopg
import pytest

from bookit import cleanup
from bookit.cleanup import Retention
from bookit.db.pool import Database
from bookit.settings import SettingsError, read_settings
from tests.support.clock import NOW

Console = psycopg.Connection[tuple[object, ...]]
AGES = (400, 91, 89, 31, 29, 0)  # days
ADD_EVENT = """
    INSERT INTO events (at, actor, door, table_name, row_id, action)
    SELECT clock_timestamp() - make_interval(days => %s), 'nobody', 'sql', 'services', %s, 'changed'
"""


@pytest.fixture
def console(database: Database) -> Iterator[Console]:
    """Return a console in a database with an event of each age."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        for age in AGES:
            connection.execute(ADD_EVENT, (age, age))
        yield connection


def ages_of(console: Console) -> list[object]:
    return [age for (age,) in console.execute("SELECT row_id FROM events WHERE door = 'sql' ORDER BY id")]


@pytest.mark.parametrize(("days", "kept"), [(0, AGES), (90, AGES[2:]), (30, AGES[4:]), (365, AGES[1:])])
async def test_old_history_is_deleted_if_the_business_wants(
    database: Database, console: Console, days: int, kept: Sequence[int]
) -> None:
    for _ in range(2):
        await cleanup.clean_up(database, now=NOW, retention=Retention(history_days=days))

    assert ages_of(console) == [*kept]


async def test_much_history_is_deleted_in_turns(
    database: Database, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "MAX_DELETED_EVENTS", 1)

    for expected in (AGES[1:], AGES[2:], AGES[2:]):
        await cleanup.clean_up(database, now=NOW, retention=Retention(history_days=90))
        assert ages_of(console) == [*expected]


@pytest.mark.parametrize("days", ["0", "29", "1", "-1", "x", ""])
def test_a_console_deletes_nothing_of_the_last_month(console: Console, days: str) -> None:
    console.execute("SELECT set_config('bookit.history_days', %s, false)", (days,))

    with pytest.raises(psycopg.errors.CheckViolation, match="history is append-only"):
        console.execute("DELETE FROM events WHERE row_id IN (29, 400)")

    assert ages_of(console) == [*AGES]


def test_a_console_deletes_nothing_by_itself(console: Console) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="history is append-only"):
        console.execute("DELETE FROM events WHERE row_id = 400")


@pytest.mark.parametrize("days", ["1", "29"])
def test_less_than_a_month_is_refused(days: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HISTORY_RETENTION_DAYS", days)

    with pytest.raises(SettingsError, match=r"^HISTORY_RETENTION_DAYS: keep history for 30 days or more"):
        read_settings(_env_file=None)


def test_the_settings_say_how_long() -> None:
    settings = read_settings(_env_file=None, history_retention_days=90, sign_in_retention_days=7)

    assert Retention.from_settings(settings) == Retention(timedelta(days=7), 90)
