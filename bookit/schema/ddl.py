"""What ``metadata.create_all()`` makes besides the tables: SQL functions before and after them, and triggers."""

from pathlib import Path

from sqlalchemy import DDL, Connection, MetaData, event
from sqlmodel import SQLModel

from bookit.schema import triggers

FOLDER = Path(__file__).parent
PREREQUISITES_SQL, FUNCTIONS_SQL = (
    (FOLDER / f"{name}.sql").read_text(encoding="utf-8") for name in ("before_tables", "functions")
)


def create_triggers(metadata: MetaData, connection: Connection, **_: object) -> None:
    """Create the triggers of every audited table."""
    for table in triggers.audited(metadata):
        for statement in triggers.create_triggers(table):
            connection.exec_driver_sql(statement)


for moment, script in (("before_create", PREREQUISITES_SQL), ("after_create", FUNCTIONS_SQL)):
    event.listen(SQLModel.metadata, moment, DDL(script.replace("%", "%%")))  # type: ignore[no-untyped-call]
event.listen(SQLModel.metadata, "after_create", create_triggers)
