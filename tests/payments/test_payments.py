"""Payments at the desk: what is due, taken and given back, once, by whom, and never more than that."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from bookit import payments, records
from bookit import refusals as no
from bookit.bookings import acts
from bookit.db.pool import Database
from bookit.policy import money
from bookit.policy.permissions import Actor
from bookit.reports.ranges import ReportRange
from bookit.reports.takings import takings
from bookit.schema.tables import Booking, Payment, PaymentMethod, Refund, RefundReason, Role, Service, from_row
from bookit.settings import Settings
from tests.support.admin_client import AdminDesk, BuildApp, ParsedPage, get_page_text
from tests.support.clock import NOW
from tests.support.people import OWNER, MakeClient, Person, read_export
from tests.support.roles import Team, open_team

CASH, CARD = PaymentMethod.CASH, PaymentMethod.CARD


async def take(
    database: Database, booking: Booking, amount: int, *, method: PaymentMethod = CASH, key: UUID | None = None,
    by: Actor = OWNER, now: datetime = NOW,
) -> Payment:  # fmt: skip
    """Record a payment in a transaction of its own."""
    async with database.transaction(by=by, now=now) as session:
        facts: dict[str, Any] = {"booking_id": booking.id, "amount": amount, "method": method, "key": key or uuid4()}
        return await payments.record_payment(session, **facts, by=by, now=now)


async def give_back(
    database: Database, payment: Payment, amount: int, *, key: UUID | None = None, by: Actor = OWNER,
    now: datetime = NOW,
) -> Refund:  # fmt: skip
    """Refund an amount in a transaction of its own."""
    async with database.transaction(by=by, now=now) as session:
        facts: dict[str, Any] = {"payment_id": payment.id, "amount": amount, "reason": RefundReason.MISTAKE}
        return await payments.give_back(session, **facts, key=key or uuid4(), by=by, now=now)


async def sums(database: Database, booking: Booking) -> tuple[int, int, int, int]:
    """Return what a booking owes, what is paid, due, and paid too much."""
    found = await payments.paid_and_due(database, booking.id)
    return found.owed, found.paid, found.due, found.overpaid


async def count(database: Database, table: str) -> int:
    return int((await database.fetch(text(f"SELECT count(*) AS n FROM {table}")))[0]["n"])


# What is owed, paid and due.


async def test_a_booking_owes_its_price(database: Database, visit: Booking) -> None:
    assert await sums(database, visit) == (3500, 0, 3500, 0)

    first = await take(database, visit, 2000)
    assert await sums(database, visit) == (3500, 2000, 1500, 0)
    await take(database, visit, 1500, method=CARD)
    assert await sums(database, visit) == (3500, 3500, 0, 0)
    await give_back(database, first, 500)
    assert await sums(database, visit) == (3500, 3000, 500, 0)


async def test_what_was_paid_for_a_cancelled_visit_is_to_be_given_back(database: Database, visit: Booking) -> None:
    await take(database, visit, 2000)
    async with database.transaction(by=OWNER, now=NOW) as session:
        await acts.cancel(session, await records.lock(session, Booking, visit.id), by=OWNER, now=NOW)

    assert await sums(database, visit) == (0, 2000, 0, 2000)
    with pytest.raises(no.OwesLess, match=r"Tom owes €0\.00"):
        await take(database, visit, 100)


async def test_nobody_pays_more_than_is_owed(database: Database, visit: Booking) -> None:
    await take(database, visit, 2300)

    with pytest.raises(no.OwesLess) as caught:
        await take(database, visit, 1201)

    assert str(caught.value) == "Tom owes €12.00. Take no more than that."
    assert await sums(database, visit) == (3500, 2300, 1200, 0)


async def test_nobody_gets_back_more_than_was_taken(database: Database, visit: Booking) -> None:
    payment = await take(database, visit, 2000)
    await give_back(database, payment, 1500)

    with pytest.raises(no.GivesBackTooMuch):
        await give_back(database, payment, 501)
    await give_back(database, payment, 500)

    assert await sums(database, visit) == (3500, 0, 3500, 0)


async def test_what_does_not_exist_is_neither_paid_nor_given_back(database: Database, visit: Booking) -> None:
    with pytest.raises(no.UnknownBooking):
        await take(database, from_row(Booking, {"id": 999}), 100)
    with pytest.raises(no.UnknownPayment):
        await give_back(database, from_row(Payment, {"id": 999}), 100)
    with pytest.raises(no.UnknownBooking):
        await payments.paid_and_due(database, 999)
    with pytest.raises(no.UnknownBooking):
        await payments.fetch_ledger(database, 999)


async def test_a_booking_with_a_payment_is_not_deleted(database: Database, visit: Booking) -> None:
    await take(database, visit, 2000)

    with pytest.raises(no.StillInUse):
        async with database.transaction(by=OWNER, now=NOW) as session:
            await records.remove(session, await records.lock(session, Booking, visit.id), by=OWNER, now=NOW)


# Once.


async def test_what_is_sent_twice_is_recorded_once(database: Database, visit: Booking) -> None:
    key, back = uuid4(), uuid4()

    first, again = [await take(database, visit, 1000, key=key) for _ in range(2)]
    given, given_again = [await give_back(database, first, 400, key=back) for _ in range(2)]

    assert (again.id, given_again.id) == (first.id, given.id)
    assert await sums(database, visit) == (3500, 600, 2900, 0)
    with pytest.raises(no.SavedAlready):
        await take(database, visit, 1000, method=CARD, key=key)
    with pytest.raises(no.SavedAlready):
        await give_back(database, first, 500, key=back)


async def test_the_same_key_at_once_is_recorded_once(database: Database, visit: Booking) -> None:
    key = uuid4()

    rows = await asyncio.gather(*(take(database, visit, 3500, key=key) for _ in range(8)))

    assert {row.id for row in rows} == {rows[0].id}
    assert await count(database, "payments") == 1


async def test_of_two_writers_of_the_last_due_amount_one_wins(database: Database, visit: Booking) -> None:
    await take(database, visit, 500)

    ends = await asyncio.gather(*(take(database, visit, 3000) for _ in range(8)), return_exceptions=True)

    assert Counter(type(end) for end in ends) == {Payment: 1, no.OwesLess: 7}
    assert await sums(database, visit) == (3500, 3500, 0, 0)


async def test_of_two_consoles_of_the_last_due_amount_one_wins(database: Database, visit: Booking) -> None:
    statement = text("""
        INSERT INTO payments (booking_id, amount, currency, method, state, settled_at)
        VALUES (1, 2000, 'EUR', 'cash', 'succeeded', now())
    """)

    async def write() -> None:
        async with database.transaction(by=OWNER) as session:
            await session.fetch(statement)

    ends = await asyncio.gather(*(write() for _ in range(8)), return_exceptions=True)

    assert Counter(str(end) for end in ends) == {"None": 1, "Tom owes 15.00. Take no more than that.": 7}
    assert await sums(database, visit) == (3500, 2000, 1500, 0)


async def test_refunds_at_once_give_back_what_was_taken(database: Database, visit: Booking) -> None:
    payment = await take(database, visit, 1000)
    statement = text("""
        INSERT INTO refunds (payment_id, amount, currency, reason, state, settled_at)
        VALUES (1, 400, 'EUR', 'mistake', 'succeeded', now())
    """)

    async def write() -> None:
        async with database.transaction(by=OWNER) as session:
            await session.fetch(statement)

    ends = await asyncio.gather(
        *(write() for _ in range(4)), *(give_back(database, payment, 400) for _ in range(4)), return_exceptions=True
    )

    assert Counter(type(end) for end in ends if isinstance(end, Exception)) == {no.GivesBackTooMuch: 6}
    assert await sums(database, visit) == (3500, 200, 3300, 0)


async def test_a_failed_refund_can_be_given_back_again(database: Database, visit: Booking) -> None:
    await take(database, visit, 1000)
    async with database.transaction(by=OWNER) as session:
        for statement in (
            "INSERT INTO refunds (payment_id, amount, currency, reason) VALUES (1, 1000, 'EUR', 'mistake')",
            "UPDATE refunds SET state = 'pending'",
            "UPDATE refunds SET state = 'failed'",
        ):
            await session.fetch(text(statement))

    assert await sums(database, visit) == (3500, 1000, 2500, 0)
    with pytest.raises(no.PaymentIsDone):
        async with database.transaction(by=OWNER) as session:
            await session.fetch(text("UPDATE refunds SET state = 'pending'"))


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        (["pending", "succeeded"], True),
        (["succeeded"], True),
        (["failed", "succeeded"], True),  # money is a fact
        (["pending", "cancelled", "succeeded"], True),
        (["pending", "created"], False),
        (["failed", "pending"], False),
        (["succeeded", "failed"], False),
        (["succeeded", "cancelled"], False),
    ],
)
async def test_a_payment_goes_forward(database: Database, visit: Booking, path: list[str], is_allowed: bool) -> None:
    insert = "INSERT INTO payments (booking_id, amount, currency, method) VALUES (1, 1000, 'EUR', 'card')"
    update = "UPDATE payments SET state = '{0}', settled_at = CASE '{0}' WHEN 'succeeded' THEN now() END"
    *steps, last = [insert, *(update.format(state) for state in path)]
    async with database.transaction(by=OWNER) as session:
        for statement in steps:
            await session.fetch(text(statement))
    outcome = "done"
    try:
        async with database.transaction(by=OWNER) as session:
            await session.fetch(text(last))
    except no.PaymentIsDone:
        outcome = "refused"

    assert outcome == ("done" if is_allowed else "refused")


# Amounts.


@pytest.mark.parametrize(
    ("typed", "currency", "minor"),
    [
        ("12.50", "EUR", 1250),
        ("12,5", "EUR", 1250),
        (" 12 ", "EUR", 1200),
        ("1200", "JPY", 1200),
        ("1.234", "KWD", 1234),
    ],
)
def test_an_amount_is_read_in_minor_units(typed: str, currency: str, minor: int) -> None:
    assert money.parse_amount(typed, currency) == minor
    assert money.parse_amount(money.format_for_field(minor, currency), currency) == minor


@pytest.mark.parametrize("typed", ["", "0", "0.00", "-1", "1,000", "1.000,00", "12.505", "1e3", "NaN", "١٢", "9" * 40])
def test_what_is_no_amount_is_refused(typed: str) -> None:
    with pytest.raises(no.AmountNotPositive):
        money.parse_amount(typed, "EUR")


async def test_the_database_counts_the_same_decimals(database: Database) -> None:
    currencies = sorted(money.WITHOUT_DECIMALS | money.WITH_THREE_DECIMALS | {"EUR", "GBP", "USD"})
    rows = await database.fetch(
        text(
            "SELECT c, currency_decimals(c) AS decimals, minor_units(12, c) AS minor"
            " FROM unnest(CAST(:codes AS text[])) c"
        ),
        codes=currencies,
    )

    assert {row["c"]: row["decimals"] for row in rows} == {code: money.count_decimals(code) for code in currencies}
    assert {row["c"]: row["minor"] for row in rows} == {
        code: 12 * 10 ** money.count_decimals(code) for code in currencies
    }


async def test_a_booking_keeps_the_currency_in_which_it_was_paid(database: Database, visit: Booking) -> None:
    await take(database, visit, 1000)
    async with database.transaction(by=OWNER) as session:
        await session.fetch(text("UPDATE business SET currency = 'JPY', locale = 'de_DE'"))

    found = await payments.paid_and_due(database, visit.id)
    assert (found.currency, found.owed, found.due) == ("EUR", 3500, 2500)
    with pytest.raises(no.OwesLess, match="Tom owes 25,00\u00a0€"):
        await take(database, visit, 2600)


# At the desk.


async def post_payment(desk: AdminDesk, **changes: str) -> tuple[str, int]:
    """Press Cash on the page of the first booking; return the text of the next page and the status."""
    page = await desk.mara.get("/admin/booking/details/1")
    fields = {"key": ParsedPage(page.text).fields["key"], "amount": ParsedPage(page.text).fields["amount"]}
    answer = await desk.mara.post("/admin/booking/1/take-payment", data={**fields, "method": "cash", **changes})
    return get_page_text((await desk.mara.get("/admin/booking/details/1")).text), answer.status_code


async def test_one_click_takes_what_is_due(desk: AdminDesk, visit: Booking, mara: Person) -> None:
    text_after, status = await post_payment(desk)

    assert status == 303
    assert "€35.00 paid in cash." in text_after
    assert "recorded by Mara" in text_after
    row = await desk.fetch_row("payments", 1)
    assert row
    found = {name: row[name] for name in ("booking_id", "amount", "currency", "method", "state", "recorded_by_id")}
    assert found == {
        "booking_id": visit.id, "amount": 3500, "currency": "EUR", "method": "cash", "state": "succeeded",
        "recorded_by_id": mara.id,
    }  # fmt: skip
    page = (await desk.mara.get("/admin/booking/details/1")).text
    assert "/take-payment" not in page
    assert "/admin/payment/1/give-back" in page


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"amount": "35.01"}, "Tom owes €35.00. Take no more than that."),
        ({"amount": "ten"}, str(no.AmountNotPositive())),
        ({"method": "gold"}, str(no.UnknownPaymentMethod())),
        ({"key": "k"}, str(no.Misshapen())),
    ],
)
async def test_a_refused_payment_is_explained(
    desk: AdminDesk, visit: Booking, changes: dict[str, str], refusal: str
) -> None:
    text_after, status = await post_payment(desk, **changes)

    assert (status, await count(desk.database, "payments")) == (303, 0)
    assert refusal in text_after


async def test_a_double_click_takes_once(desk: AdminDesk, visit: Booking) -> None:
    page = ParsedPage((await desk.mara.get("/admin/booking/details/1")).text)
    data = {"key": page.fields["key"], "amount": "20.00", "method": "card"}

    answers = await asyncio.gather(*(desk.mara.post("/admin/booking/1/take-payment", data=data) for _ in range(2)))

    assert [answer.status_code for answer in answers] == [303, 303]
    assert await sums(desk.database, visit) == (3500, 2000, 1500, 0)


async def test_the_desk_gives_back_what_it_took(desk: AdminDesk, visit: Booking) -> None:
    await post_payment(desk)

    for amount, reason in (("5,00", "goodwill"), ("31", "mistake"), ("30.00", "rain")):
        data = {"key": str(uuid4()), "amount": amount, "reason": reason}
        answer = await desk.mara.post("/admin/payment/1/give-back", data=data)
        assert answer.status_code == 303

    text_after = get_page_text((await desk.mara.get("/admin/booking/details/1")).text)
    for sentence in ("€5.00 given back in cash.", str(no.GivesBackTooMuch()), str(no.UnknownRefundReason())):
        assert sentence in text_after
    assert "given back in cash (goodwill)" in text_after
    assert await sums(desk.database, visit) == (3500, 3000, 500, 0)
    assert (await desk.mara.post("/admin/payment/9/give-back", data={})).status_code == 404
    missing = {"key": str(uuid4()), "amount": "1", "method": "cash"}
    assert (await desk.mara.post("/admin/booking/9/take-payment", data=missing)).status_code == 404


async def test_history_has_each_payment_and_its_refunds(desk: AdminDesk, visit: Booking) -> None:
    await post_payment(desk)
    await desk.mara.post("/admin/payment/1/give-back", data={"key": str(uuid4()), "amount": "5", "reason": "goodwill"})

    rows = await desk.database.fetch(
        text(
            "SELECT table_name, action, actor, new FROM events WHERE table_name IN ('payments', 'refunds') ORDER BY id"
        )
    )
    assert [(row["table_name"], row["action"]) for row in rows] == [
        ("payments", "created"), ("refunds", "created"), ("payments", "changed"),
    ]  # fmt: skip
    assert all("key" not in row["new"] for row in rows)
    assert rows[2]["new"] == {"refunded": 500}
    page = get_page_text((await desk.ada.get("/admin/payment/details/1")).text)
    assert "Given back: €0.00 → €5.00" in page
    assert "created 1 refund, changed 1 payment" in get_page_text(
        (await desk.ada.get("/admin/event/list")).text
    ).lower().replace(";", ",")


async def test_payments_are_exported_as_decimal_numbers(desk: AdminDesk, visit: Booking) -> None:
    await post_payment(desk, amount="12.50")

    sheet = await desk.ada.get("/admin/payment/export/csv")

    assert ",12.50,EUR,Cash,0.00,Mara," in sheet.text


@pytest.fixture
async def team(
    open_door: BuildApp, staff_settings: Settings, shared: Service, database: Database, client_of: MakeClient,
    tom: Person,
) -> AsyncIterator[Team]:  # fmt: skip
    """Return everyone who works here, signed in at both doors."""
    async with open_team(open_door(staff_settings), database, client_of, tom) as team:
        yield team


async def test_people_with_their_own_calendar_see_and_take_no_money(team: Team) -> None:
    await take(team.database, team.own, 1000)
    data = {"key": str(uuid4()), "amount": "1", "method": "cash", "reason": "mistake"}

    for role, browser in team.browsers.items():
        page = await browser.get(f"/admin/booking/details/{team.own.id}")
        taken = await browser.post(f"/admin/booking/{team.own.id}/take-payment", data=data)
        given = await browser.post("/admin/payment/1/give-back", data=data)

        is_own = role == Role.OWN_CALENDAR
        assert ("bk-take" in page.text) != is_own
        assert (taken.status_code, given.status_code) == ((403, 403) if is_own else (303, 303))
        data["key"] = str(uuid4())


@pytest.mark.parametrize("role", [None, Role.USER, Role.OWN_CALENDAR])
async def test_only_the_desk_records_payments(
    database: Database, visit: Booking, tom: Person, role: Role | None
) -> None:
    payment = await take(database, visit, 1000)
    by = Actor("api", tom.id if role else None, role, resource_id=1)

    refusal = no.Forbidden if role else no.Unauthenticated
    with pytest.raises(refusal):
        await take(database, visit, 1000, by=by)
    with pytest.raises(refusal):
        await give_back(database, payment, 1000, by=by)


# A person's data.


async def test_a_person_gets_their_payments_and_erasure_keeps_the_amounts(
    database: Database, visit: Booking, tom: Person
) -> None:
    await give_back(database, await take(database, visit, 2000), 500)
    async with database.transaction(by=OWNER, now=NOW) as session:
        document = await read_export(session, tom.user)
        await records.erase(session, tom.id, email=str(tom.user.email), by=OWNER, now=NOW)

    assert document["payments"] == [
        {
            "number": 1, "booking": 1, "amount": 20.0, "currency": "EUR", "method": "cash", "state": "succeeded",
            "paid_at": "2030-01-07T09:00:00Z", "given_back": 5.0,
        }
    ]  # fmt: skip
    rows = await database.fetch(text("SELECT amount, refunded FROM payments"))
    assert [(row["amount"], row["refunded"]) for row in rows] == [(2000, 500)]


# The day closing.


@pytest.fixture
async def day(database: Database, tom: Person, haircut: Service) -> list[Booking]:
    """Create ten visits of a day, all completed but the last, and payments on it and around it."""
    visits = []
    for hour in range(10):
        async with database.transaction(by=OWNER, now=NOW) as session:
            start = datetime(2030, 1, 6, 8, tzinfo=UTC) + timedelta(hours=hour)
            facts: dict[str, Any] = {"user_id": tom.id, "service_id": haircut.id, "start_time": start}
            booking = await records.create(session, Booking, by=OWNER, now=NOW, **facts)
            if hour < 9:
                booking = await acts.complete(session, booking, by=OWNER, now=NOW)
            visits.append(booking)
    for number, booking in enumerate(visits):
        at = booking.end_time if number != 4 else datetime(2030, 1, 6, 23, tzinfo=UTC)  # the next day in Berlin
        payment = await take(database, booking, 3500 - 500 * (number % 3), method=[*PaymentMethod][number % 2], now=at)
        if number % 4 == 0:
            await give_back(database, payment, 700, now=at)
    return visits


def in_words(minor: int) -> str:
    return f"€{minor / 100:,.2f}"


async def test_the_day_closing_has_the_plain_sums(desk: AdminDesk, day: list[Booking]) -> None:
    paid = await desk.database.fetch(text("SELECT * FROM payments ORDER BY id"))
    back = await desk.database.fetch(
        text("SELECT r.amount, p.method, p.id FROM refunds r JOIN payments p ON p.id = r.payment_id")
    )
    of_day = [row for row in paid if row["id"] != 5]
    expected = {
        method: (
            sum(row["amount"] for row in of_day if row["method"] == method),
            sum(row["amount"] for row in back if row["method"] == method and row["id"] != 5),
        )
        for method in ("cash", "card")
    }

    page = await desk.mara.get("/admin/day-closing?day=2030-01-06")

    shown = get_page_text(page.text)
    for method, (taken, given) in expected.items():
        n = sum(row["method"] == method for row in of_day)
        assert f"{method.capitalize()} {n} {in_words(taken)} {in_words(given)} {in_words(taken - given)}" in shown
    taken, given = (sum(column) for column in zip(*expected.values(), strict=True))
    assert f"Total 9 {in_words(taken)} {in_words(given)} {in_words(taken - given)}" in shown
    due = sum(3500 - row["amount"] + row["refunded"] for row in paid[:9])
    assert f"Due in total: {in_words(due)}" in shown
    assert f"Completed and not fully paid {sum(row['amount'] - row['refunded'] < 3500 for row in paid[:9])}" in shown


async def test_the_day_closing_lists_each_payment(desk: AdminDesk, day: list[Booking]) -> None:
    zone = desk.site.context.zone
    found = await takings(desk.database, ReportRange(date(2030, 1, 6), date(2030, 1, 6), zone, "day"))
    after = await takings(desk.database, ReportRange(date(2030, 1, 7), date(2030, 1, 7), zone, "day"))

    assert [row["id"] for row in found.entries if row["kind"] == "payment"] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert [row["given_back"] for row in found.entries if row["kind"] == "refund"] == [700, 700]
    assert [(row["kind"], row["taken"], row["given_back"]) for row in after.entries] == [
        ("payment", 3000, 0), ("refund", 0, 700),
    ]  # fmt: skip
    assert after.unpaid == []


async def test_the_day_closing_of_a_quiet_day_says_so(desk: AdminDesk) -> None:
    page = await desk.mara.get("/admin/day-closing")
    wrong = await desk.mara.get("/admin/day-closing?day=tomorrow")
    outside = await desk.mara.get("/admin/day-closing?day=9999-12-31")

    assert "Nothing was taken and nothing given back on this day." in get_page_text(page.text)
    assert (page.status_code, wrong.status_code, outside.status_code) == (200, 422, 400)
    assert "Write a date as 2026-05-04." in get_page_text(wrong.text)


async def test_the_day_closing_takes_few_statements(
    desk: AdminDesk, day: list[Booking], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    fetch = Database.fetch

    async def note(self: Database, statement: Any, **values: Any) -> Any:
        read.append(statement)
        return await fetch(self, statement, **values)

    monkeypatch.setattr(Database, "fetch", note)
    await desk.mara.get("/admin/day-closing?day=2030-01-06")

    assert len(read) <= 4  # The user, the sums, the list and what is not paid.
