"""What leaves BookIt as a file is in history: who took what, how many rows, and by which filter. Never the data."""

from datetime import datetime
from typing import Any

from sqlalchemy import text

from bookit import security_log
from bookit.db.session import Session
from bookit.policy.permissions import Actor

# The number of a row is that of the person whose data it is; 0 for a list or a report, which is about no single row.
INSERT_EVENT = text("""
INSERT INTO events (actor_id, actor, door, table_name, row_id, action, new, request_id)
VALUES (
  :actor_id, :actor, :door, :table_name, :row_id, 'exported',
  jsonb_build_object('file', CAST(:file AS text), 'filter', CAST(:filter AS text), 'rows', CAST(:rows AS bigint)),
  nullif(current_setting('bookit.request_id', true), ''))
""")


async def record(
    session: Session,
    *,
    by: Actor,
    now: datetime,
    table_name: str,
    file: str,
    rows: int,
    filter_words: str = "everything",
    row_id: int = 0,
) -> None:
    """Write down that this actor takes a file, before they get it.

    ``table_name`` says of what. ``filter_words`` says which rows, in words that name no customer.
    """
    del now
    values: dict[str, Any] = {"file": file, "filter": filter_words, "rows": rows}
    values |= {"actor_id": by.id, "actor": str(by), "door": by.door, "table_name": table_name, "row_id": row_id}
    await session.fetch(INSERT_EVENT, **values)
    security_log.report("exported", account=by.id, detail=f"{table_name}: {filter_words}", count=rows)
