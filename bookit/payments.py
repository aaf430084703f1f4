"""Payments and refunds at the desk. The database holds the rules; this module asks first, to refuse in better words."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from sqlalchemy import bindparam, select, text
from sqlmodel import SQLModel

from bookit import refusals as no
from bookit.db.session import Reader, Session
from bookit.db.statements import Row
from bookit.policy import money, permissions
from bookit.policy.permissions import Actor
from bookit.schema.tables import (
    Booking,
    Payment,
    PaymentMethod,
    PaymentState,
    Refund,
    RefundReason,
    RefundState,
    from_row,
    table_of,
)

TableRow = TypeVar("TableRow", bound=SQLModel)
MONEY = text("""
SELECT m.*, u.name AS customer, (SELECT locale FROM business) AS locale
  FROM bookings b JOIN users u ON u.id = b.user_id CROSS JOIN LATERAL booking_money(b.id) m
 WHERE b.id = :booking_id
""")
# A row for each payment and each refund, oldest first, beside the sums; one row with the sums alone if there is none.
LEDGER = text("""
SELECT m.*, l.*, u.name AS recorded_by
  FROM booking_money(:booking_id) m
  LEFT JOIN LATERAL (
    SELECT 'payment' AS kind, p.id, p.id AS payment_id, p.settled_at AS at, p.amount, p.method, NULL AS reason,
           p.amount - p.refunded AS refundable, p.recorded_by_id
      FROM payments p WHERE p.booking_id = :booking_id AND p.state = 'succeeded'
    UNION ALL
    SELECT 'refund', r.id, p.id, r.settled_at, r.amount, p.method, r.reason, 0, r.recorded_by_id
      FROM payments p JOIN refunds r ON r.payment_id = p.id
     WHERE p.booking_id = :booking_id AND r.state = 'succeeded'
  ) AS l ON true
  LEFT JOIN users u ON u.id = l.recorded_by_id
 ORDER BY l.at, l.kind, l.id
""")


@dataclass(frozen=True)
class BookingMoney:
    """What a booking owes, what was paid and not given back, what is due, and what was paid too much; in minor units.

    ``entries`` are its payments and refunds, if they were asked for.
    """

    currency: str
    owed: int
    paid: int
    due: int
    overpaid: int
    entries: Sequence[Row] = ()

    @classmethod
    def of(cls, row: Row, entries: Sequence[Row] = ()) -> "BookingMoney":
        """Return the sums of a row of ``booking_money()``."""
        return cls(row["currency"], row["owed"], row["paid"], row["due"], row["overpaid"], entries)


async def paid_and_due(reader: Reader, booking_id: int) -> BookingMoney:
    """Return what a booking owes and what is due. Raise UnknownBooking."""
    rows = await reader.fetch(MONEY, booking_id=booking_id)
    if not rows:
        raise no.UnknownBooking(what="booking")
    return BookingMoney.of(rows[0])


async def fetch_ledger(reader: Reader, booking_id: int) -> BookingMoney:
    """Return the same with each payment and each refund of the booking, in one statement. Raise UnknownBooking."""
    rows = await reader.fetch(LEDGER, booking_id=booking_id)
    if not rows:
        raise no.UnknownBooking(what="booking")
    return BookingMoney.of(rows[0], [row for row in rows if row["kind"]])


async def record_payment(
    session: Session, *, booking_id: int, amount: int, method: PaymentMethod, key: UUID, by: Actor, now: datetime
) -> Payment:
    """Record that the desk took this amount, in minor units. With the same key again, return the first payment.

    Raise OwesLess if the booking owes less, and SavedAlready if the key was used for another payment.
    """
    permissions.require_permission(by, "create", Payment)
    booking = await session.get(Booking, booking_id, for_update=True)
    if booking is None:
        raise no.UnknownBooking(what="booking")
    permissions.require_in_scope(booking, by=by)
    if earlier := await find_by_key(session, Payment, key):
        if (earlier.booking_id, earlier.amount, earlier.method) != (booking_id, amount, method):
            raise no.SavedAlready
        return earlier
    row = (await session.fetch(MONEY, booking_id=booking_id))[0]
    if amount > row["due"]:
        due = money.format_amount(row["due"], row["currency"], row["locale"])
        raise no.OwesLess(customer=row["customer"], due=due)
    return await session.insert(
        Payment(
            key=key,
            booking_id=booking_id,
            amount=amount,
            currency=row["currency"],
            method=method,
            state=PaymentState.SUCCEEDED,
            settled_at=now,
            recorded_by_id=by.id,
            created_at=now,
        )
    )


async def give_back(
    session: Session, *, payment_id: int, amount: int, reason: RefundReason, key: UUID, by: Actor, now: datetime
) -> Refund:
    """Record that the desk gave back this amount of a payment. With the same key again, return the first refund.

    Raise GivesBackTooMuch if less is left of the payment, and SavedAlready if the key was used for another refund.
    """
    permissions.require_permission(by, "create", Refund)
    payment = await session.get(Payment, payment_id, for_update=True)
    if payment is None:
        raise no.UnknownPayment(what="payment")
    if earlier := await find_by_key(session, Refund, key):
        if (earlier.payment_id, earlier.amount, earlier.reason) != (payment_id, amount, reason):
            raise no.SavedAlready
        return earlier
    if amount > payment.amount - payment.refunded:
        raise no.GivesBackTooMuch
    return await session.insert(
        Refund(
            key=key,
            payment_id=payment_id,
            amount=amount,
            currency=payment.currency,
            reason=reason,
            state=RefundState.SUCCEEDED,
            settled_at=now,
            recorded_by_id=by.id,
            created_at=now,
        )
    )


async def find_by_key(session: Session, table: type[TableRow], key: UUID) -> TableRow | None:
    """Return the row that was recorded with this key."""
    columns = table_of(table).c
    rows = await session.fetch(select(table_of(table)).where(columns.key == bindparam("key")), key=key)
    return from_row(table, rows[0]) if rows else None
