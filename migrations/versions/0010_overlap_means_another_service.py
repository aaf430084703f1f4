"""An agreed overlap can be with another service only.

Why: a customer's request that said `"overlap": true` booked the same service twice at one time when it was repeated.

The running version survives this: it agrees to every overlap, as before.
"""

from alembic import op

revision = "0010"
down_revision = "0009"

NEW = r"""
CREATE OR REPLACE FUNCTION refuse_second_visit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  before tstzrange := 'empty';
  other record;
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.user_id = NEW.user_id
     AND public.blocks_at(OLD.status, OLD.expires_at, public.booking_now()) THEN
    before := tstzrange(OLD.start_time, OLD.end_time);
  END IF;
  IF before @> tstzrange(NEW.start_time, NEW.end_time)
     OR NOT public.blocks_at(NEW.status, NEW.expires_at, public.booking_now()) THEN
    RETURN NULL;
  END IF;
  PERFORM pg_advisory_xact_lock(public.customer_lock(NEW.user_id));
  IF current_setting('bookit.allows_overlap', true) = 'true' THEN
    RETURN NULL;
  END IF;
  SELECT b.id, b.service_id, b.start_time, b.end_time, u.name AS customer, s.title AS service,
         to_char(b.start_time AT TIME ZONE r.timezone, 'HH24:MI "on" Dy FMDD Mon')
           || CASE WHEN r.name <> s.title THEN ' with ' || r.name ELSE '' END AS place
    INTO other
    FROM public.bookings b JOIN public.users u ON u.id = b.user_id JOIN public.services s ON s.id = b.service_id
    JOIN public.resources r ON r.id = b.resource_id
   WHERE b.user_id = NEW.user_id AND b.id <> NEW.id
     AND b.start_time >= public.earliest_start(NEW.start_time) AND b.start_time < NEW.end_time
     AND b.end_time > NEW.start_time AND NOT before && tstzrange(b.start_time, b.end_time)
     AND (b.service_id = NEW.service_id
          OR current_setting('bookit.allows_overlap', true) IS DISTINCT FROM 'another service')
     AND public.blocks_at(b.status, b.expires_at, public.booking_now())
   ORDER BY b.service_id = NEW.service_id DESC, b.start_time, b.id
   LIMIT 1;
  IF FOUND THEN
    RAISE 'the customer has another visit at this time; SET bookit.allows_overlap = true if both are meant'
      USING ERRCODE = 'exclusion_violation', TABLE = 'bookings',
            CONSTRAINT = CASE WHEN other.service_id = NEW.service_id THEN 'customer_books_a_service_once_at_a_time'
                              ELSE 'customer_has_one_visit_at_a_time' END,
            DETAIL = jsonb_build_object(
              'customer', CASE WHEN current_setting('bookit.actor_id', true) = NEW.user_id::text THEN 'You'
                               ELSE other.customer END,
              'has', CASE WHEN current_setting('bookit.actor_id', true) = NEW.user_id::text THEN 'have' ELSE 'has' END,
              'service', other.service, 'when', other.place,
              'booking', jsonb_build_object('id', other.id, 'service_id', other.service_id,
                                            'start_time', other.start_time, 'end_time', other.end_time));
  END IF;
  RETURN NULL;
END $$;
"""

OLD = r"""
CREATE OR REPLACE FUNCTION refuse_second_visit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  before tstzrange := 'empty';
  other record;
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.user_id = NEW.user_id
     AND public.blocks_at(OLD.status, OLD.expires_at, public.booking_now()) THEN
    before := tstzrange(OLD.start_time, OLD.end_time);
  END IF;
  IF before @> tstzrange(NEW.start_time, NEW.end_time)
     OR NOT public.blocks_at(NEW.status, NEW.expires_at, public.booking_now()) THEN
    RETURN NULL;
  END IF;
  PERFORM pg_advisory_xact_lock(public.customer_lock(NEW.user_id));
  IF current_setting('bookit.allows_overlap', true) = 'true' THEN
    RETURN NULL;
  END IF;
  SELECT b.id, b.service_id, b.start_time, b.end_time, u.name AS customer, s.title AS service,
         to_char(b.start_time AT TIME ZONE r.timezone, 'HH24:MI "on" Dy FMDD Mon')
           || CASE WHEN r.name <> s.title THEN ' with ' || r.name ELSE '' END AS place
    INTO other
    FROM public.bookings b JOIN public.users u ON u.id = b.user_id JOIN public.services s ON s.id = b.service_id
    JOIN public.resources r ON r.id = b.resource_id
   WHERE b.user_id = NEW.user_id AND b.id <> NEW.id
     AND b.start_time >= public.earliest_start(NEW.start_time) AND b.start_time < NEW.end_time
     AND b.end_time > NEW.start_time AND NOT before && tstzrange(b.start_time, b.end_time)
     AND public.blocks_at(b.status, b.expires_at, public.booking_now())
   ORDER BY b.service_id = NEW.service_id DESC, b.start_time, b.id
   LIMIT 1;
  IF FOUND THEN
    RAISE 'the customer has another visit at this time; SET bookit.allows_overlap = true if both are meant'
      USING ERRCODE = 'exclusion_violation', TABLE = 'bookings',
            CONSTRAINT = CASE WHEN other.service_id = NEW.service_id THEN 'customer_books_a_service_once_at_a_time'
                              ELSE 'customer_has_one_visit_at_a_time' END,
            DETAIL = jsonb_build_object(
              'customer', CASE WHEN current_setting('bookit.actor_id', true) = NEW.user_id::text THEN 'You'
                               ELSE other.customer END,
              'has', CASE WHEN current_setting('bookit.actor_id', true) = NEW.user_id::text THEN 'have' ELSE 'has' END,
              'service', other.service, 'when', other.place,
              'booking', jsonb_build_object('id', other.id, 'service_id', other.service_id,
                                            'start_time', other.start_time, 'end_time', other.end_time));
  END IF;
  RETURN NULL;
END $$;
"""


def upgrade() -> None:
    op.execute(NEW)


def downgrade() -> None:
    op.execute(OLD)
