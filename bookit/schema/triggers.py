"""The triggers that every table has: history, version counter, TRUNCATE guard.

A table gets all three by being a table. One that must not is named in ``NOT_AUDITED``, with the reason.
"""

from collections.abc import Iterator

from sqlalchemy import MetaData, Table

from bookit.schema.fields import secret_columns

NOT_AUDITED = {
    "events": "It is the history itself; forbid_history_change and check_erasure protect it.",
    "service_resources": "A link has no id that an event could name; the version of its service counts the change.",
    "need_resources": "A link has no id that an event could name; the version of its service counts the change.",
    "claims": "They follow their booking, whose history has what they are made of.",
    "sign_ins": "Only sign-ins of staff and their ends are in history, by triggers of their own in functions.sql.",
    "authenticators": "Each code that is used writes it. History has its set-up and removal, by triggers of its own.",
    "passkeys": "Each use writes it. History has what its owner does to it, by triggers of its own.",
    "recovery_codes": "Nobody edits it, so it has no version. A trigger of its own writes history.",
    "refresh_tokens": "Each refresh of a sign-in writes it, and it would bring hashes of tokens into history.",
    "idempotency_keys": "It stores responses for a day; the rows that they are about have history.",
    "tries": "It counts requests of limited rates, and is unlogged because a crash may lose it.",
}
AUDIT = """\
CREATE TRIGGER audit_row AFTER INSERT OR UPDATE OR DELETE ON {table}
  FOR EACH ROW EXECUTE FUNCTION audit_row({secrets});"""
VERSION = """\
CREATE TRIGGER bump_version BEFORE UPDATE ON {table}
  FOR EACH ROW EXECUTE FUNCTION bump_version();"""
TRUNCATE_GUARD = """\
CREATE TRIGGER forbid_truncate BEFORE TRUNCATE ON {table}
  FOR EACH STATEMENT EXECUTE FUNCTION forbid_truncate();"""


def audited(metadata: MetaData) -> list[Table]:
    """Return the tables that have history, in the order in which they can be created."""
    return [table for table in metadata.sorted_tables if table.name not in NOT_AUDITED]


def create_triggers(table: Table) -> Iterator[str]:
    """Return the statements that create the triggers of a table. Raise TypeError if it cannot have them."""
    missing = {"id", "version"} - set(table.columns.keys())
    if missing:
        columns = " and no ".join(sorted(missing))
        raise TypeError(f"{table.name} has no {columns}: history needs it. Add it, or name the table in NOT_AUDITED.")
    secrets = ", ".join(f"'{name}'" for name in sorted(secret_columns(table)))
    for statement in (AUDIT, VERSION, TRUNCATE_GUARD):
        yield statement.format(table=table.name, secrets=secrets)
