"""The folders are a promise; these tests keep it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from bookit.tables import home
from tests.conftest import ROOT, every_table

WIRING = {"asgi", "cli", "serving"}  # What joins the doors to the house knows both.
WEB = {"starlette", "sqladmin", "uvicorn", "jwt", "itsdangerous", "wtforms"}
MAY_NOT_IMPORT = {"bookit": WEB | {"admin", "api", "seed"}, "api": {"admin", "sqladmin"}, "admin": {"api"}}
# Each floor of the house stands on those before it; on one floor, rooms are apart unless a door is named.
FLOORS = [
    {"refusals", "settings", "embedded", "schema", "clock", "gathering"},
    {"columns", "logs"},
    {"tables", "mistakes"},
    {"policy", "statements"},
    {"telling"},
    {"database"},
    {"people", "catalogue", "reviews", "idempotency", "availability", "diary"},
    {"bookings", "reports", "news"},
    {"moves", "erasure", "portrait"},
    {"records", "housekeeping", "today"},
    {"bulk", "undo"},
    WIRING,
]
INNER_DOORS = {("asgi", "settings"), ("cli", "serving")}


def sources(package: str) -> Iterator[Path]:
    return (ROOT / package).rglob("*.py")


def imports(path: Path) -> Iterator[str]:
    """Give every module a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(path: Path) -> Iterator[str]:
    """Give the name of every method a file calls."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr


def asked_of_a_session(path: Path) -> Iterator[str]:
    """Give what a file asks of something it calls a session."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="session"), attr=verb)):
                yield f"session.{verb}"


@pytest.mark.parametrize("package", MAY_NOT_IMPORT)
def test_a_package_stays_behind_its_door(package: str) -> None:
    found = {
        (path.name, name)
        for path in sources(package)
        if not (package == "bookit" and path.stem in WIRING)
        for name in imports(path)
        if name.split(".")[0] in MAY_NOT_IMPORT[package]
    }

    assert found == set()


def test_the_house_is_built_from_below() -> None:
    floor_of = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    rooms = {path.stem for path in sources("bookit")} - {"__init__", "__main__"}
    found = {
        (path.stem, room)
        for path in sources("bookit")
        if path.stem in floor_of
        for name in imports(path)
        if name.startswith("bookit.") and (room := name.split(".")[1]) in floor_of
        if floor_of[room] >= floor_of[path.stem] and (path.stem, room) not in INNER_DOORS
    }

    assert rooms == floor_of.keys()
    assert found == set()


def test_only_doors_and_jobs_open_transactions() -> None:
    opened_in = {
        path.stem for path in sources("bookit") if path.stem != "database" and "transaction" in set(calls(path))
    }

    assert opened_in == {"housekeeping", "cli"}


def test_no_rule_commits() -> None:
    committing = {
        path.stem
        for path in sources("bookit")
        if path.stem not in {"database", "schema", *WIRING} and {"commit", "rollback"} & set(calls(path))
    }

    assert committing == set()


@pytest.mark.parametrize("door", ["admin", "api", "seed"])
def test_doors_and_seed_never_write_rows(door: str) -> None:
    writing = {
        (path.name, name)
        for path in sources(door)
        for name in [*calls(path), *imports(path), *asked_of_a_session(path)]
        if name in {"execute", "exec_driver_sql", "sqlalchemy.insert", "sqlalchemy.update", "sqlalchemy.delete"}
        or name in {"session.insert", "session.update", "session.delete", "session.add", "session.flush"}
    }

    assert writing == set()


def test_only_one_place_in_the_house_catches_what_the_database_refuses() -> None:
    catching = [path.name for path in sources("bookit") if "IntegrityError as" in path.read_text(encoding="utf-8")]

    assert catching == ["database.py"]


def test_the_clock_is_asked_in_one_place() -> None:
    asking = {
        f"{package}/{path.name}"
        for package in ("bookit", "admin", "api", "seed")
        for path in sources(package)
        if any(word in path.read_text(encoding="utf-8") for word in ("datetime.now(", "utcnow(", ".today("))
    }

    assert asking == {"bookit/clock.py"}


def test_every_table_says_what_it_is_for() -> None:
    silent = [table.__name__ for table in every_table() if not (table.__doc__ or "").strip()]

    assert silent == []


def test_every_column_a_person_meets_has_a_label() -> None:
    unseen = {"refresh_tokens", "idempotency_keys", "tries"}
    silent = [
        f"{home(table).name}.{name}"
        for table in every_table()
        if home(table).name not in unseen
        for name, field in table.model_fields.items()
        if not field.title
    ]

    assert silent == []
