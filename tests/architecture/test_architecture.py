"""The dependency rules between folders and modules."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from bookit.schema.tables import table_of
from tests.support.databases import list_tables
from tests.support.server import ROOT

WEB = {"starlette", "sqladmin", "uvicorn", "jwt", "itsdangerous", "wtforms"}
MAY_NOT_IMPORT = {
    "bookit": WEB | {"admin", "api", "seed", "server", "web"},
    "web": WEB | {"admin", "api", "seed", "server"},
    "api": {"admin", "sqladmin", "seed", "server"},
    "admin": {"api", "seed", "server"},
}
# The parts of each package, lowest first. A part imports only from the lines above its own.
LAYERS = {
    "bookit": [
        {"timezones", "security_log", "slices"},
        {"refusals", "settings", "clock"},
        {"schema"},
        {"policy", "validation_messages"},
        {"db"},
        {"bookings", "needs", "reviews", "payments", "idempotency", "rate_limits"},
        {"catalogue"},
        {"people", "reports", "business"},
        {"notes"},
        {"records", "cleanup", "change_feed", "exports"},
    ],
    "admin": [
        {"framework"},
        {"history"},
        {"record_view"},
        {"bookings", "pages"},
        {"views", "calendar"},
        {"site"},
    ],
    "server": [
        {"logs", "process", "edge", "connections"},
        {"http_protocol"},
        {"app", "runner"},
        {"asgi", "cli"},
    ],
}


def sources(package: str) -> Iterator[Path]:
    return (ROOT / package).rglob("*.py")


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(path: Path) -> Iterator[str]:
    """Yield the name of every method that a file calls."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr


def session_calls(path: Path) -> Iterator[str]:
    """Yield the methods that a file calls on a variable named session."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="session"), attr=verb)):
                yield f"session.{verb}"


def part_of(module: str) -> str:
    """Return the second word of a dotted module name: the file or folder within its package."""
    return module.split(".")[1]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("package", MAY_NOT_IMPORT)
def test_a_package_imports_nothing_above_it(package: str) -> None:
    forbidden = {
        (path.name, name)
        for path in sources(package)
        for name in imports(path)
        if name.split(".")[0] in MAY_NOT_IMPORT[package]
    }

    assert forbidden == set()


@pytest.mark.parametrize("package", LAYERS)
def test_the_parts_of_a_package_import_only_from_lower_layers(package: str) -> None:
    layer_of = {part: number for number, parts in enumerate(LAYERS[package]) for part in parts}
    modules = {module_of(path): path for path in sources(package) if module_of(path) != package}
    upward = {
        (module, name)
        for module, path in modules.items()
        for name in imports(path)
        if name.startswith(f"{package}.") and part_of(name) in layer_of and part_of(name) != part_of(module)
        if layer_of[part_of(name)] >= layer_of[part_of(module)]
    }

    assert {part_of(module) for module in modules} == layer_of.keys()
    assert upward == set()


@pytest.mark.parametrize("package", [*LAYERS, "api", "web", "seed"])
def test_no_import_cycles(package: str) -> None:
    modules = {module_of(path): path for path in sources(package)}
    remaining = {module: {*imports(path)} & modules.keys() - {module} for module, path in modules.items()}
    while free := {module for module, needed in remaining.items() if not needed & remaining.keys()}:
        remaining = {module: needed for module, needed in remaining.items() if module not in free}

    assert remaining == {}


@pytest.mark.parametrize("package", ["server", "bookit", "admin", "api", "web", "seed", "migrations"])
def test_every_package_has_a_docstring(package: str) -> None:
    folders = {path.parent for path in sources(package)} - {ROOT / "migrations/versions"}
    silent = [
        str(folder.relative_to(ROOT))
        for folder in folders
        if not ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    ]

    assert silent == []


def test_only_doors_and_jobs_open_transactions() -> None:
    opened_in = {module_of(path) for path in sources("bookit") if "transaction" in set(calls(path))}

    assert opened_in == {"bookit.cleanup"}


def test_no_rule_commits() -> None:
    committing = {
        module_of(path)
        for path in sources("bookit")
        if path.parent.name not in {"db", "schema"} and {"commit", "rollback"} & set(calls(path))
    }

    assert committing == set()


@pytest.mark.parametrize("door", ["admin", "api", "seed"])
def test_doors_and_seed_never_write_rows(door: str) -> None:
    writing = {
        (path.name, name)
        for path in sources(door)
        for name in [*calls(path), *imports(path), *session_calls(path)]
        if name in {"execute", "exec_driver_sql", "sqlalchemy.insert", "sqlalchemy.update", "sqlalchemy.delete"}
        or name in {"session.insert", "session.update", "session.delete", "session.add", "session.flush"}
    }

    # Lists are read there, in read-only transactions: tests/admin/test_staff_reading.py tries.
    reading = {("context.py", "execute")} if door == "admin" else set()
    assert writing == reading


@pytest.mark.parametrize(
    ("text", "home"),
    [
        ("64 * 1024", "bookit/policy/limits.py"),
        ("2**63", "bookit/policy/limits.py"),
        ("Conflict: 409", "web/statuses.py"),
        ('= "Retry-After"', "web/statuses.py"),
        ("default-src", "web/content_security.py"),
    ],
)
def test_shared_constants_have_one_home(text: str, home: str) -> None:
    files = [path for package in ("bookit", "web", "api", "admin", "server") for path in sources(package)]

    assert [str(path.relative_to(ROOT)) for path in files if text in path.read_text(encoding="utf-8")] == [home]


def test_only_one_module_catches_database_errors() -> None:
    catching = [path.name for path in sources("bookit") if "IntegrityError as" in path.read_text(encoding="utf-8")]

    assert catching == ["errors.py"]


def test_the_clock_is_read_in_one_place() -> None:
    asking = {
        f"{package}/{path.name}"
        for package in ("bookit", "admin", "api", "seed")
        for path in sources(package)
        if any(word in path.read_text(encoding="utf-8") for word in ("datetime.now(", "utcnow(", ".today("))
    }

    assert asking == {"bookit/clock.py"}


def test_every_table_has_a_docstring() -> None:
    silent = [table.__name__ for table in list_tables() if not (table.__doc__ or "").strip()]

    assert silent == []


def test_every_visible_column_has_a_label() -> None:
    unseen = {"refresh_tokens", "idempotency_keys", "tries"}
    silent = [
        f"{table_of(table).name}.{name}"
        for table in list_tables()
        if table_of(table).name not in unseen
        for name, field in table.model_fields.items()
        if not field.title
    ]

    assert silent == []
