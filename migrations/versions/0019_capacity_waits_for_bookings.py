"""A lowered capacity waits for bookings, and an expired hold comes back only to a free seat.

Why: a booking that was being written while a capacity was lowered counted by the old one. An expired hold came back to a
resource that has fewer seats by now. And a visit that takes a resource at no time, as its pause lasts longer, was refused
where it needs more seats than there are.

The running version survives this: it writes as before.
"""

from alembic import op

revision = "0019"
down_revision = "0018"

LOWERED_CAPACITY = r"""
-- A capacity that becomes lower waits for the bookings that are being written, and those that follow wait until it is
-- committed and count by it. The lock on the row of the resource does not do it: a booking needs the row, but only its id.
-- All resources of a statement are locked in the order of their ids, as a booking locks its own.
CREATE FUNCTION lock_lowered_resources() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(id) FROM (
    SELECT n.id FROM before o JOIN after n USING (id) WHERE n.capacity < o.capacity ORDER BY n.id) AS in_order;
  RETURN NULL;
END $$;

CREATE TRIGGER lock_lowered_resources AFTER UPDATE ON resources
  REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION lock_lowered_resources();
"""

RETURN_OF_HOLD = r"""
-- An expired hold takes no seat, so its resource may have been given fewer seats meanwhile. It comes back, confirmed or with
-- another expiry, only where there is one. Its claims on other resources than before are counted as they move.
CREATE FUNCTION check_seats_of_hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF public.is_expired(OLD.expires_at, public.booking_now()) AND NOT public.is_expired(NEW.expires_at, public.booking_now())
     AND EXISTS (
       SELECT FROM public.claims c
        WHERE c.booking_id = NEW.id AND c.is_blocking AND c.since < c.until
          AND c.resource_id = (NEW.resource_id || NEW.other_resource_ids)[c.position]
          AND public.free_seat(c.resource_id, c.since, c.until, c.booking_id, c.number) IS NULL) THEN
    RAISE 'all seats are taken'
      USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'booking_has_a_seat', TABLE = 'claims';
  END IF;
  RETURN NULL;
END $$;

-- Its name comes after "RI_...", the foreign key that carries another time over, and before the triggers that look at
-- customers.
CREATE TRIGGER "Return_of_hold" AFTER UPDATE OF expires_at ON bookings
  FOR EACH ROW WHEN (
    OLD.is_blocking AND NEW.is_blocking AND OLD.expires_at IS NOT NULL AND NEW.expires_at IS DISTINCT FROM OLD.expires_at)
  EXECUTE FUNCTION check_seats_of_hold();
"""

REPLACED = r"""
CREATE OR REPLACE FUNCTION has_room(resource bigint, seats integer, times tstzmultirange) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT NOT EXISTS (
    SELECT FROM unnest(has_room.times) AS part
     WHERE public.most_at_once(r.id, lower(part), upper(part), NULL, NULL) + has_room.seats > r.capacity)
    FROM public.resources r WHERE r.id = has_room.resource
$$;
"""

PREVIOUS = r"""
CREATE OR REPLACE FUNCTION has_room(resource bigint, seats integer, times tstzmultirange) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT r.capacity >= has_room.seats AND NOT EXISTS (
    SELECT FROM unnest(has_room.times) AS part
     WHERE public.most_at_once(r.id, lower(part), upper(part), NULL, NULL) + has_room.seats > r.capacity)
    FROM public.resources r WHERE r.id = has_room.resource
$$;
"""

REMOVE = r"""
DROP TRIGGER "Return_of_hold" ON bookings;
DROP TRIGGER lock_lowered_resources ON resources;
DROP FUNCTION check_seats_of_hold(), lock_lowered_resources();
"""


def upgrade() -> None:
    for statements in (LOWERED_CAPACITY, RETURN_OF_HOLD, REPLACED):
        op.execute(statements)


def downgrade() -> None:
    for statements in (REMOVE, PREVIOUS):
        op.execute(statements)
