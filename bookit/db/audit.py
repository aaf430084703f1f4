"""The audit context: who makes a change, when, through which door and why. The history trigger stores it in the event.

A transaction sets the context once, with SET LOCAL. An act that is one statement sets it in that same statement, which
then begins with ``SET_AUDIT_CTE``.
"""

from datetime import datetime
from functools import cache

from psycopg import sql
from sqlalchemy import ClauseElement, text

from bookit.db.statements import compile_statement
from bookit.policy.limits import BookingLimits
from bookit.policy.permissions import Actor

AuditContext = dict[str, str]
AUDIT_FIELDS = (
    "request_id",
    "now",
    "actor_id",
    "actor",
    "door",
    "reason",
    "notify_customer",
    "allows_overlap",
    "booking_limits",
)
PARAMETER_BY_FIELD = {field: f"audit_{field}" for field in AUDIT_FIELDS}
SET_CONFIG_CALLS = " || ".join(
    f"set_config('bookit.{field}', :{parameter}, true)" for field, parameter in PARAMETER_BY_FIELD.items()
)
# Sets the context within the statement that it begins, which then needs neither BEGIN and SET LOCAL nor COMMIT: one
# round trip instead of three, 105 µs here instead of 183 for an act that does nothing. The rest of the statement must
# read ``audit_context.is_set``, or PostgreSQL skips the CTE.
SET_AUDIT_CTE = f"WITH audit_context AS MATERIALIZED (SELECT {SET_CONFIG_CALLS} IS NOT NULL AS is_set)"


def build_audit_context(by: Actor, now: datetime | None, request_id: str) -> AuditContext:
    return {"request_id": request_id, "now": now.isoformat() if now else "", **actor_fields(by)}


def actor_fields(by: Actor) -> AuditContext:
    return {"actor_id": str(by.id or ""), "actor": str(by), "door": by.door}


def notify_fields(*, notify: bool) -> AuditContext:
    return {"notify_customer": str(notify).lower()}


def overlap_fields(*, is_allowed: bool, with_same_service: bool) -> AuditContext:
    """Return whether a booking may overlap another one of its customer, and whether even one of the same service.

    History stores nothing of it.
    """
    if is_allowed and not with_same_service:
        return {"allows_overlap": "another service"}
    return {"allows_overlap": str(is_allowed).lower()}


def limit_fields(limits: BookingLimits, *, by: Actor) -> AuditContext:
    """Return how much a customer may book for themself; nothing for staff. History stores nothing of it."""
    return {} if by.is_staff else {"booking_limits": str(limits)}


def audit_params(context: AuditContext) -> dict[str, str]:
    """Return the context as the parameters of ``SET_AUDIT_CTE``; a field that the context lacks is empty."""
    return {parameter: context.get(field, "") for field, parameter in PARAMETER_BY_FIELD.items()}


def compose_set_local(context: AuditContext) -> sql.Composed:
    """Return the SET LOCAL commands that set this context until the transaction ends."""
    setting = sql.SQL("SET LOCAL {} = {}")
    return sql.SQL("; ").join(setting.format(sql.Identifier("bookit", name), value) for name, value in context.items())


@cache
def is_audited(statement: ClauseElement) -> bool:
    """Return whether a statement sets the audit context itself, that is, begins with ``SET_AUDIT_CTE``."""
    prefix, _, _ = compile_statement(text(SET_AUDIT_CTE))
    return compile_statement(statement)[0].lstrip().startswith(prefix)
