"""A customer holds and books only so much.

Why: one person without a past could hold every slot of two weeks, and hold it again when a hold ran out. Bookings and
holds that exist stay as they are. The running version survives it: it sets no limits, so none apply.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

CREATE = r"""
CREATE FUNCTION limit_bookings() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  limits int[] := string_to_array(current_setting('bookit.booking_limits'), ',');
  held int;
  booked int;
  kept int;
  most_held int;
  most_booked int;
BEGIN
  IF limits[2] = 0 AND NEW.expires_at IS NULL THEN
    RETURN NULL;
  END IF;
  PERFORM pg_advisory_xact_lock(public.customer_lock(NEW.user_id));
  IF NEW.expires_at IS NOT NULL AND limits[1] > 0 AND EXISTS (
    SELECT FROM public.bookings b
     WHERE b.user_id = NEW.user_id AND b.id <> NEW.id AND b.expires_at > public.booking_now() - interval '1 hour'
       AND b.start_time >= public.earliest_start(NEW.start_time) AND b.start_time < NEW.end_time
       AND b.end_time > NEW.start_time) THEN
    RAISE 'the customer has held this time within the last hour'
      USING ERRCODE = 'exclusion_violation', TABLE = 'bookings', CONSTRAINT = 'customer_holds_a_time_once';
  END IF;
  SELECT count(b.expires_at), count(*) INTO held, booked FROM public.bookings b
   WHERE b.user_id = NEW.user_id AND b.start_time > public.booking_now()
     AND public.blocks_at(b.status, b.expires_at, public.booking_now());
  IF held <= limits[1] AND booked <= limits[2] THEN
    RETURN NULL;
  END IF;
  SELECT count(*) INTO kept FROM (
    SELECT FROM public.bookings b WHERE b.user_id = NEW.user_id AND b.status = 'completed' LIMIT 40) AS visits;
  most_held := greatest(limits[1], least(limits[1] + kept, 10));
  most_booked := greatest(limits[2], least(limits[2] + 5 * kept, 200));
  IF NEW.expires_at IS NOT NULL AND limits[1] > 0 AND held > most_held THEN
    RAISE 'the customer has too many holds'
      USING ERRCODE = 'exclusion_violation', TABLE = 'bookings', CONSTRAINT = 'customer_has_few_holds',
            DETAIL = jsonb_build_object('most', most_held);
  ELSIF limits[2] > 0 AND booked > most_booked THEN
    RAISE 'the customer has too many bookings to come'
      USING ERRCODE = 'exclusion_violation', TABLE = 'bookings', CONSTRAINT = 'customer_has_few_bookings',
            DETAIL = jsonb_build_object('most', most_booked);
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER customer_is_limited AFTER INSERT ON bookings
  FOR EACH ROW WHEN (is_live(NEW.status) AND current_setting('bookit.booking_limits', true) <> '')
  EXECUTE FUNCTION limit_bookings();
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute("DROP TRIGGER customer_is_limited ON bookings; DROP FUNCTION limit_bookings()")
