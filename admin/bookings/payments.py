"""The money of a booking: what is due, the buttons that take it, and what was taken and given back."""

from collections.abc import Mapping
from functools import partial
from typing import Unpack
from uuid import UUID, uuid4

from sqladmin import Flash
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.context import context_of
from admin.framework.custom_page import CustomPage
from admin.framework.export_columns import ExportColumn, ExportSelection
from admin.framework.formatting import METHOD_PHRASES, REFUND_REASONS
from admin.framework.middleware import read_form
from admin.framework.page_state import page_state
from admin.framework.parsing import parse_id
from admin.framework.permissions import require_permission
from admin.framework.transactions import ActorAndTime, run_act
from admin.record_view import RecordView
from bookit import payments
from bookit import refusals as no
from bookit.db.session import Session
from bookit.policy import money, permissions
from bookit.schema.tables import Payment, PaymentMethod, Refund, RefundReason

AMOUNTS = {"amount", "refunded"}
METHOD_LABELS: Mapping[str, str] = {"cash": "Cash", "card": "Card", "transfer": "Transfer"}


class ShowsMoney(RecordView):
    """A view of bookings that shows what is paid, to users who may see payments."""

    async def details_context(self, request: Request) -> dict[str, object]:
        """Add what the booking owes, and its payments."""
        values = await super().details_context(request)
        actor = page_state(request).actor
        if not permissions.has_permission(actor, "see", Payment):
            return values
        return {
            **values,
            "money": await payments.fetch_ledger(self.context.database, int(request.path_params["pk"])),
            "may_take": permissions.has_permission(actor, "create", Payment),
            "may_give_back": permissions.has_permission(actor, "create", Refund),
            "new_key": uuid4,
            "format_amount": partial(money.format_amount, locale=self.context.business.locale),
            "amount_field": money.format_for_field,
            "method_labels": METHOD_LABELS,
            "method_phrases": METHOD_PHRASES,
            "refund_reasons": REFUND_REASONS,
        }


class ShowsAmounts(RecordView):
    """A view of payments, whose amounts are minor units."""

    def add_export_column(self, selection: ExportSelection, name: str, request: Request | None) -> None:
        """Add a column to the export: amounts as decimal numbers."""
        if name not in AMOUNTS:
            super().add_export_column(selection, name, request)
            return
        columns = [getattr(Payment, name), Payment.currency]
        selection.columns.append(ExportColumn(Payment.model_fields[name].title or name, columns, money.to_decimal))


async def take_payment(request: Request) -> Response:
    """Record a payment, and show its booking again."""
    require_permission(request, "create", Payment)
    form, booking_id = await read_form(request), parse_id(request.path_params["pk"])

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> Payment:
        currency = (await payments.paid_and_due(session, booking_id)).currency
        return await payments.record_payment(
            session,
            booking_id=booking_id,
            amount=money.parse_amount(str(form.get("amount", "")), currency),
            method=sent_method(form),
            key=sent_key(form),
            **by_and_now,
        )

    try:
        payment = await run_act(request, act)
    except no.Missing:
        raise HTTPException(404) from None
    except no.Refusal as refusal:
        Flash.error(request, str(refusal))
    else:
        amount = money.format_amount(payment.amount, payment.currency, context_of(request).business.locale)
        Flash.success(request, f"{amount} paid {METHOD_PHRASES[payment.method or '']}.")
    return RedirectResponse(request.url_for("admin:details", identity="booking", pk=booking_id), 303)


async def give_back(request: Request) -> Response:
    """Record that a payment, or a part of it, is given back, and show its booking again."""
    require_permission(request, "create", Refund)
    form = await read_form(request)
    payment = await context_of(request).database.get(Payment, parse_id(request.path_params["pk"]))
    if payment is None:
        raise HTTPException(404)

    async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> Refund:
        return await payments.give_back(
            session,
            payment_id=payment.id,
            amount=money.parse_amount(str(form.get("amount", "")), payment.currency),
            reason=sent_reason(form),
            key=sent_key(form),
            **by_and_now,
        )

    try:
        refund = await run_act(request, act)
    except no.Refusal as refusal:
        Flash.error(request, str(refusal))
    else:
        amount = money.format_amount(refund.amount, refund.currency, context_of(request).business.locale)
        Flash.success(request, f"{amount} given back {METHOD_PHRASES[payment.method or '']}.")
    return RedirectResponse(request.url_for("admin:details", identity="booking", pk=payment.booking_id), 303)


def sent_key(form: FormData) -> UUID:
    """Return the key of a form. Raise Misshapen if it is none."""
    try:
        return UUID(str(form.get("key", "")))
    except ValueError:
        raise no.Misshapen from None


def sent_method(form: FormData) -> PaymentMethod:
    """Return the method that was chosen. Raise UnknownPaymentMethod for anything else."""
    try:
        return PaymentMethod(str(form.get("method", "")))
    except ValueError:
        raise no.UnknownPaymentMethod from None


def sent_reason(form: FormData) -> RefundReason:
    """Return the reason that was chosen. Raise UnknownRefundReason for anything else."""
    try:
        return RefundReason(str(form.get("reason", "")))
    except ValueError:
        raise no.UnknownRefundReason from None


PAGES = [
    CustomPage("/booking/{pk}/take-payment", "take-payment", take_payment, ("POST",)),
    CustomPage("/payment/{pk}/give-back", "give-back", give_back, ("POST",)),
]
