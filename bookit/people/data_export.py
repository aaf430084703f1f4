"""The personal data export: everything that BookIt stores about one user, and nothing about any other person.

Other actors appear by their role, never by name. Of rows that belong to another person, the export says only that this
user changed them.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime

from anyio import Semaphore
from sqlalchemy import text
from sqlmodel import SQLModel

from bookit.bookings.claims import RESOURCE_NAMES
from bookit.db.session import Reader, Session
from bookit.db.statements import Row
from bookit.policy import money, permissions
from bookit.policy.permissions import Actor
from bookit.schema.fields import secret_columns
from bookit.schema.tables import Booking, Note, Review, Service, User, table_of
from bookit.slices import in_slices

BOOKINGS = text(f"""
SELECT b.id, s.title AS service, {RESOURCE_NAMES} AS resource, b.seats, b.status, b.start_time, b.end_time, b.price,
       b.created_at, b.expires_at, b.deleted_by_customer_at, b.visitor_name
  FROM bookings b JOIN services s ON s.id = b.service_id
 WHERE b.user_id = :user_id ORDER BY b.start_time, b.id
""")  # noqa: S608 -- a constant
REVIEWS = text("""
SELECT r.id, r.booking_id, r.rating, r.comment, r.created_at
  FROM reviews r JOIN bookings b ON b.id = r.booking_id WHERE b.user_id = :user_id ORDER BY r.id
""")
NOTES = text("""
SELECT n.id, n.booking_id, n.text, n.is_pinned, n.created_at, u.role AS written_by
  FROM notes n LEFT JOIN users u ON u.id = n.author_id
 WHERE n.user_id = :user_id OR n.booking_id IN (SELECT id FROM bookings WHERE user_id = :user_id) ORDER BY n.id
""")
PAYMENTS = text("""
SELECT p.id, p.booking_id, p.amount, p.currency, p.method, p.state, p.settled_at, p.refunded
  FROM payments p JOIN bookings b ON b.id = p.booking_id WHERE b.user_id = :user_id ORDER BY p.id
""")
SIGN_INS = text("""
SELECT id, door, created_at, last_seen_at, least(idle_ends_at, expires_at) AS ends_at, address, browser, second_factor,
       ended_at, end_reason
  FROM sign_ins WHERE user_id = :user_id ORDER BY id
""")
SECOND_FACTORS = text("""
SELECT 'authenticator app' AS kind, NULL AS name, created_at, NULL::timestamptz AS last_used_at
  FROM authenticators WHERE user_id = :user_id
UNION ALL SELECT 'passkey', name, created_at, last_used_at FROM passkeys WHERE user_id = :user_id
UNION ALL SELECT 'recovery codes', NULL, created_at, NULL FROM recovery_codes WHERE user_id = :user_id
ORDER BY created_at, kind, name
""")
REQUESTS = text(
    "SELECT key, created_at, status FROM idempotency_keys WHERE user_id = :user_id ORDER BY created_at, key"
)
ATTEMPTS = text("""
SELECT due_at FROM tries
 WHERE name IN (SELECT counter_name(name) FROM unnest(ARRAY['account ', 'password of ']) AS prefix,
                       LATERAL (SELECT prefix || CAST(:user_id AS bigint)) AS counter (name))
""")
# OFFSET 0 makes PostgreSQL look up the events row by row: the planner cannot know how few rows a user has.
# own: a row that is or was this user's.    table_name, row_id
HISTORY = text("""
WITH own (table_name, row_id) AS (
  SELECT 'users', CAST(:user_id AS bigint)
  UNION ALL SELECT 'bookings', b.id FROM bookings_of(:user_id) b (id)
  UNION ALL SELECT 'reviews', r.id FROM reviews_of(:user_id) r (id)
  UNION ALL SELECT 'notes', n.id FROM notes_of(:user_id) n (id)
)
SELECT e.*, true AS is_own
  FROM own CROSS JOIN LATERAL (
    SELECT * FROM events t WHERE (t.table_name, t.row_id) = (own.table_name, own.row_id) OFFSET 0) AS e
UNION ALL
SELECT e.*, false FROM events e LEFT JOIN own USING (table_name, row_id)
 WHERE e.actor_id = :user_id AND own.row_id IS NULL
ORDER BY id
""")
NAMES = text("""
SELECT 'service_id' AS column, id, title AS name FROM services WHERE id = ANY (:services)
UNION ALL SELECT 'resource_id', id, name FROM resources WHERE id = ANY (:resources)
""")

EXPORT_SLOTS = Semaphore(3)  # documents at once, each with a connection; more wait, so that requests have some left
PART_ROWS = 50  # that are encoded at once, in about 2 ms
TABLE_BY_NAME: Mapping[str, type[SQLModel]] = {
    table_of(table).name: table for table in (User, Booking, Review, Note, Service)
}
HIDDEN = {
    "id", "version", "user_id", "author_id", "seat", "is_blocking", "blocks_from", "blocks_until",
    *secret_columns(*map(table_of, TABLE_BY_NAME.values())),
}  # fmt: skip
NOUNS = {
    "users": "account",
    "bookings": "booking",
    "reviews": "review",
    "notes": "note",
    "sign_ins": "sign-in",
    "authenticators": "authenticator app",
    "passkeys": "passkey",
    "recovery_codes": "recovery codes",
    "payments": "payment",
    "refunds": "refund",
}
Names = Mapping[tuple[str, int], str]


def may_export(actor: Actor, user: User) -> bool:
    """Return whether the actor may export this user's data: it is their own, or their role may export anyone's."""
    return user.id == actor.id or permissions.has_ability(actor, "export_personal_data")


async def started(parts: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Return the parts once the first is made, so that a refusal by the database comes before the response begins."""
    first = await anext(parts)

    async def rest() -> AsyncGenerator[bytes, None]:
        async with aclosing(parts):
            yield first
            async for part in parts:
                yield part

    return rest()


async def stream(session: Session, user: User, *, now: datetime) -> AsyncGenerator[bytes, None]:
    """Yield everything that BookIt stores about this user as one JSON document, in parts, with times in UTC.

    Each row has a line. No more than some hundred rows are in memory at once.
    """
    account = {
        "number": user.id,
        "name": user.name,
        "email": user.email,
        "phone": user.phone,
        "birthday": user.birthday and user.birthday.isoformat(),
        "language": user.language,
        "role": user.role,
        "is_active": user.is_active,
        "joined_at": user.created_at,
    }
    yield f'{{\n"as_of": {encode(now)},\n"account": {encode(account)}'.encode()
    for name, statement, describe in SECTIONS:
        batches = session.stream(statement, user_id=user.id)
        async for part in encode_list(name, map_batches(batches, describe)):
            yield part
    async for part in encode_list("history", describe_events(session, user)):
        yield part
    yield b"\n}\n"


async def encode_list(name: str, batches: AsyncIterator[list[Row]]) -> AsyncIterator[bytes]:
    """Yield a list of the document, one part for each batch."""
    separator = f',\n"{name}": ['
    async for rows in batches:
        async for part in in_slices(rows, PART_ROWS):
            yield (separator + ",".join(f"\n{encode(row)}" for row in part)).encode()
            separator = ","
    yield (separator + "]" if separator != "," else "\n]").encode()


async def map_batches(batches: AsyncIterator[list[Row]], describe: Callable[[Row], Row]) -> AsyncIterator[list[Row]]:
    async for rows in batches:
        yield list(map(describe, rows))


async def describe_events(session: Session, user: User) -> AsyncIterator[list[Row]]:
    """Yield the events of the user's history for the export."""
    names: dict[tuple[str, int], str] = {}
    async for events in session.stream(HISTORY, user_id=user.id):
        names |= await fetch_names(session, [event for event in events if event["is_own"]], known=names)
        yield [event_dict(event, user, names) for event in events]


def encode(value: object) -> str:
    """Return a value as JSON."""
    return json.dumps(value, ensure_ascii=False, default=format_time)


def format_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def booking_dict(row: Row) -> Row:
    return {
        "number": row["id"],
        "service": row["service"],
        "resource": row["resource"],
        "for": row["visitor_name"],
        "seats": row["seats"],
        "status": row["status"],
        "starts_at": row["start_time"],
        "ends_at": row["end_time"],
        "price": float(row["price"]),
        "booked_at": row["created_at"],
        "held_until": row["expires_at"],
        "deleted_at": row["deleted_by_customer_at"],
    }


def review_dict(row: Row) -> Row:
    return {
        "number": row["id"],
        "booking": row["booking_id"],
        "rating": row["rating"],
        "comment": row["comment"],
        "written_at": row["created_at"],
    }


def note_dict(row: Row) -> Row:
    return {
        "number": row["id"],
        "booking": row["booking_id"],
        "text": row["text"],
        "pinned": row["is_pinned"],
        "written_by": row["written_by"],
        "written_at": row["created_at"],
    }


def payment_dict(row: Row) -> Row:
    return {
        "number": row["id"],
        "booking": row["booking_id"],
        "amount": float(money.to_decimal(row["amount"], row["currency"])),
        "currency": row["currency"],
        "method": row["method"],
        "state": row["state"],
        "paid_at": row["settled_at"],
        "given_back": float(money.to_decimal(row["refunded"], row["currency"])),
    }


def sign_in_dict(row: Row) -> Row:
    return {
        "number": row["id"],
        "door": row["door"],
        "began_at": row["created_at"],
        "last_used_at": row["last_seen_at"],
        "ends_at": row["ended_at"] or row["ends_at"],
        "address": row["address"],
        "browser": row["browser"],
        "second_factor": row["second_factor"],
        "ended_because": row["end_reason"],
    }


def second_factor_dict(row: Row) -> Row:
    return {
        "kind": row["kind"],
        "name": row["name"],
        "set_up_at": row["created_at"],
        "last_used_at": row["last_used_at"],
    }


def attempt_dict(row: Row) -> Row:
    return {"forgotten_at": row["due_at"]}


def request_dict(row: Row) -> Row:
    return {"key": row["key"], "sent_at": row["created_at"], "answered_with": row["status"]}


SECTIONS = (
    ("bookings", BOOKINGS, booking_dict),
    ("reviews", REVIEWS, review_dict),
    ("notes", NOTES, note_dict),
    ("payments", PAYMENTS, payment_dict),
    ("sign_ins", SIGN_INS, sign_in_dict),
    ("second_factors", SECOND_FACTORS, second_factor_dict),
    ("wrong_sign_ins", ATTEMPTS, attempt_dict),
    ("requests_sent_with_a_key", REQUESTS, request_dict),
)


def event_dict(row: Row, user: User, names: Names) -> Row:
    """Return an event for the export, without the values of a row that belongs to another person."""
    table = row["table_name"]
    noun = NOUNS.get(table, table)
    result = {
        "at": row["at"],
        "by": actor_label(row, user),
        "door": row["door"],
        "what": f"{noun} {row['row_id']} {row['action']}",
    }
    if row["is_own"]:
        result |= {"before": label_values(table, row["old"], names), "after": label_values(table, row["new"], names)}
        result |= {"reason": row["reason"]}
    return result


def actor_label(row: Row, user: User) -> str:
    """Return "this person" for the user, or the role of another actor."""
    return "this person" if row["actor_id"] == user.id else str(row["actor"]).partition(" ")[0]


def label_values(table: str, values: Row | None, names: Names) -> Row | None:
    """Return values from history under the labels of their columns, with services and resources by name."""
    if values is None:
        return None
    fields = TABLE_BY_NAME[table].model_fields
    return {
        (fields[column].title if column in fields else None) or column: label_value(column, value, names)
        for column, value in values.items()
        if column not in HIDDEN
    }


def label_value(column: str, value: object, names: Names) -> object:
    """Return a value of history, or the name of each row that it stands for."""
    if column == "other_resource_ids" and isinstance(value, list):
        return [names.get(("resource_id", one), one) for one in value]
    return names.get((column, value), value) if isinstance(value, int) else value


async def fetch_names(reader: Reader, events: Iterable[Row], *, known: Names) -> Names:
    """Return the names of the services and resources whose ids stand in these events, besides the known ones."""
    ids_by_column: dict[str, set[int]] = {"service_id": set(), "resource_id": set()}
    for event in events:
        for values in (event["old"] or {}, event["new"] or {}):
            for column, ids in ids_by_column.items():
                others = values.get("other_resource_ids") or [] if column == "resource_id" else []
                named = {one for one in [values.get(column), *others] if isinstance(one, int)}
                ids.update(one for one in named if (column, one) not in known)
    services, resources = sorted(ids_by_column["service_id"]), sorted(ids_by_column["resource_id"])
    rows = await reader.fetch(NAMES, services=services, resources=resources) if services or resources else []
    return {(row["column"], row["id"]): row["name"] for row in rows}
