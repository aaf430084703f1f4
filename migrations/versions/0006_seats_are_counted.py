"""Seats are counted, and bookings keep whole minutes and a day at most.

Why: after a capacity was lowered, or where bookings of a time stood on the higher seats, availability offered and the
database accepted more bookings at one moment than the resource has seats. The desk shows whole minutes, so a booking with
seconds blocked the next one invisibly. Calendar and reports look back over a day's visit, so a longer one was lost.

The running version survives this: it books whole minutes and up to a day. Seconds that are stored already are cut off; a
booking that lasts longer than 25 hours, which only a console could write, stops the migration until it is made shorter.
It reads bookings once under an exclusive lock, about a second for a million.
"""

from alembic import op

revision = "0006"
down_revision = "0005"

CUT_SECONDS = r"""
SELECT set_config('bookit.actor', 'nobody', true), set_config('bookit.reason', 'Seconds are cut off.', true);
UPDATE bookings SET start_time = date_trunc('minute', start_time), end_time = date_trunc('minute', end_time),
                    blocks_from = date_trunc('minute', blocks_from), blocks_until = date_trunc('minute', blocks_until)
 WHERE NOT (mod(extract(epoch FROM start_time), 60) = 0 AND mod(extract(epoch FROM end_time), 60) = 0
            AND mod(extract(epoch FROM blocks_from), 60) = 0 AND mod(extract(epoch FROM blocks_until), 60) = 0);
UPDATE calendar_exceptions SET start_time = date_trunc('minute', start_time), end_time = date_trunc('minute', end_time)
 WHERE NOT (mod(extract(epoch FROM start_time), 60) = 0 AND mod(extract(epoch FROM end_time), 60) = 0);
UPDATE opening_hours SET opens = date_trunc('minute', opens), closes = date_trunc('minute', closes)
 WHERE extract(second FROM opens) <> 0 OR extract(second FROM closes) <> 0;
UPDATE opening_hours SET opens = time '00:00' WHERE opens = '24:00';
UPDATE opening_hours SET closes = time '00:00' WHERE closes = '24:00';
"""

CONSTRAINTS = r"""
ALTER TABLE bookings
  ADD CONSTRAINT booking_lasts_a_minute_to_a_day
    CHECK (end_time - start_time BETWEEN interval '1 minute' AND interval '25 hours'),
  ADD CONSTRAINT booking_blocks_up_to_a_day_around
    CHECK (start_time - blocks_from <= interval '1 day' AND blocks_until - end_time <= interval '1 day'),
  ADD CONSTRAINT booking_is_in_whole_minutes
    CHECK (mod(extract(epoch FROM start_time), 60) = 0 AND mod(extract(epoch FROM end_time), 60) = 0
      AND mod(extract(epoch FROM blocks_from), 60) = 0 AND mod(extract(epoch FROM blocks_until), 60) = 0);
ALTER TABLE calendar_exceptions
  ADD CONSTRAINT exception_is_in_whole_minutes
    CHECK (mod(extract(epoch FROM start_time), 60) = 0 AND mod(extract(epoch FROM end_time), 60) = 0);
ALTER TABLE opening_hours
  ADD CONSTRAINT opening_hours_are_in_whole_minutes
    CHECK (extract(second FROM opens) = 0 AND extract(second FROM closes) = 0),
  ADD CONSTRAINT opening_hours_have_no_24_00 CHECK (opens < '24:00' AND closes < '24:00');
"""

FUNCTIONS = r"""
CREATE OR REPLACE FUNCTION earliest_start(moment timestamptz) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
  RETURN moment - interval '50 hours';

CREATE OR REPLACE FUNCTION most_at_once(resource bigint, since timestamptz, until timestamptz, except_booking bigint)
RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT coalesce(max(at_once), 0) FROM (
    SELECT sum(change.step) OVER (ORDER BY change.at, change.step) AS at_once
      FROM public.bookings b
     CROSS JOIN LATERAL (VALUES (greatest(b.blocks_from, since), 1), (b.blocks_until, -1)) AS change (at, step)
     WHERE b.resource_id = resource AND b.id IS DISTINCT FROM except_booking
       AND tstzrange(b.blocks_from, b.blocks_until) && tstzrange(since, until)
       AND public.blocks_at(b.status, b.expires_at, public.booking_now())
  ) AS counted
$$;

CREATE OR REPLACE FUNCTION free_seat(
  resource bigint, since timestamptz, until timestamptz, except_booking bigint, preferred smallint
) RETURNS smallint LANGUAGE plpgsql AS $$
DECLARE
  taken smallint[] := ARRAY(SELECT t.seat FROM public.taken_seats(resource, since, until, except_booking) AS t (seat));
  seats integer;
BEGIN
  IF taken = '{}' AND preferred IS NULL THEN
    RETURN 1;
  END IF;
  seats := (SELECT r.capacity FROM public.resources r WHERE r.id = resource);
  IF cardinality(taken) >= seats AND public.most_at_once(resource, since, until, except_booking) >= seats THEN
    RETURN NULL;
  END IF;
  RETURN (
    SELECT seat FROM generate_series(1, greatest(seats, cardinality(taken) + 1)) AS seat
     WHERE seat <> ALL (taken)
     ORDER BY coalesce(seat = preferred AND seat <= seats, false) DESC, seat
     LIMIT 1);
END $$;

CREATE OR REPLACE FUNCTION assign_seat() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(least(OLD.resource_id, NEW.resource_id));
  IF OLD.resource_id <> NEW.resource_id THEN
    PERFORM pg_advisory_xact_lock(greatest(OLD.resource_id, NEW.resource_id));
  END IF;
  IF TG_OP = 'DELETE' THEN
    RETURN OLD;
  END IF;
  IF NOT public.is_live(NEW.status) THEN
    NEW.seat := coalesce(NEW.seat, 1);
    RETURN NEW;
  END IF;
  IF public.is_live(OLD.status) AND (OLD.resource_id, OLD.seat) = (NEW.resource_id, NEW.seat)
     AND (OLD.blocks_from = NEW.blocks_from AND OLD.blocks_until >= NEW.blocks_until
          OR NEW.seat <= (SELECT r.capacity FROM public.resources r WHERE r.id = NEW.resource_id)) THEN
    RETURN NEW;
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed'
     AND (SELECT r.capacity FROM public.resources r WHERE r.id = NEW.resource_id) > 1 THEN
    RAISE 'write bookings of a resource with several seats in a READ COMMITTED transaction'
      USING ERRCODE = 'feature_not_supported';
  END IF;
  NEW.seat := public.free_seat(NEW.resource_id, NEW.blocks_from, NEW.blocks_until, NEW.id, NEW.seat);
  IF NEW.seat IS NULL THEN
    NEW.seat := 1;
    IF TG_OP = 'INSERT' AND 1 NOT IN (
      SELECT public.taken_seats(NEW.resource_id, NEW.blocks_from, NEW.blocks_until, NEW.id)) THEN
      RAISE 'all seats are taken'
        USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'booking_has_a_seat', TABLE = 'bookings';
    END IF;
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION check_seats() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  seats integer := (SELECT r.capacity FROM public.resources r WHERE r.id = NEW.resource_id);
BEGIN
  IF public.is_live(OLD.status) AND OLD.resource_id = NEW.resource_id
     AND OLD.blocks_from = NEW.blocks_from AND OLD.blocks_until >= NEW.blocks_until THEN
    RETURN NULL;
  END IF;
  -- If the check was deferred, the booking may have moved again; then its last change is checked. One whose seat is taken
  -- is left to booking_slot_free, which may be deferred on its own.
  IF public.most_at_once(NEW.resource_id, NEW.blocks_from, NEW.blocks_until, NEW.id) >= seats
     AND EXISTS (
       SELECT FROM public.bookings b
        WHERE b.id = NEW.id AND public.is_live(b.status)
          AND (b.resource_id, b.blocks_from, b.blocks_until) = (NEW.resource_id, NEW.blocks_from, NEW.blocks_until)
          AND b.seat NOT IN (SELECT public.taken_seats(b.resource_id, b.blocks_from, b.blocks_until, b.id))) THEN
    RAISE 'all seats are taken'
      USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'booking_has_a_seat', TABLE = 'bookings';
  END IF;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION expire_holds() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  expired bigint[] := ARRAY(
    SELECT b.id FROM public.bookings b
     WHERE b.resource_id = NEW.resource_id AND b.seat = NEW.seat AND b.id <> NEW.id
       AND b.status = 'pending' AND public.is_expired(b.expires_at, public.booking_now())
       AND tstzrange(b.blocks_from, b.blocks_until) && tstzrange(NEW.blocks_from, NEW.blocks_until));
  actor_id text := current_setting('bookit.actor_id', true);
  actor text := current_setting('bookit.actor', true);
  door text := current_setting('bookit.door', true);
  reason text := current_setting('bookit.reason', true);
  notify text := current_setting('bookit.notify_customer', true);
BEGIN
  IF cardinality(expired) > 0 THEN
    PERFORM set_config('bookit.actor_id', '', true), set_config('bookit.actor', 'nobody', true),
            set_config('bookit.door', 'clock', true), set_config('bookit.reason', 'The hold expired.', true),
            set_config('bookit.notify_customer', '', true);
    UPDATE public.bookings SET status = 'cancelled' WHERE id = ANY (expired);
    PERFORM set_config('bookit.actor_id', coalesce(actor_id, ''), true),
            set_config('bookit.actor', coalesce(actor, ''), true),
            set_config('bookit.door', coalesce(door, ''), true),
            set_config('bookit.reason', coalesce(reason, ''), true),
            set_config('bookit.notify_customer', coalesce(notify, ''), true);
  END IF;
  RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER booking_has_a_seat
  AFTER UPDATE OF status, resource_id, blocks_from, blocks_until ON bookings
  DEFERRABLE INITIALLY IMMEDIATE FOR EACH ROW WHEN (is_live(NEW.status)) EXECUTE FUNCTION check_seats();
"""

FORMER_FUNCTIONS = r"""
DROP TRIGGER booking_has_a_seat ON bookings;
DROP FUNCTION check_seats();

CREATE OR REPLACE FUNCTION assign_seat() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(least(OLD.resource_id, NEW.resource_id));
  IF OLD.resource_id <> NEW.resource_id THEN
    PERFORM pg_advisory_xact_lock(greatest(OLD.resource_id, NEW.resource_id));
  END IF;
  IF TG_OP = 'DELETE' THEN
    RETURN OLD;
  END IF;
  IF NOT public.is_live(NEW.status) THEN
    NEW.seat := coalesce(NEW.seat, 1);
    RETURN NEW;
  END IF;
  IF public.is_live(OLD.status) AND (OLD.resource_id, OLD.seat) = (NEW.resource_id, NEW.seat)
     AND ((OLD.blocks_from, OLD.blocks_until) = (NEW.blocks_from, NEW.blocks_until)
          OR NEW.seat <= (SELECT r.capacity FROM public.resources r WHERE r.id = NEW.resource_id)) THEN
    RETURN NEW;
  END IF;
  NEW.seat := coalesce(public.free_seat(NEW.resource_id, NEW.blocks_from, NEW.blocks_until, NEW.id, NEW.seat), 1);
  RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION free_seat(
  resource bigint, since timestamptz, until timestamptz, except_booking bigint, preferred smallint
) RETURNS smallint LANGUAGE plpgsql AS $$
BEGIN
  RETURN (
    SELECT seat FROM public.resources r CROSS JOIN generate_series(1, r.capacity) AS seat
     WHERE r.id = resource
       AND seat NOT IN (SELECT taken FROM public.taken_seats(resource, since, until, except_booking) AS taken)
     ORDER BY coalesce(seat = preferred, false) DESC, seat
     LIMIT 1);
END $$;

CREATE OR REPLACE FUNCTION expire_holds() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  expired bigint[] := ARRAY(
    SELECT b.id FROM public.bookings b
     WHERE b.resource_id = NEW.resource_id AND b.seat = NEW.seat AND b.id <> NEW.id
       AND b.status = 'pending' AND public.is_expired(b.expires_at, public.booking_now())
       AND tstzrange(b.blocks_from, b.blocks_until) && tstzrange(NEW.blocks_from, NEW.blocks_until));
  actor_id text := current_setting('bookit.actor_id', true);
  actor text := current_setting('bookit.actor', true);
  door text := current_setting('bookit.door', true);
  reason text := current_setting('bookit.reason', true);
  notify text := current_setting('bookit.notify_customer', true);
BEGIN
  IF cardinality(expired) > 0 THEN
    PERFORM set_config('bookit.actor_id', '', true), set_config('bookit.actor', 'nobody', true),
            set_config('bookit.door', 'clock', true), set_config('bookit.reason', 'The hold ran out.', true),
            set_config('bookit.notify_customer', '', true);
    UPDATE public.bookings SET status = 'cancelled' WHERE id = ANY (expired);
    PERFORM set_config('bookit.actor_id', coalesce(actor_id, ''), true),
            set_config('bookit.actor', coalesce(actor, ''), true),
            set_config('bookit.door', coalesce(door, ''), true),
            set_config('bookit.reason', coalesce(reason, ''), true),
            set_config('bookit.notify_customer', coalesce(notify, ''), true);
  END IF;
  RETURN NULL;
END $$;

DROP FUNCTION most_at_once(bigint, timestamptz, timestamptz, bigint);

CREATE OR REPLACE FUNCTION earliest_start(moment timestamptz) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
  RETURN moment - interval '2 days';
"""

WITHOUT_CONSTRAINTS = """
ALTER TABLE opening_hours
  DROP CONSTRAINT opening_hours_have_no_24_00,
  DROP CONSTRAINT opening_hours_are_in_whole_minutes;
ALTER TABLE calendar_exceptions DROP CONSTRAINT exception_is_in_whole_minutes;
ALTER TABLE bookings
  DROP CONSTRAINT booking_is_in_whole_minutes,
  DROP CONSTRAINT booking_blocks_up_to_a_day_around,
  DROP CONSTRAINT booking_lasts_a_minute_to_a_day;
"""


def upgrade() -> None:
    for script in (CUT_SECONDS, CONSTRAINTS, FUNCTIONS):
        op.execute(script)


def downgrade() -> None:
    for script in (FORMER_FUNCTIONS, WITHOUT_CONSTRAINTS):
        op.execute(script)
