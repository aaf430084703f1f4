"""Visits last up to 60 days.

Why: a van is rented for ten days, and a course block takes a week. Days are by the clock of each resource, so the
choice of a resource is told the end on each.

The running version does not survive this: it books with the former choice of a resource.
"""

from alembic import op

revision = "0017"
down_revision = "0016"

FUNCTIONS = r"""
CREATE OR REPLACE FUNCTION earliest_start(moment timestamptz) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
  RETURN moment - interval '62 days';

CREATE FUNCTION is_long(start_time timestamptz, end_time timestamptz) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN end_time - start_time > interval '26 hours';

CREATE FUNCTION earliest_short_start(moment timestamptz) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
  RETURN moment - interval '50 hours';

CREATE FUNCTION bookings_reaching(moment timestamptz) RETURNS SETOF bookings LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM public.bookings WHERE start_time >= public.earliest_short_start(moment)
  UNION ALL
  SELECT * FROM public.bookings
   WHERE public.is_long(start_time, end_time) AND end_time > moment - interval '26 hours'
     AND start_time >= public.earliest_start(moment) AND start_time < public.earliest_short_start(moment)
$$;

DROP FUNCTION resource_for_booking(bigint[], timestamptz, timestamptz);

CREATE FUNCTION resource_for_booking(candidates bigint[], since timestamptz, ends timestamptz[])
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  candidate bigint;
  until timestamptz;
  chosen bigint := candidates[1];
BEGIN
  IF coalesce(cardinality(candidates), 0) < 2 THEN
    RETURN chosen;
  END IF;
  IF candidates <> ARRAY(SELECT unnest(candidates) ORDER BY 1) THEN
    PERFORM pg_advisory_xact_lock(id) FROM (SELECT unnest(candidates) AS id ORDER BY 1) AS in_order;
  END IF;
  FOR candidate, until IN SELECT * FROM unnest(candidates, ends) LOOP
    IF public.free_seat(candidate, since, until, NULL, NULL) IS NOT NULL THEN
      PERFORM pg_advisory_xact_lock(candidate);
      chosen := candidate;
      EXIT WHEN public.free_seat(candidate, since, until, NULL, NULL) IS NOT NULL;
    END IF;
  END LOOP;
  RETURN chosen;
END $$;
"""

TABLES = r"""
ALTER TABLE services
  ADD COLUMN binds_hours_at_ends boolean NOT NULL DEFAULT false,
  DROP CONSTRAINT service_lasts_up_to_a_day,
  ADD CONSTRAINT service_lasts_up_to_60_days CHECK (duration_minutes BETWEEN 1 AND 86400);
ALTER TABLE bookings
  DROP CONSTRAINT booking_lasts_a_minute_to_a_day,
  ADD CONSTRAINT booking_lasts_a_minute_to_60_days
    CHECK (end_time - start_time BETWEEN interval '1 minute' AND interval '60 days 3 hours');
CREATE INDEX bookings_that_are_long ON bookings (start_time, end_time, resource_id) WHERE is_long(start_time, end_time);
"""

# Longer services and visits stop this until they are shorter or gone.
FORMER_TABLES = r"""
DROP INDEX bookings_that_are_long;
ALTER TABLE bookings
  DROP CONSTRAINT booking_lasts_a_minute_to_60_days,
  ADD CONSTRAINT booking_lasts_a_minute_to_a_day
    CHECK (end_time - start_time BETWEEN interval '1 minute' AND interval '25 hours');
ALTER TABLE services
  DROP COLUMN binds_hours_at_ends,
  DROP CONSTRAINT service_lasts_up_to_60_days,
  ADD CONSTRAINT service_lasts_up_to_a_day CHECK (duration_minutes BETWEEN 1 AND 1440);
"""

FORMER_FUNCTIONS = r"""
DROP FUNCTION resource_for_booking(bigint[], timestamptz, timestamptz[]);

CREATE FUNCTION resource_for_booking(candidates bigint[], since timestamptz, until timestamptz)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  candidate bigint;
  chosen bigint := candidates[1];
BEGIN
  IF coalesce(cardinality(candidates), 0) < 2 THEN
    RETURN chosen;
  END IF;
  IF candidates <> ARRAY(SELECT unnest(candidates) ORDER BY 1) THEN
    PERFORM pg_advisory_xact_lock(id) FROM (SELECT unnest(candidates) AS id ORDER BY 1) AS in_order;
  END IF;
  FOREACH candidate IN ARRAY candidates LOOP
    IF public.free_seat(candidate, since, until, NULL, NULL) IS NOT NULL THEN
      PERFORM pg_advisory_xact_lock(candidate);
      chosen := candidate;
      EXIT WHEN public.free_seat(candidate, since, until, NULL, NULL) IS NOT NULL;
    END IF;
  END LOOP;
  RETURN chosen;
END $$;

DROP FUNCTION bookings_reaching(timestamptz), earliest_short_start(timestamptz), is_long(timestamptz, timestamptz);

CREATE OR REPLACE FUNCTION earliest_start(moment timestamptz) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
  RETURN moment - interval '50 hours';
"""


def upgrade() -> None:
    for script in (FUNCTIONS, TABLES):
        op.execute(script)


def downgrade() -> None:
    for script in (FORMER_TABLES, FORMER_FUNCTIONS):
        op.execute(script)
