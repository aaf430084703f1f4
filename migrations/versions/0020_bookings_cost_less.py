"""Bookings cost PostgreSQL less time.

Why: PostgreSQL read and inlined two functions in SQL for each claim, and ran a query for each condition that could have
been a comparison. What they decide stays the same.

The running version survives this.
"""

from alembic import op

revision = "0020"
down_revision = "0019"

NEW = r"""
CREATE OR REPLACE FUNCTION minutes_after(moment timestamptz, minutes integer) RETURNS timestamptz
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  RETURN moment + make_interval(mins => minutes);
END $$;

CREATE OR REPLACE FUNCTION are_different(ids bigint[]) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  RETURN (SELECT count(DISTINCT id) = count(*) AND count(id) = count(*) FROM unnest(ids) AS id);
END $$;

CREATE OR REPLACE FUNCTION free_seat(
  resource bigint, since timestamptz, until timestamptz, except_booking bigint, except_number smallint
) RETURNS smallint LANGUAGE plpgsql AS $$
DECLARE
  taken smallint[];
  seats integer;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    IF (SELECT r.capacity FROM public.resources r WHERE r.id = resource) > 1 THEN
      RAISE 'write bookings of a resource with several seats in a READ COMMITTED transaction'
        USING ERRCODE = 'feature_not_supported';
    END IF;
  END IF;
  taken := ARRAY(
    SELECT t.seat FROM public.taken_seats(resource, since, until, except_booking, except_number) AS t (seat));
  IF taken = '{}' THEN
    RETURN 1;
  END IF;
  seats := (SELECT r.capacity FROM public.resources r WHERE r.id = resource);
  IF cardinality(taken) >= seats
     AND public.most_at_once(resource, since, until, except_booking, except_number) >= seats THEN
    RETURN NULL;
  END IF;
  RETURN (
    SELECT seat FROM generate_series(1, greatest(seats, cardinality(taken) + 1)) AS seat
     WHERE seat <> ALL (taken) ORDER BY seat LIMIT 1);
END $$;

CREATE OR REPLACE FUNCTION resource_for_booking(candidates bigint[], since timestamptz, ends timestamptz[])
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  candidate bigint;
  chosen bigint := candidates[1];
BEGIN
  IF coalesce(cardinality(candidates), 0) < 2 THEN
    RETURN chosen;
  END IF;
  FOR n IN 2 .. cardinality(candidates) LOOP
    IF candidates[n] < candidates[n - 1] THEN
      PERFORM pg_advisory_xact_lock(id) FROM (SELECT unnest(candidates) AS id ORDER BY 1) AS in_order;
      EXIT;
    END IF;
  END LOOP;
  FOR n IN 1 .. cardinality(candidates) LOOP
    candidate := candidates[n];
    IF public.free_seat(candidate, since, ends[n], NULL, NULL) IS NOT NULL THEN
      PERFORM pg_advisory_xact_lock(candidate);
      chosen := candidate;
      EXIT WHEN public.free_seat(candidate, since, ends[n], NULL, NULL) IS NOT NULL;
    END IF;
  END LOOP;
  RETURN chosen;
END $$;

CREATE OR REPLACE FUNCTION refuse_second_visit(booking bookings, before tstzrange) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  second public.bookings;
  other record;
BEGIN
  IF before @> tstzrange(booking.start_time, booking.end_time)
     OR NOT public.blocks_at(booking.status, booking.expires_at, public.booking_now()) THEN
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock(public.customer_lock(booking.user_id));
  IF current_setting('bookit.allows_overlap', true) = 'true' THEN
    RETURN;
  END IF;
  SELECT b.* INTO second FROM public.bookings b
   WHERE b.user_id = booking.user_id AND b.id <> booking.id
     AND b.start_time >= public.earliest_start(booking.start_time) AND b.start_time < booking.end_time
     AND b.end_time > booking.start_time AND NOT before && tstzrange(b.start_time, b.end_time)
     AND (b.service_id = booking.service_id
          OR current_setting('bookit.allows_overlap', true) IS DISTINCT FROM 'another service')
     AND public.blocks_at(b.status, b.expires_at, public.booking_now())
   ORDER BY b.service_id = booking.service_id DESC, b.start_time, b.id
   LIMIT 1;
  IF FOUND THEN
    IF EXISTS (
      SELECT FROM public.claims c
       WHERE c.booking_id = booking.id AND c.is_blocking AND c.since < c.until
         AND public.free_seat(c.resource_id, c.since, c.until, c.booking_id, c.number) IS NULL) THEN
      RAISE 'the slot is taken'
        USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'booking_slot_free', TABLE = 'claims';
    END IF;
    SELECT u.name AS customer, s.title AS service,
           to_char(second.start_time AT TIME ZONE r.timezone, 'HH24:MI "on" Dy FMDD Mon')
             || CASE WHEN r.name <> s.title THEN ' with ' || r.name ELSE '' END AS place
      INTO other
      FROM public.users u, public.services s, public.resources r
     WHERE u.id = second.user_id AND s.id = second.service_id AND r.id = second.resource_id;
    RAISE 'the customer has another visit at this time; SET bookit.allows_overlap = true if both are meant'
      USING ERRCODE = 'exclusion_violation', TABLE = 'bookings',
            CONSTRAINT = CASE WHEN second.service_id = booking.service_id THEN 'customer_books_a_service_once_at_a_time'
                              ELSE 'customer_has_one_visit_at_a_time' END,
            DETAIL = jsonb_build_object(
              'customer', CASE WHEN current_setting('bookit.actor_id', true) = booking.user_id::text THEN 'You'
                               ELSE other.customer END,
              'has', CASE WHEN current_setting('bookit.actor_id', true) = booking.user_id::text THEN 'have' ELSE 'has' END,
              'service', other.service, 'when', other.place,
              'booking', jsonb_build_object('id', second.id, 'service_id', second.service_id,
                                            'start_time', second.start_time, 'end_time', second.end_time));
  END IF;
END $$;

CREATE OR REPLACE FUNCTION resources_for_visit(
  positions integer[], ids bigint[], seats integer[], times tstzmultirange[], ends timestamptz[], roles bigint)
RETURNS bigint[] LANGUAGE plpgsql STRICT AS $$
DECLARE
  rooms boolean[] := array_fill(NULL::boolean, ARRAY[cardinality(ids)]);
  has_all boolean;
  chosen bigint[];
BEGIN
  PERFORM pg_advisory_xact_lock(id) FROM (SELECT DISTINCT unnest(ids) AS id ORDER BY 1) AS in_order;
  FOR n IN 1 .. cardinality(ids) LOOP
    WHILE positions[n] = 1 AND rooms[n] IS NOT FALSE LOOP
      chosen := (
        SELECT public.first_combination(ARRAY[ids[n]], array_agg(c.position ORDER BY c.number),
                                        array_agg(c.id ORDER BY c.number), roles)
          FROM unnest(positions, ids, ends, rooms) WITH ORDINALITY AS c (position, id, ends, has_room, number)
         WHERE c.has_room IS NOT FALSE AND c.ends = resources_for_visit.ends[n]);
      EXIT WHEN chosen IS NULL;
      has_all := true;
      FOR m IN 1 .. cardinality(ids) LOOP
        IF ids[m] = chosen[positions[m]] AND ends[m] = ends[n] THEN
          rooms[m] := coalesce(rooms[m], public.has_room(ids[m], seats[m], times[m]));
          has_all := has_all AND rooms[m];
        END IF;
      END LOOP;
      IF has_all THEN
        RETURN chosen;
      END IF;
    END LOOP;
  END LOOP;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION add_claims_of_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.seats = 1 AND current_setting('transaction_isolation') = 'read committed' THEN
    IF NEW.other_resource_ids = '{}' THEN
      INSERT INTO public.claims
        (booking_id, number, position, role, resource_id, seat, part, is_blocking, start_time, blocks_from, blocks_until)
      SELECT NEW.id, 1, 1, s.role, NEW.resource_id, 1, 1, NEW.is_blocking, NEW.start_time, NEW.blocks_from, NEW.blocks_until
        FROM public.services s
       WHERE s.id = NEW.service_id AND s.free_from_minutes IS NULL AND s.free_until_minutes IS NULL
         AND NOT EXISTS (SELECT FROM public.service_needs n WHERE n.service_id = s.id)
         AND NOT (NEW.is_blocking AND EXISTS (
           SELECT FROM public.claims c
            WHERE c.resource_id = NEW.resource_id AND c.is_blocking
              AND tstzrange(c.since, c.until) && tstzrange(NEW.blocks_from, NEW.blocks_until)));
    ELSE
      INSERT INTO public.claims
        (booking_id, number, position, role, resource_id, seat, part, is_blocking, start_time, blocks_from, blocks_until)
      SELECT NEW.id, need.position, need.position, need.role, need.resource_id, 1, 1, NEW.is_blocking, NEW.start_time,
             NEW.blocks_from, NEW.blocks_until
        FROM public.services s
       CROSS JOIN LATERAL (
         SELECT 1 AS position, s.role, NEW.resource_id
         UNION ALL
         SELECT n.position, n.role, NEW.other_resource_ids[n.position - 1]
           FROM public.service_needs n WHERE n.service_id = s.id
       ) AS need
       WHERE s.id = NEW.service_id AND s.free_from_minutes IS NULL AND s.free_until_minutes IS NULL
         AND (SELECT count(*) = cardinality(NEW.other_resource_ids) AND max(n.position) = 1 + count(*)
                     AND bool_and(n.seats = 1 AND n.free_from_minutes IS NULL AND n.free_until_minutes IS NULL)
                FROM public.service_needs n WHERE n.service_id = s.id)
         AND NOT (NEW.is_blocking AND EXISTS (
           SELECT FROM public.claims c
            WHERE c.resource_id = ANY (NEW.resource_id || NEW.other_resource_ids) AND c.is_blocking
              AND tstzrange(c.since, c.until) && tstzrange(NEW.blocks_from, NEW.blocks_until)));
    END IF;
    IF FOUND THEN
      RETURN NULL;
    END IF;
  END IF;
  PERFORM public.add_claims(NEW);
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION change_claims() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  booking public.bookings;
  rebuilt bigint[];  -- these take something else, and their claims are written anew
  resized bigint[];
  replaced bigint[];
  takes_time bigint[];
BEGIN
  SELECT array_agg(id) FILTER (WHERE is_rebuilt),
         array_agg(id) FILTER (WHERE is_resized AND NOT is_rebuilt),
         array_agg(id) FILTER (WHERE is_replaced AND NOT is_rebuilt),
         array_agg(id ORDER BY id) FILTER (
           WHERE is_blocking AND (is_rebuilt OR is_resized OR is_replaced OR is_timed))
    INTO rebuilt, resized, replaced, takes_time
    FROM (
      SELECT id, n.is_blocking,
             (o.service_id, cardinality(o.other_resource_ids)) <> (n.service_id, cardinality(n.other_resource_ids)) AS is_rebuilt,
             o.seats <> n.seats AS is_resized,
             (o.resource_id, o.other_resource_ids) <> (n.resource_id, n.other_resource_ids) AS is_replaced,
             (o.is_blocking, o.blocks_from, o.blocks_until) <> (n.is_blocking, n.blocks_from, n.blocks_until) AS is_timed
        FROM before o JOIN after n USING (id)
    ) AS changed;
  IF takes_time IS NOT NULL THEN
    PERFORM public.expire_holds(n.resource_id || n.other_resource_ids, n.blocks_from, n.blocks_until, n.id)
       FROM after n WHERE n.id = ANY (takes_time) ORDER BY n.id;
  END IF;
  IF rebuilt IS NOT NULL THEN
    DELETE FROM public.claims c WHERE c.booking_id = ANY (rebuilt);
  END IF;
  IF resized IS NOT NULL THEN
    PERFORM public.shrink_party(n) FROM after n WHERE n.id = ANY (resized);
  END IF;
  IF replaced IS NOT NULL THEN
    UPDATE public.claims c
       SET resource_id = CASE c.position WHEN 1 THEN n.resource_id ELSE n.other_resource_ids[c.position - 1] END
      FROM after n
     WHERE n.id = ANY (replaced) AND c.booking_id = n.id
       AND c.resource_id IS DISTINCT FROM CASE c.position WHEN 1 THEN n.resource_id ELSE n.other_resource_ids[c.position - 1] END;
  END IF;
  IF rebuilt IS NOT NULL OR resized IS NOT NULL THEN
    FOR booking IN SELECT n.* FROM after n WHERE n.id = ANY (rebuilt || resized) ORDER BY n.id LOOP
      IF booking.id = ANY (rebuilt) THEN
        PERFORM public.add_claims(booking);
      ELSE
        PERFORM public.grow_party(booking);
      END IF;
    END LOOP;
  END IF;
  RETURN NULL;
END $$;
"""

OLD = r"""
CREATE OR REPLACE FUNCTION minutes_after(moment timestamptz, minutes integer) RETURNS timestamptz
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN moment + make_interval(mins => minutes);

CREATE OR REPLACE FUNCTION are_different(ids bigint[]) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN (SELECT count(DISTINCT id) = count(*) AND count(id) = count(*) FROM unnest(ids) AS id);

CREATE OR REPLACE FUNCTION free_seat(
  resource bigint, since timestamptz, until timestamptz, except_booking bigint, except_number smallint
) RETURNS smallint LANGUAGE plpgsql AS $$
DECLARE
  taken smallint[] := ARRAY(
    SELECT t.seat FROM public.taken_seats(resource, since, until, except_booking, except_number) AS t (seat));
  seats integer;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed'
     AND (SELECT r.capacity FROM public.resources r WHERE r.id = resource) > 1 THEN
    RAISE 'write bookings of a resource with several seats in a READ COMMITTED transaction'
      USING ERRCODE = 'feature_not_supported';
  END IF;
  IF taken = '{}' THEN
    RETURN 1;
  END IF;
  seats := (SELECT r.capacity FROM public.resources r WHERE r.id = resource);
  IF cardinality(taken) >= seats
     AND public.most_at_once(resource, since, until, except_booking, except_number) >= seats THEN
    RETURN NULL;
  END IF;
  RETURN (
    SELECT seat FROM generate_series(1, greatest(seats, cardinality(taken) + 1)) AS seat
     WHERE seat <> ALL (taken) ORDER BY seat LIMIT 1);
END $$;

CREATE OR REPLACE FUNCTION resource_for_booking(candidates bigint[], since timestamptz, ends timestamptz[])
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

CREATE OR REPLACE FUNCTION refuse_second_visit(booking bookings, before tstzrange) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  other record;
BEGIN
  IF before @> tstzrange(booking.start_time, booking.end_time)
     OR NOT public.blocks_at(booking.status, booking.expires_at, public.booking_now()) THEN
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock(public.customer_lock(booking.user_id));
  IF current_setting('bookit.allows_overlap', true) = 'true' THEN
    RETURN;
  END IF;
  SELECT b.id, b.service_id, b.start_time, b.end_time, u.name AS customer, s.title AS service,
         to_char(b.start_time AT TIME ZONE r.timezone, 'HH24:MI "on" Dy FMDD Mon')
           || CASE WHEN r.name <> s.title THEN ' with ' || r.name ELSE '' END AS place
    INTO other
    FROM public.bookings b JOIN public.users u ON u.id = b.user_id JOIN public.services s ON s.id = b.service_id
    JOIN public.resources r ON r.id = b.resource_id
   WHERE b.user_id = booking.user_id AND b.id <> booking.id
     AND b.start_time >= public.earliest_start(booking.start_time) AND b.start_time < booking.end_time
     AND b.end_time > booking.start_time AND NOT before && tstzrange(b.start_time, b.end_time)
     AND (b.service_id = booking.service_id
          OR current_setting('bookit.allows_overlap', true) IS DISTINCT FROM 'another service')
     AND public.blocks_at(b.status, b.expires_at, public.booking_now())
   ORDER BY b.service_id = booking.service_id DESC, b.start_time, b.id
   LIMIT 1;
  IF FOUND THEN
    IF EXISTS (
      SELECT FROM public.claims c
       WHERE c.booking_id = booking.id AND c.is_blocking AND c.since < c.until
         AND public.free_seat(c.resource_id, c.since, c.until, c.booking_id, c.number) IS NULL) THEN
      RAISE 'the slot is taken'
        USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'booking_slot_free', TABLE = 'claims';
    END IF;
    RAISE 'the customer has another visit at this time; SET bookit.allows_overlap = true if both are meant'
      USING ERRCODE = 'exclusion_violation', TABLE = 'bookings',
            CONSTRAINT = CASE WHEN other.service_id = booking.service_id THEN 'customer_books_a_service_once_at_a_time'
                              ELSE 'customer_has_one_visit_at_a_time' END,
            DETAIL = jsonb_build_object(
              'customer', CASE WHEN current_setting('bookit.actor_id', true) = booking.user_id::text THEN 'You'
                               ELSE other.customer END,
              'has', CASE WHEN current_setting('bookit.actor_id', true) = booking.user_id::text THEN 'have' ELSE 'has' END,
              'service', other.service, 'when', other.place,
              'booking', jsonb_build_object('id', other.id, 'service_id', other.service_id,
                                            'start_time', other.start_time, 'end_time', other.end_time));
  END IF;
END $$;

CREATE OR REPLACE FUNCTION resources_for_visit(
  positions integer[], ids bigint[], seats integer[], times tstzmultirange[], ends timestamptz[], roles bigint)
RETURNS bigint[] LANGUAGE plpgsql STRICT AS $$
DECLARE
  are_free boolean[];
  chosen bigint[];
BEGIN
  PERFORM pg_advisory_xact_lock(id) FROM (SELECT DISTINCT unnest(ids) AS id ORDER BY 1) AS in_order;
  are_free := ARRAY(
    SELECT public.has_room(c.id, c.seats, c.times)
      FROM unnest(ids, seats, times) WITH ORDINALITY AS c (id, seats, times, number) ORDER BY c.number);
  FOR n IN 1 .. cardinality(ids) LOOP
    IF positions[n] = 1 AND are_free[n] THEN
      chosen := (
        SELECT public.first_combination(ARRAY[ids[n]], array_agg(c.position ORDER BY c.number),
                                        array_agg(c.id ORDER BY c.number), roles)
          FROM unnest(positions, ids, ends, are_free) WITH ORDINALITY AS c (position, id, ends, is_free, number)
         WHERE c.is_free AND c.ends = resources_for_visit.ends[n]);
      IF chosen IS NOT NULL THEN
        RETURN chosen;
      END IF;
    END IF;
  END LOOP;
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION add_claims_of_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.seats = 1 AND NEW.other_resource_ids = '{}' AND current_setting('transaction_isolation') = 'read committed' THEN
    INSERT INTO public.claims
      (booking_id, number, position, role, resource_id, seat, part, is_blocking, start_time, blocks_from, blocks_until)
    SELECT NEW.id, 1, 1, s.role, NEW.resource_id, 1, 1, NEW.is_blocking, NEW.start_time, NEW.blocks_from, NEW.blocks_until
      FROM public.services s
     WHERE s.id = NEW.service_id AND s.free_from_minutes IS NULL AND s.free_until_minutes IS NULL
       AND NOT EXISTS (SELECT FROM public.service_needs n WHERE n.service_id = s.id)
       AND NOT (NEW.is_blocking AND EXISTS (
         SELECT FROM public.claims c
          WHERE c.resource_id = NEW.resource_id AND c.is_blocking
            AND tstzrange(c.since, c.until) && tstzrange(NEW.blocks_from, NEW.blocks_until)));
    IF FOUND THEN
      RETURN NULL;
    END IF;
  END IF;
  PERFORM public.add_claims(NEW);
  RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION change_claims() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  booking public.bookings;
  rebuilt bigint[];
  resized bigint[];
  changed bigint[] := ARRAY(
    SELECT n.id FROM before o JOIN after n USING (id)
     WHERE (o.is_blocking, o.blocks_from, o.blocks_until, o.resource_id, o.other_resource_ids, o.seats, o.service_id)
        <> (n.is_blocking, n.blocks_from, n.blocks_until, n.resource_id, n.other_resource_ids, n.seats, n.service_id)
     ORDER BY n.id);
BEGIN
  IF changed = '{}' THEN
    RETURN NULL;
  END IF;
  rebuilt := ARRAY(
    SELECT n.id FROM before o JOIN after n USING (id)
     WHERE n.id = ANY (changed) AND (o.service_id, cardinality(o.other_resource_ids))
                                 <> (n.service_id, cardinality(n.other_resource_ids)));
  resized := ARRAY(
    SELECT n.id FROM before o JOIN after n USING (id)
     WHERE n.id = ANY (changed) AND o.seats <> n.seats AND n.id <> ALL (rebuilt));
  PERFORM public.expire_holds(n.resource_id || n.other_resource_ids, n.blocks_from, n.blocks_until, n.id)
     FROM after n WHERE n.id = ANY (changed) AND n.is_blocking ORDER BY n.id;
  IF rebuilt <> '{}' THEN
    DELETE FROM public.claims c WHERE c.booking_id = ANY (rebuilt);
  END IF;
  IF resized <> '{}' THEN
    PERFORM public.shrink_party(n) FROM after n WHERE n.id = ANY (resized);
  END IF;
  UPDATE public.claims c
     SET resource_id = CASE c.position WHEN 1 THEN n.resource_id ELSE n.other_resource_ids[c.position - 1] END
    FROM after n
   WHERE n.id = ANY (changed) AND c.booking_id = n.id
     AND c.resource_id IS DISTINCT FROM CASE c.position WHEN 1 THEN n.resource_id ELSE n.other_resource_ids[c.position - 1] END;
  IF rebuilt || resized <> '{}' THEN
    FOR booking IN SELECT n.* FROM after n WHERE n.id = ANY (rebuilt || resized) ORDER BY n.id LOOP
      IF booking.id = ANY (resized) THEN
        PERFORM public.grow_party(booking);
      ELSE
        PERFORM public.add_claims(booking);
      END IF;
    END LOOP;
  END IF;
  RETURN NULL;
END $$;
"""


def upgrade() -> None:
    op.execute(NEW)


def downgrade() -> None:
    op.execute(OLD)
