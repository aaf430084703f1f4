"""A hold that has run out blocks nobody, and a booking goes to a resource that is open.

Why: ``resource_for_booking`` chose among all resources of a service; now the query that judges opening hours and
exceptions hands it those that are open. Expired holds are cancelled by whoever comes to sit where they sat.

The running version does not survive this: it calls ``resource_for_booking`` with a service's number. Stop it first.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

FORWARD = """
CREATE FUNCTION the_moment() RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT coalesce(nullif(current_setting('bookit.now', true), '')::timestamptz, now())
$$;
CREATE OR REPLACE FUNCTION booking_place_is_free(resource bigint, place integer, since timestamptz, until timestamptz, but_for bigint)
RETURNS boolean LANGUAGE sql VOLATILE AS $$
  SELECT NOT EXISTS (
    SELECT FROM public.bookings b
     WHERE b.resource_id = resource AND b.lane = place AND b.id IS DISTINCT FROM but_for
       AND tstzrange(b.blocks_from, b.blocks_until) && tstzrange(since, until)
       AND b.status IN ('pending', 'confirmed')
       AND (b.expires_at IS NULL OR b.expires_at > public.the_moment()))
$$;
DROP FUNCTION resource_for_booking(bigint, bigint, timestamptz, timestamptz);
CREATE FUNCTION resource_for_booking(candidates bigint[], since timestamptz, until timestamptz)
RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
  IF cardinality(candidates) < 2 THEN
    RETURN candidates[1];
  END IF;
  PERFORM pg_advisory_xact_lock(candidate) FROM (SELECT unnest(candidates) AS candidate ORDER BY 1) AS in_order;
  RETURN coalesce(
    (SELECT r.id
       FROM unnest(candidates) WITH ORDINALITY AS candidate (id, at) JOIN public.resources r USING (id)
      CROSS JOIN generate_series(1, r.capacity) AS place
      WHERE public.booking_place_is_free(r.id, place, since, until, NULL)
      ORDER BY candidate.at, place LIMIT 1),
    candidates[1]);
END $$;
CREATE INDEX bookings_that_expire ON bookings (resource_id, expires_at)
  WHERE status = 'pending' AND expires_at IS NOT NULL;
CREATE FUNCTION booking_lets_go_of_holds() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  over bigint[] := ARRAY(
    SELECT b.id FROM public.bookings b
     WHERE b.resource_id = NEW.resource_id AND b.lane = NEW.lane AND b.id <> NEW.id
       AND b.status = 'pending' AND b.expires_at <= public.the_moment()
       AND tstzrange(b.blocks_from, b.blocks_until) && tstzrange(NEW.blocks_from, NEW.blocks_until));
  actor_id text := current_setting('bookit.actor_id', true);
  actor text := current_setting('bookit.actor', true);
  door text := current_setting('bookit.door', true);
  reason text := current_setting('bookit.reason', true);
BEGIN
  IF cardinality(over) > 0 THEN
    PERFORM set_config('bookit.actor_id', '', true), set_config('bookit.actor', 'nobody', true),
            set_config('bookit.door', 'clock', true), set_config('bookit.reason', 'The hold ran out.', true);
    UPDATE public.bookings SET status = 'cancelled' WHERE id = ANY (over);
    PERFORM set_config('bookit.actor_id', coalesce(actor_id, ''), true),
            set_config('bookit.actor', coalesce(actor, ''), true),
            set_config('bookit.door', coalesce(door, ''), true),
            set_config('bookit.reason', coalesce(reason, ''), true);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER "Booking_lets_go_of_holds"
  AFTER INSERT OR UPDATE OF status, resource_id, lane, blocks_from, blocks_until ON bookings
  FOR EACH ROW WHEN (NEW.status IN ('pending', 'confirmed')) EXECUTE FUNCTION booking_lets_go_of_holds();
"""
BACK = """
DROP TRIGGER "Booking_lets_go_of_holds" ON bookings;
DROP FUNCTION booking_lets_go_of_holds;
DROP INDEX bookings_that_expire;
DROP FUNCTION resource_for_booking(bigint[], timestamptz, timestamptz);
CREATE FUNCTION resource_for_booking(service bigint, asked_for bigint, since timestamptz, until timestamptz)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  candidates bigint[] := ARRAY(
    SELECT r.id FROM public.service_resources sr JOIN public.resources r ON r.id = sr.resource_id
     WHERE sr.service_id = service AND r.is_active AND (asked_for IS NULL OR r.id = asked_for) ORDER BY r.id);
BEGIN
  IF cardinality(candidates) < 2 THEN
    RETURN candidates[1];
  END IF;
  PERFORM pg_advisory_xact_lock(candidate) FROM unnest(candidates) AS candidate;
  RETURN coalesce(
    (SELECT r.id FROM public.resources r CROSS JOIN generate_series(1, r.capacity) AS place
      WHERE r.id = ANY (candidates) AND public.booking_place_is_free(r.id, place, since, until, NULL)
      ORDER BY r.id, place LIMIT 1),
    candidates[1]);
END $$;
CREATE OR REPLACE FUNCTION booking_place_is_free(resource bigint, place integer, since timestamptz, until timestamptz, but_for bigint)
RETURNS boolean LANGUAGE sql VOLATILE AS $$
  SELECT NOT EXISTS (
    SELECT FROM public.bookings b
     WHERE b.resource_id = resource AND b.lane = place AND b.id IS DISTINCT FROM but_for
       AND tstzrange(b.blocks_from, b.blocks_until) && tstzrange(since, until)
       AND b.status IN ('pending', 'confirmed'))
$$;
DROP FUNCTION the_moment;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(FORWARD)


def downgrade() -> None:
    op.get_bind().exec_driver_sql(BACK)
