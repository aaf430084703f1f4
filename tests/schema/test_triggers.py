"""Each table has history, a version counter and a TRUNCATE guard, or a documented reason for having none."""

import psycopg
import pytest
from sqlalchemy import Column, Integer, MetaData, Table
from sqlmodel import SQLModel

from bookit.schema import triggers
from bookit.schema.fields import secret_columns

TABLES = SQLModel.metadata.tables
ALL_THREE = {"audit_row", "bump_version", "forbid_truncate"}
HAS_HISTORY = {
    "users", "services", "service_needs", "resources", "bookings", "reviews", "opening_hours", "calendar_exceptions",
    "notes", "business",
    "payments", "refunds",
}  # fmt: skip
TRIGGERS = "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal"


@pytest.mark.parametrize("table", TABLES)
def test_a_table_has_all_three_triggers_or_a_reason(database_url: str, table: str) -> None:
    with psycopg.connect(database_url) as console:
        names = {name for name, _ in console.execute(TRIGGERS, [table]).fetchall()}

    alone = {"forbid_truncate"} if table == "claims" else set()
    assert names & ALL_THREE == (alone if table in triggers.NOT_AUDITED else ALL_THREE)
    assert (table in HAS_HISTORY) == (table not in triggers.NOT_AUDITED)


def test_every_reason_names_a_table_and_is_not_empty() -> None:
    assert triggers.NOT_AUDITED.keys() <= TABLES.keys()
    assert all(reason.endswith(".") and len(reason.split()) > 5 for reason in triggers.NOT_AUDITED.values())


def test_the_audit_trigger_names_the_secret_columns(database_url: str) -> None:
    with psycopg.connect(database_url) as console:
        definitions: dict[str, str] = dict(console.execute(TRIGGERS, ["users"]).fetchall())

    assert definitions["audit_row"].endswith("EXECUTE FUNCTION audit_row('password_hash')")
    assert secret_columns(*TABLES.values()) == {
        "password_hash", "token_hash", "sid", "seed", "secret", "credential_id", "public_key", "code_hashes", "key",
    }  # fmt: skip


def test_a_table_unfit_for_history_is_refused_in_a_sentence() -> None:
    table = Table("vouchers", MetaData(), Column("id", Integer, primary_key=True))

    with pytest.raises(TypeError, match=r"vouchers has no version: .* Add it, or name the table in NOT_AUDITED\."):
        list(triggers.create_triggers(table))
