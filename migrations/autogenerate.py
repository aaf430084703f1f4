"""Completes what Alembic compares: CHECK and EXCLUDE constraints, indexes, functions, triggers, unlogged tables.

Alembic compares tables, columns, keys and the columns of indexes, and nothing else. So this creates everything a second
time, in a schema of its own that is rolled back, and has PostgreSQL describe both: what differs is missing from the
migration. `alembic check` and `alembic revision --autogenerate` therefore see each change of tables.py and of the SQL
files, and a new table gets its triggers. The statements are written into the migration, which never changes again.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, TypeDecorator, text
from sqlmodel import SQLModel

from bookit.schema.revisions import latest_revision

SCRATCH = "bookit_declared"
# A function is named with the types of its parameters, and belongs to no table.
OBJECTS = text("""
    SELECT 'function', '', oid::regprocedure::text, pg_get_functiondef(oid)
      FROM pg_proc WHERE pronamespace = CAST(:schema AS regnamespace)
       AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
  UNION ALL
    SELECT 'table', relname, '', CASE relpersistence WHEN 'u' THEN 'UNLOGGED' ELSE 'LOGGED' END
      FROM pg_class WHERE relnamespace = CAST(:schema AS regnamespace) AND relkind = 'r'
  UNION ALL
    SELECT 'constraint', conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(oid)
      FROM pg_constraint WHERE connamespace = CAST(:schema AS regnamespace) AND contype IN ('c', 'x')
  UNION ALL
    SELECT 'index', indrelid::regclass::text, indexrelid::regclass::text, pg_get_indexdef(indexrelid)
      FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
     WHERE relnamespace = CAST(:schema AS regnamespace)
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
  UNION ALL
    SELECT 'trigger', tgrelid::regclass::text, quote_ident(tgname), pg_get_triggerdef(pg_trigger.oid)
      FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
     WHERE relnamespace = CAST(:schema AS regnamespace) AND NOT tgisinternal
""")
# In the order in which they are created; they are dropped in the opposite order.
KINDS = ("function", "table", "constraint", "index", "trigger")
CREATE = {
    "constraint": "ALTER TABLE {table} ADD CONSTRAINT {name} {definition}",
    "table": "ALTER TABLE {table} SET {definition}",
}
DROP = {
    "function": "DROP FUNCTION {name}",
    "constraint": "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}",
    "index": "DROP INDEX IF EXISTS {name}",
    "trigger": "DROP TRIGGER {name} ON {table}",
}


class Item(NamedTuple):
    """Something of a schema: what it is, whose, its name, and the text that makes it."""

    kind: str
    table: str
    name: str
    definition: str

    def create(self) -> str:
        return CREATE.get(self.kind, "{definition}").format(**self._asdict())

    def drop(self) -> str:
        return DROP[self.kind].format(**self._asdict())


Schema = dict[tuple[str, ...], Item]


class Script(ops.ExecuteSQLOp):
    """A statement that a migration has line by line, because indenting it would change the body of a function."""

    def to_diff_tuple(self) -> tuple[str, str]:
        return "execute", str(self.sqltext).partition("\n")[0]


@renderers.dispatch_for(Script)
def render_script(_: AutogenContext, script: Script) -> str:
    # op.execute() would read :word as a parameter.
    escaped = re.sub(r"(?<![:\w\\]):(?=\w)", r"\:", str(script.sqltext).strip())
    lines = [json.dumps(line, ensure_ascii=False) for line in escaped.splitlines(keepends=True)]
    return f"op.execute({lines[0]})" if len(lines) == 1 else "op.execute(\n    {}\n)".format("\n    ".join(lines))


def render_type(kind: str, item: Any, _: AutogenContext) -> str | Literal[False]:
    """Write SQLModel's own types as those they wrap, so that a migration need not import SQLModel."""
    return f"sa.{item.impl!r}" if kind == "type" and isinstance(item, TypeDecorator) else False


def complete_revision(context: MigrationContext, _: Any, scripts: list[ops.MigrationScript]) -> None:
    """Number a new migration, and add to it what Alembic did not see."""
    script, options = scripts[0], context.opts["revision_context"].command_args
    script.rev_id = options["rev_id"] or f"{int(latest_revision()) + 1:04}"
    if not (options["autogenerate"] and context.connection and script.upgrade_ops and script.downgrade_ops):
        return
    actual, declared = schema_of(context.connection), declared_schema(context.connection)
    add_statements(script.upgrade_ops, actual, declared)
    add_statements(script.downgrade_ops, declared, actual)


def schema_of(connection: Connection, schema: str = "public") -> Schema:
    """Return what a schema has, described as if it were the public one."""
    with connection.begin_nested() as savepoint:
        connection.execute(text(f"SET LOCAL search_path TO {schema}, public"))
        rows = connection.execute(OBJECTS, {"schema": schema}).fetchall()
        savepoint.rollback()
    items = (Item(*(column.replace(f" {schema}.", " public.") for column in row)) for row in rows)
    return {item[:3]: item for item in items if item.table != "alembic_version"}


def declared_schema(connection: Connection) -> Schema:
    """Return what tables.py and the SQL files declare, as PostgreSQL describes it."""
    with connection.begin_nested() as savepoint:
        connection.execute(text(f"CREATE SCHEMA {SCRATCH}; SET LOCAL search_path TO {SCRATCH}, public"))
        connection.execute(text("SET LOCAL check_function_bodies TO off"))  # they name tables of the public schema
        SQLModel.metadata.create_all(connection, checkfirst=False)
        schema = schema_of(connection, SCRATCH)
        savepoint.rollback()
    return schema


def add_statements(container: ops.OpContainer, before: Schema, after: Schema) -> None:
    """Add what Alembic's own operations leave different: drop first, create last, and functions after all who call them."""
    seen = {op.index_name for op in flat(container) if isinstance(op, ops.CreateIndexOp | ops.DropIndexOp)}
    tables_before, tables_after = ({"", *(item.table for item in schema.values())} for schema in (before, after))
    changed = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key) and key[2] not in seen]
    changed.sort(key=lambda key: (KINDS.index(key[0]), key))
    gone = [before[key] for key in reversed(changed) if key in before and key[1] in tables_after]
    new = [after[key] for key in changed if key in after]
    drops = [item.drop() for item in gone if item.kind in {"constraint", "index", "trigger"}]
    creates = [item.create() for item in new if item.table in tables_before or item.kind == "trigger"]
    functions = [item.drop() for item in gone if item.kind == "function" and item[:3] not in after]
    container.ops[:] = [*map(Script, drops), *container.ops, *map(Script, creates), *map(Script, functions)]


def flat(container: ops.OpContainer) -> Iterator[ops.MigrateOperation]:
    for op in container.ops:
        if isinstance(op, ops.OpContainer):
            yield from flat(op)
        else:
            yield op
