"""Every constraint has a name and a refusal, which is raised for every writer and every statement that breaks it."""

import re
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from sqlalchemy import ForeignKeyConstraint, PrimaryKeyConstraint, text
from sqlmodel import SQLModel, select

from bookit import refusals as no
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Resource, Service, User, refusals_by_constraint, table_of
from tests.support.databases import list_tables
from tests.support.people import OWNER

# One business with a row in every table: a visit that took place and was reviewed, and one to come.
BUSINESS = """
    INSERT INTO users (name, email, password_hash) VALUES ('Tom', 'tom@example.com', '-'), ('Eve', 'eve@example.com', '-');
    INSERT INTO users (name, email, password_hash, role) VALUES ('Ada', 'ada@example.com', '-', 'admin');
    INSERT INTO services (title, price, duration_minutes) VALUES ('Haircut', 35, 45);
    INSERT INTO resources (name, timezone) VALUES ('Chair', 'UTC');
    INSERT INTO service_resources (service_id, resource_id) VALUES (1, 1);
    INSERT INTO bookings (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, status, price)
      VALUES (1, 1, 1, '2030-01-07 10:00Z', '2030-01-07 11:00Z', '2030-01-07 10:00Z', '2030-01-07 11:00Z', 'completed', 35),
             (1, 1, 1, '2030-01-08 10:00Z', '2030-01-08 11:00Z', '2030-01-08 10:00Z', '2030-01-08 11:00Z', 'pending', 35);
    INSERT INTO resources (name, timezone, capacity) VALUES ('Room', 'UTC', 2);
    INSERT INTO bookings (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, price)
      VALUES (1, 1, 2, '2030-01-09 10:00Z', '2030-01-09 11:00Z', '2030-01-09 10:00Z', '2030-01-09 11:00Z', 35),
             (2, 1, 2, '2030-01-09 10:00Z', '2030-01-09 11:00Z', '2030-01-09 10:00Z', '2030-01-09 11:00Z', 35);
    UPDATE bookings SET status = 'cancelled' WHERE id = 3;
    UPDATE resources SET capacity = 1 WHERE id = 2;
    INSERT INTO services (title, price, duration_minutes) VALUES ('Colour', 80, 90);
    INSERT INTO service_needs (service_id, position) VALUES (2, 2);
    INSERT INTO need_resources (need_id, resource_id) VALUES (1, 2);
    INSERT INTO reviews (booking_id, rating, comment) VALUES (1, 5, 'Good');
    INSERT INTO notes (user_id, text, author_id) VALUES (1, 'Allergic to almond oil', 3);
    INSERT INTO notes (booking_id, text, author_id) VALUES (2, 'Bring colour 7/1', 3);
    INSERT INTO payments (booking_id, amount, currency, method, state, settled_at)
      VALUES (1, 2000, 'EUR', 'cash', 'succeeded', '2030-01-07 11:00Z');
    INSERT INTO refunds (payment_id, amount, currency, reason, state, settled_at)
      VALUES (1, 500, 'EUR', 'goodwill', 'succeeded', '2030-01-07 12:00Z');
    INSERT INTO opening_hours (resource_id, weekday, opens, closes) VALUES (1, 1, '09:00', '17:00');
    INSERT INTO calendar_exceptions (resource_id, start_time, end_time) VALUES (1, '2030-01-09Z', '2030-01-10Z');
    INSERT INTO sign_ins (user_id, door, role, sid, idle_ends_at, expires_at)
      VALUES (1, 'api', 'user', 's', '2030-02-01Z', '2030-02-01Z');
    INSERT INTO refresh_tokens (sign_in_id, token_hash, expires_at) VALUES (1, 'h', '2030-02-01Z');
    INSERT INTO authenticators (user_id, secret, last_step) VALUES (1, 's', 0);
    INSERT INTO passkeys (user_id, name, credential_id, public_key, sign_count) VALUES (1, 'Key', 'c', 'k', 0);
    INSERT INTO recovery_codes (user_id, code_hashes, remaining) VALUES (1, '{h}', 1);
    INSERT INTO idempotency_keys (user_id, key, request_hash, created_at) VALUES (1, 'k', 'h', '2030-01-07Z');
    INSERT INTO tries (name, due_at) VALUES (counter_name('account tom@example.com'), '2030-01-07Z');
"""  # noqa: E501 -- rows read best as rows
SAME_SLOT = """
    INSERT INTO bookings (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, price)
    SELECT 2, 1, 1, start_time, end_time, blocks_from, blocks_until, 35 FROM bookings WHERE id = 2
"""
# A customer, whom these limits bind, books two hours of two days, or holds them.
WITH_LIMITS = """
    WITH limits AS MATERIALIZED (SELECT set_config('bookit.booking_limits', '{}', true))
    INSERT INTO bookings (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, price,
                          expires_at, status)
    SELECT 2, 1, 1, day, day + interval '1 h', day, day + interval '1 h', 35, {}
      FROM limits, generate_series(timestamptz '2031-01-07 10:00Z', '2031-01-08 10:00Z', '{}') AS day
"""
IN_ANOTHER_ROOM = """
    WITH room AS (INSERT INTO resources (name, timezone) VALUES ('Room', 'UTC') RETURNING id),
         massage AS (INSERT INTO services (title, price, duration_minutes) VALUES ('Massage', 60, 60) RETURNING id)
    INSERT INTO bookings (user_id, service_id, resource_id, start_time, end_time, blocks_from, blocks_until, price)
    SELECT 1, {}, room.id, start_time, end_time, blocks_from, blocks_until, 35
      FROM bookings, room, massage WHERE bookings.id = 2
"""
MOVED_TO = """
    UPDATE bookings SET (start_time, end_time, blocks_from, blocks_until)
      = (SELECT t, t + interval '1 h', t, t + interval '1 h' FROM (VALUES ({})) AS at (t)) WHERE id = 1
"""
ANOTHER_SIGN_IN = """
    INSERT INTO sign_ins (user_id, door, role, sid, idle_ends_at, expires_at)
    VALUES (2, 'api', 'user', 's', now(), now())
"""
# Of the visit that costs 35: 20 were paid, and 5 of them given back.

TWO_PAYMENTS = """
    INSERT INTO payments (booking_id, amount, currency, method, state, settled_at)
    SELECT 1, 1001, 'EUR', 'cash', 'succeeded', now() FROM generate_series(1, 2)
"""


def another_payment(**columns: str) -> str:
    """Return the statement that takes 1 more for the visit that took place, with these values in SQL."""
    facts = {"booking_id": "1", "amount": "100", "currency": "'EUR'", "method": "'cash'", "state": "'succeeded'"}
    values = {**facts, "settled_at": "now()", **columns}
    return f"INSERT INTO payments ({', '.join(values)}) VALUES ({', '.join(values.values())})"


def another_refund(**columns: str) -> str:
    """Return the statement that gives back 1 more of the payment, with these values in SQL."""
    facts = {"payment_id": "1", "amount": "100", "currency": "'EUR'", "reason": "'mistake'", "state": "'succeeded'"}
    values = {**facts, "settled_at": "now()", **columns}
    return f"INSERT INTO refunds ({', '.join(values)}) VALUES ({', '.join(values.values())})"


# As the triggers of bookings write claims: one level below the statement of a console.
DEEPER = """
  DO $do$ BEGIN
    CREATE TEMP TABLE deeper (statement text);
    CREATE FUNCTION pg_temp.write() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN EXECUTE NEW.statement; RETURN NEW; END';
    CREATE TRIGGER write AFTER INSERT ON deeper FOR EACH ROW EXECUTE FUNCTION pg_temp.write();
    INSERT INTO deeper VALUES ('{}');
  END $do$
"""
ANOTHER_CLAIM = """
    INSERT INTO claims (booking_id, number, position, role, resource_id, seat, part, is_blocking, start_time,
                        blocks_from, blocks_until)
    SELECT booking_id, 1, 2, role, resource_id, seat, part, is_blocking, start_time, blocks_from, blocks_until
      FROM claims
"""
ANOTHER_KEY = "INSERT INTO idempotency_keys (user_id, key, request_hash, created_at) VALUES ({}, 'k', 'h', now())"

INVISIBLE_PARAGRAPHS = [
    r"E'\u200b'", r"E'\u202eTom'", r"E'To\x1bm'", r"E'To\tm'", r"E'Mu\u0308ller'", r"E'\ue000Tom'", "' Tom'", "'To  m'",
    r"E'T\u0334\u0335\u0336\u0337\u0338om'", r"E'T\u200dom'", r"E'Tom\n\n\n'",
]  # fmt: skip
INVISIBLE_LINES = [*INVISIBLE_PARAGRAPHS, r"E'Tom\nBcc: eve'", "'...'", r"E'\U0001F600'", r"E'\u3164'"]

# Each constraint, the refusal it raises, and ways to break it and nothing else.
WAYS_TO_BREAK: dict[tuple[str, str], tuple[type[no.Refusal], Sequence[str]]] = {
    **{
        (table, name): (no.NotVisible, [f"UPDATE {table} SET {column} = {text}" for text in texts])
        for table, column, name, texts in (
            ("bookings", "visitor_name", "booking_visitor_name_is_visible", INVISIBLE_LINES),
            ("users", "name", "user_name_is_visible", INVISIBLE_LINES),
            ("services", "title", "service_title_is_visible", INVISIBLE_LINES),
            ("services", "description", "service_description_is_visible", INVISIBLE_PARAGRAPHS),
            ("resources", "name", "resource_name_is_visible", INVISIBLE_LINES),
            ("reviews", "comment", "review_comment_is_visible", INVISIBLE_PARAGRAPHS),
            ("notes", "text", "note_text_is_visible", INVISIBLE_PARAGRAPHS),
            ("calendar_exceptions", "reason", "exception_reason_is_visible", INVISIBLE_LINES),
            ("business", "name", "business_name_is_visible", INVISIBLE_LINES),
            ("business", "address", "business_address_is_visible", INVISIBLE_PARAGRAPHS),
            ("business", "phone", "business_phone_is_visible", INVISIBLE_LINES),
        )
    },
    ("users", "user_name_has_1_to_100_characters"): (
        no.NameNeeded,
        ["UPDATE users SET name = ''", "UPDATE users SET name = repeat('é', 101)"],
    ),
    ("tries", "try_name_is_a_hash"): (no.Invalid, ["UPDATE tries SET name = 'account tom@example.com'"]),
    ("users", "user_email_looks_like_one"): (
        no.NotAnEmail,
        [
            "UPDATE users SET email = 'tom' WHERE id = 1",
            "UPDATE users SET email = 'tom@localhost' WHERE id = 1",
            "UPDATE users SET email = repeat('t', 244) || '@example.com' WHERE id = 1",
        ],
    ),
    ("users", "user_account_has_an_email"): (
        no.EmailNeeded,
        [
            "UPDATE users SET email = NULL, phone = '+447700900123' WHERE id = 1",
            "UPDATE users SET email = NULL, phone = '+447700900123', password_hash = NULL WHERE id = 3",
            "INSERT INTO users (name, password_hash) VALUES ('Nia', '-')",
        ],
    ),
    ("users", "user_can_be_reached"): (
        no.PhoneOrEmailNeeded,
        [
            "INSERT INTO users (name) VALUES ('Nia')",
            "UPDATE users SET email = NULL, password_hash = NULL WHERE id = 1",
        ],
    ),
    ("users", "user_phone_is_international"): (
        no.NotAPhone,
        [
            f"UPDATE users SET phone = '{phone}' WHERE id = 1"
            for phone in (
                "",
                "07700900123",
                "+07700900123",
                "+44 7700900123",
                "+123456",
                "+1234567890123456",
                "++44770090",
            )
        ],
    ),
    ("users", "user_birthday_lies_in_the_calendar"): (
        no.BirthdayOutOfRange,
        [
            "UPDATE users SET birthday = '1899-12-31' WHERE id = 1",
            "UPDATE users SET birthday = '3000-01-01' WHERE id = 1",
        ],
    ),
    ("users", "user_language_is_known"): (
        no.UnknownLanguage,
        ["UPDATE users SET language = 'fr' WHERE id = 1", "UPDATE users SET language = '' WHERE id = 1"],
    ),
    ("users", "user_role_is_known"): (no.UnknownRole, ["UPDATE users SET role = 'owner' WHERE id = 1"]),
    ("users", "user_with_own_calendar_has_a_resource"): (
        no.OwnResourceNeeded,
        ["UPDATE users SET role = 'own_calendar' WHERE id = 1"],
    ),
    ("users", "user_works_as_a_resource"): (no.UnknownResource, ["UPDATE users SET resource_id = 9 WHERE id = 1"]),
    ("users", "an_owner_remains"): (
        no.LastOwner,
        [
            "UPDATE users SET role = 'manager' WHERE id = 3",
            "UPDATE users SET is_active = false",
            "UPDATE users SET role = 'staff', is_active = false WHERE id = 3",
            "DELETE FROM users WHERE id = 3",
        ],
    ),
    ("users", "user_email_is_unique"): (no.EmailTaken, ["UPDATE users SET email = 'EVE@Example.com' WHERE id = 1"]),
    ("services", "service_title_has_1_to_200_characters"): (
        no.TitleNeeded,
        ["UPDATE services SET title = ''", "UPDATE services SET title = repeat('é', 201)"],
    ),
    ("services", "service_description_has_at_most_1000_characters"): (
        no.DescriptionTooLong,
        ["UPDATE services SET description = repeat('é', 1001)"],
    ),
    ("services", "service_price_is_zero_or_more"): (
        no.PriceBelowZero,
        ["UPDATE services SET price = -0.01", "UPDATE services SET price = 'NaN'"],
    ),
    ("services", "service_lasts_up_to_60_days"): (
        no.DurationNotPositive,
        ["UPDATE services SET duration_minutes = 0", "UPDATE services SET duration_minutes = 86401"],
    ),
    ("services", "service_setup_minutes_stay_in_range"): (
        no.MinutesOutOfRange,
        ["UPDATE services SET setup_minutes = -1", "UPDATE services SET setup_minutes = 1441"],
    ),
    ("services", "service_cleanup_minutes_stay_in_range"): (
        no.MinutesOutOfRange,
        ["UPDATE services SET cleanup_minutes = -1", "UPDATE services SET cleanup_minutes = 1441"],
    ),
    ("services", "service_slot_step_minutes_stay_in_range"): (
        no.MinutesOutOfRange,
        ["UPDATE services SET slot_step_minutes = 0", "UPDATE services SET slot_step_minutes = 1441"],
    ),
    ("services", "service_min_notice_minutes_stay_in_range"): (
        no.MinutesOutOfRange,
        ["UPDATE services SET min_notice_minutes = -1", "UPDATE services SET min_notice_minutes = 527041"],
    ),
    ("services", "service_horizon_days_stay_in_range"): (
        no.MinutesOutOfRange,
        ["UPDATE services SET horizon_days = 0", "UPDATE services SET horizon_days = 3661"],
    ),
    ("services", "service_cancel_notice_minutes_stay_in_range"): (
        no.MinutesOutOfRange,
        ["UPDATE services SET cancel_notice_minutes = -1", "UPDATE services SET cancel_notice_minutes = 527041"],
    ),
    ("resources", "resource_name_has_1_to_200_characters"): (
        no.ResourceNameNeeded,
        ["UPDATE resources SET name = ''", "UPDATE resources SET name = repeat('é', 201)"],
    ),
    ("resources", "resource_has_1_to_1000_seats"): (
        no.CapacityOutOfRange,
        ["UPDATE resources SET capacity = 0", "UPDATE resources SET capacity = 1001"],
    ),
    ("resources", "resource_timezone_is_known"): (
        no.UnknownTimezone,
        ["UPDATE resources SET timezone = 'Europe/Atlantis'", "UPDATE resources SET timezone = ''"],
    ),
    ("service_resources", "link_is_of_a_service"): (
        no.UnknownService,
        ["INSERT INTO service_resources VALUES (999, 1)"],
    ),
    ("service_resources", "link_is_to_a_resource"): (
        no.UnknownResource,
        ["INSERT INTO service_resources VALUES (1, 999)"],
    ),
    ("service_resources", "service_resources_pkey"): (
        no.AlreadyLinked,
        ["INSERT INTO service_resources VALUES (1, 1)"],
    ),
    ("services", "service_role_is_known"): (no.UnknownResourceRole, ["UPDATE services SET role = 'near'"]),
    ("services", "service_takes_1_to_100_seats"): (
        no.LargestPartyOutOfRange,
        ["UPDATE services SET max_party = 0", "UPDATE services SET max_party = 101"],
    ),
    ("service_needs", "need_is_of_a_service"): (no.UnknownService, ["UPDATE service_needs SET service_id = 999"]),
    ("service_needs", "need_has_its_own_position"): (
        no.NeedTaken,
        ["INSERT INTO service_needs (service_id, position) VALUES (2, 2)"],
    ),
    ("service_needs", "visit_takes_at_most_5_resources"): (
        no.TooManyNeeds,
        ["UPDATE service_needs SET position = 1", "UPDATE service_needs SET position = 6"],
    ),
    ("service_needs", "need_role_is_known"): (no.UnknownResourceRole, ["UPDATE service_needs SET role = 'near'"]),
    ("service_needs", "need_takes_1_to_100_seats"): (
        no.PartyOutOfRange,
        ["UPDATE service_needs SET seats = 0", "UPDATE service_needs SET seats = 101"],
    ),
    **{
        (table, f"{name}_{constraint}"): (refusal, [f"UPDATE {table} SET {values}" for values in ways])
        for table, name in (("services", "service"), ("service_needs", "need"))
        for constraint, refusal, ways in (
            (
                "pause_lies_in_a_visit",
                no.PauseOutOfRange,
                [
                    "free_from_minutes = -1",
                    "free_from_minutes = 86401",
                    "free_from_minutes = 1, free_until_minutes = 86401",
                ],
            ),
            (
                "pause_ends_after_start",
                no.PauseEndsBeforeStart,
                ["free_from_minutes = 0", "free_until_minutes = 9", "free_from_minutes = 9, free_until_minutes = 9"],
            ),
        )
    },
    ("need_resources", "need_link_is_of_a_need"): (no.UnknownNeed, ["INSERT INTO need_resources VALUES (999, 1)"]),
    ("need_resources", "need_link_is_to_a_resource"): (
        no.UnknownResource,
        ["INSERT INTO need_resources VALUES (1, 999)"],
    ),
    ("need_resources", "need_resources_pkey"): (no.AlreadyLinked, ["INSERT INTO need_resources VALUES (1, 2)"]),
    ("bookings", "customer_books_a_service_once_at_a_time"): (no.AlreadyBooked, [IN_ANOTHER_ROOM.format("service_id")]),
    ("bookings", "customer_has_one_visit_at_a_time"): (no.OverlappingBooking, [IN_ANOTHER_ROOM.format("massage.id")]),
    ("claims", "booking_slot_free"): (
        no.SlotTaken,
        [
            SAME_SLOT,
            "UPDATE bookings SET status = 'pending', blocks_until = end_time + interval '1 day' WHERE id = 1",
        ],
    ),
    ("claims", "booking_has_a_seat"): (
        no.SlotTaken,
        [SAME_SLOT.replace("WHERE id = 2", "WHERE id = 4").replace("2, 1, 1,", "1, 1, 2,")],
    ),
    ("bookings", "customer_has_few_holds"): (
        no.TooManyHolds,
        [WITH_LIMITS.format("1,0", "now() + interval '100 years', 'pending'", "1 day")],
    ),
    ("bookings", "customer_has_few_bookings"): (
        no.TooManyBookings,
        [WITH_LIMITS.format("0,1", "NULL, 'confirmed'", "1 day")],
    ),
    ("bookings", "customer_holds_a_time_once"): (
        no.HoldRanOut,
        [
            # The first row of each pair was a hold, and is cancelled or has expired.
            WITH_LIMITS.format(
                "2,0", "now() + interval '100 years', (ARRAY['cancelled', 'pending'])[row_number() OVER ()]", "30 min"
            ).replace("'2031-01-08 10:00Z'", "'2031-01-07 10:30Z'"),
        ],
    ),
    ("payments", "payment_is_of_a_booking"): (no.UnknownBooking, [another_payment(booking_id="999")]),
    ("payments", "payment_is_recorded_by_a_user"): (no.UnknownRecorder, [another_payment(recorded_by_id="999")]),
    ("payments", "payment_is_recorded_once"): (
        no.SavedAlready,
        [another_payment(key="(SELECT key FROM payments)")],
    ),
    ("payments", "payment_currency_is_that_of_refunds"): (no.Interrupted, []),  # The primary key refuses it first.
    ("payments", "payment_is_of_something"): (
        no.AmountNotPositive,
        [another_payment(amount="0")],
    ),
    ("payments", "payment_purpose_is_known"): (no.PaymentMalformed, [another_payment(purpose="'gift'")]),
    ("payments", "payment_provider_is_known"): (
        no.PaymentMalformed,
        [another_payment(provider="'bank'", method="NULL")],
    ),
    ("payments", "payment_at_the_desk_has_a_method"): (
        no.UnknownPaymentMethod,
        [another_payment(method="NULL"), another_payment(method="'gold'")],
    ),
    ("payments", "payment_state_is_known"): (
        no.PaymentMalformed,
        [another_payment(state="'promised'", settled_at="NULL")],
    ),
    ("payments", "payment_has_a_time_once_it_succeeded"): (
        no.PaymentMalformed,
        [another_payment(settled_at="NULL"), another_payment(state="'pending'")],
    ),
    ("payments", "payment_gives_back_at_most_itself"): (no.GivesBackTooMuch, [another_refund(amount="1501")]),
    ("payments", "payment_is_in_the_currency_of_its_booking"): (
        no.OtherCurrency,
        [another_payment(currency="'GBP'"), another_payment(currency="'GBP'", booking_id="2")],
    ),
    ("payments", "payment_is_at_most_what_is_due"): (
        no.OwesLess,
        [
            another_payment(amount="2001"),
            another_payment(amount="2001", state="'pending'", settled_at="NULL"),
            another_payment(booking_id="3"),  # which is cancelled
            TWO_PAYMENTS,
        ],
    ),
    ("payments", "payment_goes_forward"): (
        no.PaymentIsDone,
        [
            f"UPDATE payments SET {values}"
            for values in (
                "amount = 1",
                "booking_id = 2",
                "currency = 'GBP'",
                "method = 'card'",
                "settled_at = now()",
                "recorded_by_id = 1",
                "key = gen_random_uuid()",
                "state = 'failed', settled_at = NULL, refunded = 0",
            )
        ],
    ),
    ("payments", "payment_gives_back_what_its_refunds_say"): (
        no.PaymentIsDone,
        ["UPDATE payments SET refunded = 0", "UPDATE payments SET refunded = 600", another_payment(refunded="1")],
    ),
    ("payments", "payments_are_kept"): (no.PaymentsAreKept, ["DELETE FROM payments"]),
    ("refunds", "refund_is_of_a_payment"): (
        no.UnknownPayment,
        [another_refund(payment_id="999"), another_refund(currency="'GBP'")],
    ),
    ("refunds", "refund_is_recorded_by_a_user"): (no.UnknownRecorder, [another_refund(recorded_by_id="999")]),
    ("refunds", "refund_is_recorded_once"): (no.SavedAlready, [another_refund(key="(SELECT key FROM refunds)")]),
    ("refunds", "refund_is_of_something"): (no.AmountNotPositive, [another_refund(amount="0")]),
    ("refunds", "refund_reason_is_known"): (no.UnknownRefundReason, [another_refund(reason="'rain'")]),
    ("refunds", "refund_state_is_known"): (
        no.PaymentMalformed,
        [another_refund(state="'promised'", settled_at="NULL")],
    ),
    ("refunds", "refund_has_a_time_once_it_succeeded"): (no.PaymentMalformed, [another_refund(settled_at="NULL")]),
    ("refunds", "refund_goes_forward"): (
        no.PaymentIsDone,
        [
            "UPDATE refunds SET amount = 1",
            "UPDATE refunds SET reason = 'mistake'",
            "UPDATE refunds SET state = 'failed', settled_at = NULL",
        ],
    ),
    ("refunds", "refunds_are_kept"): (no.PaymentsAreKept, ["DELETE FROM refunds"]),
    ("bookings", "booking_lasts_a_minute_to_60_days"): (
        no.LengthOutOfRange,
        ["UPDATE bookings SET end_time = end_time + interval '60 d 2 h 31 min', blocks_until = blocks_until + '61 d'"],
    ),
    ("bookings", "booking_blocks_up_to_a_day_around"): (
        no.BlocksTooMuch,
        [
            "UPDATE bookings SET blocks_from = start_time - interval '1441 min'",
            "UPDATE bookings SET blocks_until = end_time + interval '1441 min'",
        ],
    ),
    ("bookings", "booking_is_in_whole_minutes"): (
        no.NotWholeMinutes,
        [
            f"UPDATE bookings SET {column} = {column} {sign} interval '{time}'"
            for column, sign in (("start_time", "+"), ("end_time", "-"), ("blocks_from", "-"), ("blocks_until", "+"))
            for time in ("1 s", "0.5 s")
        ],
    ),
    ("bookings", "booking_visitor_name_has_1_to_100_characters"): (
        no.VisitorNameTooLong,
        ["UPDATE bookings SET visitor_name = ''", "UPDATE bookings SET visitor_name = repeat('é', 101)"],
    ),
    ("bookings", "booking_is_for_a_user"): (no.UnknownUser, ["UPDATE bookings SET user_id = 999"]),
    ("bookings", "booking_is_of_a_service"): (no.UnknownService, ["UPDATE bookings SET service_id = 999"]),
    ("bookings", "booking_is_on_a_resource"): (no.UnknownResource, ["UPDATE bookings SET resource_id = 999"]),
    ("bookings", "booking_ends_after_start"): (no.EndsBeforeStart, ["UPDATE bookings SET end_time = start_time"]),
    ("bookings", "booking_blocks_its_own_time"): (
        no.SeatOutOfRange,
        [
            "UPDATE bookings SET blocks_from = start_time + interval '1 min'",
            "UPDATE bookings SET blocks_until = end_time - interval '1 min'",
        ],
    ),
    ("bookings", "booking_lies_in_the_calendar"): (
        no.OutsideTheCalendar,
        [
            MOVED_TO.format("timestamptz '1999-12-29 23:00Z'"),
            MOVED_TO.format("timestamptz '3000-01-02 23:00Z'"),
        ],
    ),
    ("bookings", "booking_time_is_that_of_its_claims"): (no.Interrupted, []),  # The primary key refuses it first.
    ("bookings", "booking_keeps_its_id"): (no.ClaimsFollow, ["UPDATE bookings SET id = 100 WHERE id = 2"]),
    ("bookings", "booking_takes_1_to_100_seats"): (
        no.PartyOutOfRange,
        ["UPDATE bookings SET seats = 0", "UPDATE bookings SET seats = 101"],
    ),
    ("bookings", "booking_has_each_resource_in_one_role"): (
        no.OneRoleEach,
        [
            "UPDATE bookings SET other_resource_ids = ARRAY[resource_id]",
            "UPDATE bookings SET other_resource_ids = ARRAY[3, 3]",
            "UPDATE bookings SET other_resource_ids = ARRAY[NULL::bigint]",
        ],
    ),
    ("bookings", "booking_fills_each_need"): (
        no.NeedUnfilled,
        [
            "UPDATE bookings SET service_id = 2 WHERE id = 2",
            "UPDATE bookings SET other_resource_ids = '{2}' WHERE id = 2",
            SAME_SLOT.replace("2, 1, 1, start_time", "2, 2, 2, start_time"),
        ],
    ),
    ("claims", "claims_are_written_with_their_booking"): (
        no.ClaimsFollow,
        ["UPDATE claims SET seat = 2", "DELETE FROM claims", ANOTHER_CLAIM],
    ),
    ("claims", "claim_follows_its_booking"): (
        no.Interrupted,
        [
            DEEPER.format("UPDATE claims SET booking_id = 999 WHERE booking_id = 1"),
            DEEPER.format("UPDATE claims SET is_blocking = NOT is_blocking WHERE booking_id = 1"),
            DEEPER.format("UPDATE claims SET blocks_until = blocks_until + interval ''1 min'' WHERE booking_id = 1"),
        ],
    ),
    ("claims", "claim_is_on_a_resource"): (
        no.UnknownResource,
        [
            SAME_SLOT.replace("resource_id, start", "resource_id, other_resource_ids, start").replace(
                "2, 1, 1, start_time", "2, 2, 2, '{999}', start_time"
            )
        ],
    ),
    ("claims", "claim_seat_is_numbered_from_1"): (
        no.SeatOutOfRange,
        [DEEPER.format("UPDATE claims SET seat = 0 WHERE booking_id = 1")],
    ),
    ("claims", "claims_pkey"): (no.Interrupted, [DEEPER.format(ANOTHER_CLAIM)]),
    ("bookings", "booking_status_is_known"): (no.UnknownStatus, ["UPDATE bookings SET status = 'maybe'"]),
    ("bookings", "booking_price_is_zero_or_more"): (
        no.PriceBelowZero,
        ["UPDATE bookings SET price = -0.01", "UPDATE bookings SET price = 'NaN'"],
    ),
    ("bookings", "booking_deleted_by_customer_is_cancelled"): (
        no.DeletedNotCancelled,
        ["UPDATE bookings SET deleted_by_customer_at = now() WHERE id = 2"],
    ),
    ("bookings", "booking_expires_only_while_pending"): (
        no.HoldOutlivesPending,
        [
            "UPDATE bookings SET expires_at = now() WHERE id = 1",
            "UPDATE bookings SET expires_at = now(), status = 'confirmed' WHERE id = 2",
        ],
    ),
    ("reviews", "review_is_of_a_booking"): (no.UnknownBooking, ["UPDATE reviews SET booking_id = 999"]),
    ("reviews", "review_is_the_only_one"): (
        no.AlreadyReviewed,
        ["INSERT INTO reviews (booking_id, rating, comment) VALUES (1, 1, 'Bad')"],
    ),
    ("reviews", "review_rating_is_1_to_5"): (
        no.RatingOutOfRange,
        ["UPDATE reviews SET rating = 0", "UPDATE reviews SET rating = 6"],
    ),
    ("reviews", "review_comment_has_1_to_1000_characters"): (
        no.CommentNeeded,
        ["UPDATE reviews SET comment = ''", "UPDATE reviews SET comment = repeat('é', 1001)"],
    ),
    ("notes", "note_is_on_a_customer"): (no.UnknownUser, ["UPDATE notes SET user_id = 999 WHERE id = 1"]),
    ("notes", "note_is_on_a_booking"): (no.UnknownBooking, ["UPDATE notes SET booking_id = 999 WHERE id = 2"]),
    ("notes", "note_is_written_by_a_user"): (no.UnknownUser, ["UPDATE notes SET author_id = 999"]),
    ("notes", "note_is_on_one_thing"): (
        no.NoteOnOneThing,
        ["UPDATE notes SET booking_id = 1 WHERE id = 1", "UPDATE notes SET booking_id = NULL WHERE id = 2"],
    ),
    ("notes", "note_that_is_pinned_is_on_a_customer"): (
        no.OnlyCustomerNotesPinned,
        ["UPDATE notes SET is_pinned = true WHERE id = 2"],
    ),
    ("notes", "note_text_has_1_to_1000_characters"): (
        no.NoteNeeded,
        ["UPDATE notes SET text = ''", "UPDATE notes SET text = repeat('é', 1001)"],
    ),
    ("opening_hours", "opening_hours_are_of_a_resource"): (
        no.UnknownResource,
        ["UPDATE opening_hours SET resource_id = 999"],
    ),
    ("opening_hours", "opening_hours_weekday_is_1_to_7"): (
        no.WeekdayOutOfRange,
        ["UPDATE opening_hours SET weekday = 0", "UPDATE opening_hours SET weekday = 8"],
    ),
    ("opening_hours", "opening_hours_are_in_whole_minutes"): (
        no.HoursNotInWholeMinutes,
        ["UPDATE opening_hours SET opens = '09:00:01'", "UPDATE opening_hours SET closes = '17:00:00.5'"],
    ),
    ("opening_hours", "opening_hours_have_no_24_00"): (
        no.MidnightIsZero,
        ["UPDATE opening_hours SET opens = '24:00'", "UPDATE opening_hours SET closes = '24:00'"],
    ),
    ("opening_hours", "opening_hours_season_ends_after_start"): (
        no.SeasonEndsBeforeStart,
        ["UPDATE opening_hours SET valid_from = '2030-02-01', valid_until = '2030-01-31'"],
    ),
    ("calendar_exceptions", "exception_is_of_a_resource"): (
        no.UnknownResource,
        ["UPDATE calendar_exceptions SET resource_id = 999"],
    ),
    ("calendar_exceptions", "exception_ends_after_start"): (
        no.EndsBeforeStart,
        ["UPDATE calendar_exceptions SET end_time = start_time"],
    ),
    ("calendar_exceptions", "exception_timezone_is_known"): (
        no.UnknownTimezone,
        ["UPDATE calendar_exceptions SET timezone = 'Europe/Atlantis'"],
    ),
    ("calendar_exceptions", "exception_is_in_whole_minutes"): (
        no.NotWholeMinutes,
        [
            "UPDATE calendar_exceptions SET start_time = start_time + interval '1 s'",
            "UPDATE calendar_exceptions SET end_time = end_time + interval '0.5 s'",
        ],
    ),
    ("calendar_exceptions", "exception_lies_in_the_calendar"): (
        no.OutsideTheCalendar,
        [
            "UPDATE calendar_exceptions SET start_time = '1999-12-29Z'",
            "UPDATE calendar_exceptions SET end_time = '3000-01-03Z'",
        ],
    ),
    ("calendar_exceptions", "exception_reason_has_at_most_200_characters"): (
        no.ReasonTooLong,
        ["UPDATE calendar_exceptions SET reason = repeat('é', 201)"],
    ),
    ("business", "business_is_the_only_one"): (
        no.OnlyOneBusiness,
        ["INSERT INTO business (id) VALUES (2)", "UPDATE business SET id = 2"],
    ),
    ("business", "business_pkey"): (no.OnlyOneBusiness, ["INSERT INTO business DEFAULT VALUES"]),
    ("business", "business_is_kept"): (no.BusinessIsKept, ["DELETE FROM business"]),
    ("business", "business_name_has_1_to_200_characters"): (
        no.BusinessNameNeeded,
        ["UPDATE business SET name = ''", "UPDATE business SET name = repeat('é', 201)"],
    ),
    ("business", "business_address_has_at_most_1000_characters"): (
        no.AddressTooLong,
        ["UPDATE business SET address = repeat('é', 1001)"],
    ),
    ("business", "business_phone_has_at_most_50_characters"): (
        no.BusinessPhoneTooLong,
        ["UPDATE business SET phone = repeat('1', 51)"],
    ),
    ("business", "business_timezone_is_known"): (
        no.UnknownTimezone,
        ["UPDATE business SET timezone = 'Europe/Bonn'", "UPDATE business SET timezone = ''"],
    ),
    ("business", "business_currency_looks_like_one"): (
        no.UnknownCurrency,
        ["UPDATE business SET currency = 'eur'", "UPDATE business SET currency = 'Euro'"],
    ),
    ("business", "business_locale_looks_like_one"): (
        no.UnknownLocale,
        ["UPDATE business SET locale = 'de'", "UPDATE business SET locale = 'de-DE'"],
    ),
    ("events", "history_is_append_only"): (
        no.HistoryIsKept,
        ["UPDATE events SET actor = 'nobody'", "DELETE FROM events", "TRUNCATE events"],
    ),
    ("sign_ins", "sign_in_is_of_a_user"): (no.UnknownUser, ["UPDATE sign_ins SET user_id = 999"]),
    ("sign_ins", "sign_in_sid_is_unique"): (
        no.Interrupted,
        [ANOTHER_SIGN_IN],
    ),
    ("sign_ins", "sign_in_door_is_known"): (no.UnknownDoor, ["UPDATE sign_ins SET door = 'sql'"]),
    ("sign_ins", "sign_in_end_has_a_known_reason"): (
        no.EndNeedsReason,
        [
            "UPDATE sign_ins SET ended_at = now()",
            "UPDATE sign_ins SET end_reason = 'expired'",
            "UPDATE sign_ins SET ended_at = now(), end_reason = 'enough'",
        ],
    ),
    ("authenticators", "authenticator_is_of_a_user"): (
        no.UnknownUser,
        ["UPDATE authenticators SET user_id = 999"],
    ),
    ("authenticators", "authenticator_is_the_only_one"): (
        no.AuthenticatorTaken,
        ["INSERT INTO authenticators (user_id, secret, last_step) VALUES (1, 't', 0)"],
    ),
    ("passkeys", "passkey_is_of_a_user"): (no.UnknownUser, ["UPDATE passkeys SET user_id = 999"]),
    ("passkeys", "passkey_is_registered_once"): (
        no.PasskeyTaken,
        [
            "INSERT INTO passkeys (user_id, name, credential_id, public_key, sign_count)"
            f" VALUES ({number}, 'Key', 'c', 'k', 0)"
            for number in (1, 2)
        ],
    ),
    ("passkeys", "passkey_name_has_1_to_100_characters"): (
        no.PasskeyNameNeeded,
        ["UPDATE passkeys SET name = ''", "UPDATE passkeys SET name = repeat('é', 101)"],
    ),
    ("passkeys", "passkey_name_is_visible"): (
        no.NotVisible,
        [f"UPDATE passkeys SET name = {text}" for text in INVISIBLE_LINES],
    ),
    ("recovery_codes", "recovery_codes_are_of_a_user"): (
        no.UnknownUser,
        ["UPDATE recovery_codes SET user_id = 999"],
    ),
    ("recovery_codes", "recovery_codes_are_the_only_ones"): (
        no.Interrupted,
        ["INSERT INTO recovery_codes (user_id, code_hashes, remaining) VALUES (1, '{}', 0)"],
    ),
    ("recovery_codes", "recovery_codes_are_counted"): (
        no.RecoveryCodesMiscounted,
        [
            "UPDATE recovery_codes SET remaining = 2",
            "UPDATE recovery_codes SET code_hashes = '{}'",
            "UPDATE recovery_codes SET remaining = 11, code_hashes = array_fill(text 'h', ARRAY[11])",
        ],
    ),
    ("refresh_tokens", "refresh_token_is_of_a_sign_in"): (
        no.SignInEnded,
        ["UPDATE refresh_tokens SET sign_in_id = 999"],
    ),
    ("refresh_tokens", "refresh_token_is_unique"): (
        no.Interrupted,
        ["INSERT INTO refresh_tokens (sign_in_id, token_hash, expires_at) VALUES (1, 'h', now())"],
    ),
    ("idempotency_keys", "idempotency_key_is_of_a_user"): (no.UnknownUser, [ANOTHER_KEY.format(999)]),
    ("idempotency_keys", "idempotency_keys_pkey"): (no.Interrupted, [ANOTHER_KEY.format(1)]),
}
BREAKING = [
    pytest.param(table, name, refusal, statement, id=f"{name}-{n}")
    for (table, name), (refusal, statements) in WAYS_TO_BREAK.items()
    for n, statement in enumerate(statements, start=1)
]
# Columns that are filled in whatever is written to them, and those of claims, which nobody writes.
FILLED_IN = {"version", "is_blocking"}
UNWRITTEN = {"events", "claims"}
# What a door calls the needs of a service, and the resources of a visit.
FIELDS_OF_DOORS = {"needs", "resources"}
NEEDED = [
    (column.table.name, column.name)
    for table in list_tables()
    for column in table_of(table).columns
    if not (column.nullable or column.primary_key or column.name in FILLED_IN or column.table.name in UNWRITTEN)
]
CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname FROM pg_constraint
     WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f', 'u', 'x')
  UNION ALL
    SELECT indrelid::regclass::text, indexrelid::regclass::text FROM pg_index JOIN pg_class c ON c.oid = indexrelid
     WHERE indisunique AND c.relnamespace = 'public'::regnamespace
       AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""


def declared() -> list[tuple[str, Any]]:
    """Return every constraint and unique index that the tables declare, except primary keys."""
    return [
        (table.name, item)
        for table in SQLModel.metadata.sorted_tables
        for item in [*table.constraints, *(index for index in table.indexes if index.unique)]
        if not isinstance(item, PrimaryKeyConstraint)
    ]


@pytest.fixture
def business(database: Database, creator: psycopg.Connection) -> Database:
    """Return the database with a row in every table."""
    creator.execute(BUSINESS)
    return database


# Every constraint has its refusal.


def test_every_constraint_is_named_and_carries_its_refusal() -> None:
    silent = [
        (table, item.name)
        for table, item in declared()
        if not (isinstance(item.name, str) and issubclass(item.info.get("refusal", object), no.Refusal))
    ]

    assert silent == []


def test_the_database_has_exactly_the_declared_constraints(database_url: str) -> None:
    with psycopg.connect(database_url) as console:
        rows = console.execute(CONSTRAINTS).fetchall()

    assert sorted(rows) == sorted((table, str(item.name)) for table, item in declared())


def test_every_constraint_is_violated_below() -> None:
    declared_refusals = {key: refusal for key, (refusal, _) in refusals_by_constraint().items()}

    assert {key: refusal for key, (refusal, _) in WAYS_TO_BREAK.items()} == declared_refusals


@pytest.mark.parametrize(("table", "constraint", "refusal", "statement"), BREAKING)
async def test_a_violated_constraint_raises_its_refusal(
    business: Database, table: str, constraint: str, refusal: type[no.Refusal], statement: str
) -> None:
    with pytest.raises(no.Refusal) as caught:
        async with business.transaction(by=OWNER) as session:
            await session.fetch(text(statement))

    broken, sentence = caught.value.__cause__, str(caught.value)
    assert type(caught.value) is refusal
    assert isinstance(broken, psycopg.IntegrityError)
    assert (broken.diag.table_name, broken.diag.constraint_name) == (table, constraint)
    assert not re.search(r"[{}\"]|violat|constraint|relation|duplicate", sentence)
    assert set(re.findall(r"\d+", constraint)) <= set(re.findall(r"\d+", sentence))


RANGES = [
    ("setup_minutes", "The setup must be between 0 and 1440 minutes."),
    ("cleanup_minutes", "The cleanup must be between 0 and 1440 minutes."),
    ("slot_step_minutes", "The slot step must be between 1 and 1440 minutes."),
    ("min_notice_minutes", "The notice must be between 0 and 527040 minutes."),
    ("horizon_days", "The horizon must be between 1 and 3660 days."),
    ("cancel_notice_minutes", "The cancellation notice must be between 0 and 527040 minutes."),
]


@pytest.mark.parametrize(("column", "sentence"), RANGES)
async def test_a_number_out_of_range_is_refused_with_column_and_limits(
    business: Database, column: str, sentence: str
) -> None:
    with pytest.raises(no.MinutesOutOfRange) as caught:
        async with business.transaction(by=OWNER) as session:
            await session.fetch(text(f"UPDATE services SET {column} = -1"))

    assert (caught.value.field, str(caught.value)) == (column, sentence)


@pytest.mark.parametrize(("table", "constraint"), WAYS_TO_BREAK)
def test_a_refusal_is_about_a_column_of_its_table(table: str, constraint: str) -> None:
    refusal, _ = WAYS_TO_BREAK[table, constraint]

    assert refusal.field is None or refusal.field in {*SQLModel.metadata.tables[table].columns.keys(), *FIELDS_OF_DOORS}


# Required columns, and rows that others reference.


@pytest.mark.parametrize(("table", "column"), NEEDED)
async def test_a_missing_value_is_refused_with_its_column(business: Database, table: str, column: str) -> None:
    # A payment that exists does not change.
    statement = another_payment(**{column: "NULL"}) if table == "payments" else f"UPDATE {table} SET {column} = NULL"
    with pytest.raises(no.Required) as caught:
        async with business.transaction(by=OWNER) as session:
            await session.fetch(text(statement))

    assert (caught.value.field, str(caught.value)) == (column, f"Please fill in {column}.")


@pytest.mark.parametrize("table", [User, Service, Resource, Booking])
async def test_a_referenced_row_cannot_be_deleted(business: Database, table: type[SQLModel]) -> None:
    row = table(**(await business.fetch(select(table).where(table_of(table).c.id == 1)))[0])

    with pytest.raises(no.StillInUse):
        async with business.transaction(by=OWNER) as session:
            await session.delete(row)


def test_every_restricting_foreign_key_is_tested_above() -> None:
    keeping = {
        foreign.referred_table.name
        for _, foreign in declared()
        if isinstance(foreign, ForeignKeyConstraint) and foreign.ondelete is None
    }

    assert keeping == {"users", "services", "resources", "bookings", "payments"}
