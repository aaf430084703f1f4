-- Functions and their triggers: which seat a booking gets, what history stores, and how a customer is erased.
-- The triggers that every table has come from triggers.py.

-- The time by which holds expire: the request's own, if the writer set one, or else the database's clock.
CREATE FUNCTION booking_now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT coalesce(nullif(current_setting('bookit.now', true), '')::timestamptz, now())
$$;

-- The bookings that can reach this moment, or start after it: whoever reads a range of time reads it from here, and adds
-- the exact condition. Nearly all visits are short and are found by their start, in two days. The long ones are found in
-- the small index of their own, so a page of one day does not read two months. PostgreSQL inlines it: conditions of the
-- reader, also on other columns, reach both indexes.
CREATE FUNCTION bookings_reaching(moment timestamptz) RETURNS SETOF bookings LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT * FROM public.bookings WHERE start_time >= public.earliest_short_start(moment)
  UNION ALL
  SELECT * FROM public.bookings
   WHERE public.is_long(start_time, end_time) AND end_time > moment - interval '26 hours'
     AND start_time >= public.earliest_start(moment) AND start_time < public.earliest_short_start(moment)
$$;

-- Claims. What a booking takes of each resource is in its claims, which only the triggers here write.

-- The seats of a resource that claims other than this one take; without a number, than those of the booking. An expired
-- hold takes none, except from its own further claims.
CREATE FUNCTION taken_seats(
  resource bigint, since timestamptz, until timestamptz, except_booking bigint, except_number smallint
) RETURNS SETOF smallint LANGUAGE sql STABLE AS $$
  SELECT c.seat FROM public.claims c JOIN public.bookings b ON b.id = c.booking_id
   WHERE c.resource_id = resource AND c.is_blocking AND tstzrange(c.since, c.until) && tstzrange(taken_seats.since, taken_seats.until)
     AND (c.booking_id IS DISTINCT FROM except_booking OR c.number <> except_number)
     AND (c.booking_id = except_booking OR NOT public.is_expired(b.expires_at, public.booking_now()))
$$;

-- The most seats of a resource that claims other than this one take at one moment of a range. An expired hold takes none,
-- except from its own further claims.
CREATE FUNCTION most_at_once(
  resource bigint, since timestamptz, until timestamptz, except_booking bigint, except_number smallint
) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT coalesce(max(at_once), 0) FROM (
    SELECT sum(change.step) OVER (ORDER BY change.at, change.step) AS at_once
      FROM public.claims c JOIN public.bookings b ON b.id = c.booking_id
     CROSS JOIN LATERAL (VALUES (greatest(c.since, most_at_once.since), 1), (c.until, -1)) AS change (at, step)
     WHERE c.resource_id = resource AND c.is_blocking
       AND tstzrange(c.since, c.until) && tstzrange(most_at_once.since, most_at_once.until)
       AND (c.booking_id IS DISTINCT FROM except_booking OR c.number <> except_number)
       AND (c.booking_id = except_booking OR NOT public.is_expired(b.expires_at, public.booking_now()))
  ) AS counted
$$;

-- A seat that is free in this range: the first one; NULL if as many seats as the resource has are taken at one moment.
-- Claims are counted, whatever their seats: after a cancellation, or with a capacity that was lowered, a moment with a free
-- seat can have its claims on any seats. If no single seat is free in the whole range, the seat is a further one.
--
-- A transaction that does not see what others commit meanwhile cannot count them: for one seat the exclusion constraint
-- refuses what it misses, for several only READ COMMITTED is accepted.
CREATE FUNCTION free_seat(
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

-- Every write of a booking first locks its resources, the old and the new ones, in the order of their ids, so writers of
-- one resource run one after the other. Without the locks, two writers of one slot each wait for the other's index entry
-- and end in a deadlock after a second or more. The end of an expired hold needs none: it takes nothing any more.
--
-- Any other change of an expired hold has locked its row by now, and the writer who has the resource may wait for that row
-- to cancel it, even if the writer of its other resource has just cancelled it. So it tries for the lock for a moment, and
-- gives way if it does not get it.
CREATE FUNCTION lock_resources() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  resource bigint;
  tries integer := 0;
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.id <> OLD.id THEN
    RAISE 'a booking keeps its id: its claims and its history go by it'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_keeps_its_id', TABLE = 'bookings';
  END IF;
  IF public.is_expired(OLD.expires_at, public.booking_now()) THEN
    IF TG_OP = 'UPDATE' AND NEW.status = 'cancelled' AND OLD.status = 'pending' THEN
      RETURN NEW;
    END IF;
    FOR resource IN
      SELECT DISTINCT id FROM unnest(
        ARRAY[OLD.resource_id, NEW.resource_id] || OLD.other_resource_ids || NEW.other_resource_ids) AS id
       WHERE id IS NOT NULL ORDER BY id
    LOOP
      WHILE NOT pg_try_advisory_xact_lock(resource) LOOP
        tries := tries + 1;
        IF tries > 10 THEN
          RAISE 'the hold has expired, and another booking may be taking its time' USING ERRCODE = 'serialization_failure';
        END IF;
        PERFORM pg_sleep(0.01);
      END LOOP;
    END LOOP;
  ELSIF coalesce(OLD.other_resource_ids, '{}') = '{}' AND coalesce(NEW.other_resource_ids, '{}') = '{}' THEN
    PERFORM pg_advisory_xact_lock(least(OLD.resource_id, NEW.resource_id));
    IF OLD.resource_id <> NEW.resource_id THEN
      PERFORM pg_advisory_xact_lock(greatest(OLD.resource_id, NEW.resource_id));
    END IF;
  ELSE
    PERFORM pg_advisory_xact_lock(id) FROM (
      SELECT DISTINCT id FROM unnest(
        ARRAY[OLD.resource_id, NEW.resource_id] || OLD.other_resource_ids || NEW.other_resource_ids) AS id
       WHERE id IS NOT NULL ORDER BY id) AS in_order;
  END IF;
  RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
END $$;

CREATE TRIGGER lock_resources BEFORE INSERT OR UPDATE OR DELETE ON bookings
  FOR EACH ROW EXECUTE FUNCTION lock_resources();

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

-- An expired hold never blocks a booking: the booking that takes time of its resources cancels it, whatever its seat, so
-- that no hold can come back later and be one too many. History records the actor "nobody" and the door "clock"; the
-- settings of the writer are put back afterwards. The holds are locked in the order of their ids, so that no two writers
-- wait for each other.
CREATE FUNCTION expire_holds(resources bigint[], since timestamptz, until timestamptz, except_booking bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  expired bigint[] := ARRAY(
    SELECT b.id FROM public.bookings b
     WHERE b.id <> except_booking AND b.status = 'pending' AND public.is_expired(b.expires_at, public.booking_now())
       AND b.id IN (SELECT c.booking_id FROM public.claims c
                     WHERE c.resource_id = ANY (resources) AND c.is_blocking
                       AND tstzrange(c.since, c.until) && tstzrange(expire_holds.since, expire_holds.until))
     ORDER BY b.id FOR UPDATE);
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
END $$;

-- Adds one claim of a booking, on a free seat. If all seats are taken, it gets the first one, and booking_slot_free
-- refuses it, or booking_has_a_seat if that seat happens to be free.
CREATE FUNCTION add_claim(claim claims) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  since timestamptz := CASE WHEN claim.part = 2 THEN public.minutes_after(claim.start_time, claim.free_until_minutes)
                            ELSE claim.blocks_from END;
  until timestamptz := CASE WHEN claim.part = 1 AND claim.free_from_minutes IS NOT NULL
                            THEN least(public.minutes_after(claim.start_time, claim.free_from_minutes), claim.blocks_until)
                            ELSE claim.blocks_until END;
  is_full boolean := false;
BEGIN
  claim.seat := 1;
  IF claim.is_blocking AND since < until THEN
    claim.seat := public.free_seat(claim.resource_id, since, until, claim.booking_id, claim.number);
    IF claim.seat IS NULL THEN
      claim.seat := 1;
      is_full := true;
      IF 1 NOT IN (
           SELECT public.taken_seats(claim.resource_id, since, until, claim.booking_id, claim.number)) THEN
        RAISE 'all seats are taken'
          USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'booking_has_a_seat', TABLE = 'claims';
      END IF;
    END IF;
  END IF;
  INSERT INTO public.claims
    (booking_id, number, position, role, resource_id, seat, part, free_from_minutes, free_until_minutes, is_blocking,
     start_time, blocks_from, blocks_until)
  VALUES
    (claim.booking_id, claim.number, claim.position, claim.role, claim.resource_id, claim.seat, claim.part,
     claim.free_from_minutes, claim.free_until_minutes, claim.is_blocking, claim.start_time, claim.blocks_from,
     claim.blocks_until);
  IF is_full THEN  -- and booking_slot_free is deferred: booking_has_a_seat then counts as well.
    UPDATE public.claims c SET seat = c.seat WHERE (c.booking_id, c.number) = (claim.booking_id, claim.number);
  END IF;
END $$;

-- Adds the claims of a new booking: a seat for each person on its first resource, and what else its service needs. A
-- resource with a pause has two parts, and none for a part that has no time.
CREATE FUNCTION add_claims(booking bookings) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  claim public.claims;
  needed integer := 0;
BEGIN
  IF booking.is_blocking THEN
    PERFORM public.expire_holds(
      booking.resource_id || booking.other_resource_ids, booking.blocks_from, booking.blocks_until, booking.id);
  END IF;
  FOR claim IN
    SELECT booking.id, row_number() OVER (ORDER BY need.position, seat, part), need.position, need.role, need.resource_id,
           NULL, part, need.free_from_minutes, need.free_until_minutes, booking.is_blocking, booking.start_time,
           booking.blocks_from, booking.blocks_until, NULL, NULL
      FROM (
        SELECT 1 AS position, s.role, booking.resource_id, booking.seats, s.free_from_minutes, s.free_until_minutes
          FROM public.services s WHERE s.id = booking.service_id
        UNION ALL
        SELECT n.position, n.role, booking.other_resource_ids[n.position - 1], n.seats, n.free_from_minutes,
               n.free_until_minutes
          FROM public.service_needs n WHERE n.service_id = booking.service_id
      ) AS need
     CROSS JOIN generate_series(1, need.seats) AS seat CROSS JOIN generate_series(1, 2) AS part
     WHERE CASE part WHEN 1 THEN need.free_from_minutes IS DISTINCT FROM 0 ELSE need.free_until_minutes IS NOT NULL END
     ORDER BY 2
  LOOP
    IF claim.resource_id IS NULL OR claim.position > needed + 1 THEN
      needed := 0;
      EXIT;
    END IF;
    needed := claim.position;
    PERFORM public.add_claim(claim);
  END LOOP;
  IF needed <> 1 + cardinality(booking.other_resource_ids) THEN
    RAISE 'each need of the service takes a resource'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'booking_fills_each_need', TABLE = 'bookings';
  END IF;
END $$;

-- Removes the claims of the first resource beyond one for each person.
CREATE FUNCTION shrink_party(booking bookings) RETURNS void LANGUAGE sql AS $$
  DELETE FROM public.claims c
   USING (SELECT o.number, row_number() OVER (PARTITION BY o.part ORDER BY o.number) AS nth
            FROM public.claims o WHERE o.booking_id = booking.id AND o.position = 1) AS own
   WHERE (c.booking_id, c.number) = (booking.id, own.number) AND own.nth > booking.seats
$$;

-- Adds claims of the first resource, until there is one for each person.
CREATE FUNCTION grow_party(booking bookings) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  claim public.claims;
BEGIN
  FOR claim IN
    SELECT first.*
      FROM (SELECT DISTINCT ON (c.part) c.* FROM public.claims c
             WHERE c.booking_id = booking.id AND c.position = 1 ORDER BY c.part, c.number) AS first
     CROSS JOIN LATERAL generate_series(
       1, booking.seats - (SELECT count(*) FROM public.claims o
                            WHERE (o.booking_id, o.position, o.part) = (booking.id, 1, first.part)))
  LOOP
    claim.number := (SELECT max(c.number) + 1 FROM public.claims c WHERE c.booking_id = booking.id);
    PERFORM public.add_claim(claim);
  END LOOP;
END $$;

-- PostgreSQL runs the AFTER triggers of a row in the order of their names, capitals first. The checks of foreign keys are
-- among them ("RI_..."), and so is the check of booking_slot_free ("Unique_..."). The capital letter of the next name makes
-- it run after the former and before the triggers that look at customers: if the slot is taken, that is the refusal.
--
-- Nearly every booking takes one seat of each resource, without a pause, and nobody takes these then: that is one statement.
CREATE FUNCTION add_claims_of_row() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TRIGGER "Write_claims" AFTER INSERT ON bookings
  FOR EACH ROW EXECUTE FUNCTION add_claims_of_row();

-- What a statement has changed of bookings, their claims follow. The foreign key has carried time and liveness over by
-- now, for all rows of the statement, and booking_slot_free is checked after this: so one statement can move a whole day,
-- whatever the order of its rows. What goes, goes before anything is added, for the same reason.
CREATE FUNCTION change_claims() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TRIGGER change_claims AFTER UPDATE ON bookings
  REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION change_claims();

-- A claim that moves keeps its seat, unless another one has taken it or the seat was removed.
CREATE FUNCTION change_seat() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.seat > 1 AND NEW.seat > (SELECT r.capacity FROM public.resources r WHERE r.id = NEW.resource_id)
       AND NOT (OLD.is_blocking AND OLD.resource_id = NEW.resource_id AND OLD.since = NEW.since AND OLD.until >= NEW.until)
     OR NEW.seat IN (
       SELECT public.taken_seats(NEW.resource_id, NEW.since, NEW.until, NEW.booking_id, NEW.number)) THEN
    UPDATE public.claims c SET seat = chosen.seat
      FROM (SELECT public.free_seat(NEW.resource_id, NEW.since, NEW.until, NEW.booking_id, NEW.number) AS seat) AS chosen
     WHERE (c.booking_id, c.number, c.resource_id, c.since, c.until)
         = (NEW.booking_id, NEW.number, NEW.resource_id, NEW.since, NEW.until) AND chosen.seat IS NOT NULL;
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER "Change_seat" AFTER UPDATE ON claims
  FOR EACH ROW WHEN (
    NEW.is_blocking AND (OLD.is_blocking, OLD.resource_id, OLD.since, OLD.until)
                     <> (NEW.is_blocking, NEW.resource_id, NEW.since, NEW.until))
  EXECUTE FUNCTION change_seat();

-- Refuses a change by which more seats of a resource are taken at one moment than it has; add_claim has counted for a new
-- booking. What was sold before the capacity was lowered stays, and a booking may become shorter where too many stand. It
-- is checked as late as booking_slot_free is, and then the claim as it is by now is compared with what it was. A claim that
-- an UPDATE leaves as it was is one that add_claim asks to count.
CREATE FUNCTION check_seats() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  claim public.claims;
  seats integer;
BEGIN
  IF current_setting('transaction_isolation') = 'read committed' THEN
    SELECT c.* INTO claim FROM public.claims c
     WHERE c.booking_id = NEW.booking_id AND c.number = NEW.number AND c.is_blocking
       AND EXISTS (
         SELECT FROM public.claims o
          WHERE o.resource_id = c.resource_id AND o.is_blocking AND tstzrange(o.since, o.until) && tstzrange(c.since, c.until)
            AND (o.booking_id <> c.booking_id OR o.number <> c.number));
  ELSE
    SELECT c.* INTO claim FROM public.claims c WHERE (c.booking_id, c.number) = (NEW.booking_id, NEW.number);
  END IF;
  IF NOT FOUND OR NOT claim.is_blocking OR claim.since >= claim.until
     OR OLD.is_blocking AND OLD.resource_id = claim.resource_id AND OLD.since = claim.since AND OLD.until >= claim.until
        AND OLD <> NEW THEN
    RETURN NULL;
  END IF;
  seats := (SELECT r.capacity FROM public.resources r WHERE r.id = claim.resource_id);
  IF seats > 1 AND current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE 'write bookings of a resource with several seats in a READ COMMITTED transaction'
      USING ERRCODE = 'feature_not_supported';
  END IF;
  -- One whose seat is taken is left to booking_slot_free, which may be deferred on its own.
  IF public.most_at_once(claim.resource_id, claim.since, claim.until, claim.booking_id, claim.number) >= seats
     AND claim.seat NOT IN (
       SELECT public.taken_seats(claim.resource_id, claim.since, claim.until, claim.booking_id, claim.number)) THEN
    RAISE 'all seats are taken'
      USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'booking_has_a_seat', TABLE = 'claims';
  END IF;
  RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER booking_has_a_seat AFTER UPDATE ON claims
  DEFERRABLE INITIALLY IMMEDIATE FOR EACH ROW WHEN (NEW.is_blocking) EXECUTE FUNCTION check_seats();

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

-- Refuses a statement that writes claims by itself. The triggers of bookings run such statements one level deeper.
CREATE FUNCTION forbid_claim_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE 'write the booking instead: its claims follow'
    USING ERRCODE = 'check_violation', CONSTRAINT = 'claims_are_written_with_their_booking', TABLE = 'claims';
END $$;

CREATE TRIGGER forbid_claim_change BEFORE INSERT OR UPDATE OR DELETE ON claims
  FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION forbid_claim_change();

-- Chooses the resource for a new booking: the first of these, in this order, that has a free seat. If all are taken, it
-- returns one that the constraint refuses; NULL if there are no candidates. It looks before it locks, locks the resource
-- it found and looks again, so bookings on other resources need not wait. Locks are taken in the order of ids, so no two
-- writers wait for each other. Staff who override rules may pass another order; then all candidates are locked first.
-- Each candidate has its own end: days are by its own clock.
CREATE FUNCTION resource_for_booking(candidates bigint[], since timestamptz, ends timestamptz[])
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

-- The first combination of resources, one in each position from 1 to this many and none twice: those already taken, then
-- those of the candidates that come first, position by position; NULL if there is none.
CREATE FUNCTION first_combination(taken bigint[], positions integer[], ids bigint[], roles bigint) RETURNS bigint[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  chosen bigint[];
BEGIN
  IF cardinality(taken) = roles THEN
    RETURN taken;
  END IF;
  FOR n IN 1 .. cardinality(ids) LOOP
    IF positions[n] = cardinality(taken) + 1 AND ids[n] <> ALL (taken) THEN
      chosen := public.first_combination(taken || ids[n], positions, ids, roles);
      IF chosen IS NOT NULL THEN
        RETURN chosen;
      END IF;
    END IF;
  END LOOP;
  RETURN NULL;
END $$;

-- Whether so many seats of a resource are free in all of these times. An expired hold takes none, and a visit that takes the
-- resource at no time needs none.
CREATE FUNCTION has_room(resource bigint, seats integer, times tstzmultirange) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT NOT EXISTS (
    SELECT FROM unnest(has_room.times) AS part
     WHERE public.most_at_once(r.id, lower(part), upper(part), NULL, NULL) + has_room.seats > r.capacity)
    FROM public.resources r WHERE r.id = has_room.resource
$$;

-- Chooses the resources for a new booking that takes several seats or resources, or pauses: the first combination, in this
-- order of candidates, that has room in all positions; NULL if there is none. It first locks all candidates in the order of
-- their ids, so no two writers wait for each other. All that a visit takes ends at one time, by the clock of its first
-- resource: a candidate is given once for each such end. Room is counted only on those that a combination has; one without
-- room is left out of the next.
CREATE FUNCTION resources_for_visit(
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

-- A customer has one live visit at a time, unless the writer sets bookit.allows_overlap to say that the second is meant:
-- true, or "another service" for a second one of another service only.
-- A change that adds no overlap is not checked. The lock makes the writers of one customer run one after the other, so
-- each sees the bookings of those before it. It is taken after the locks of resources, and customers share 1024 locks,
-- because a statement may write the bookings of more customers than PostgreSQL has room for locks.
CREATE FUNCTION customer_lock(person bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN -1 - abs(person % 1024);

CREATE FUNCTION refuse_second_visit(booking bookings, before tstzrange) RETURNS void LANGUAGE plpgsql AS $$
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

-- Its name comes after "Write_claims": if the slot is taken as well, that is the refusal. For the same reason, a visit that
-- is moved or reopened is checked when its claims have followed, and any other change at once.
CREATE FUNCTION check_visits_of_customer() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  before tstzrange := 'empty';
BEGIN
  IF TG_OP = 'UPDATE' AND OLD.user_id = NEW.user_id
     AND public.blocks_at(OLD.status, OLD.expires_at, public.booking_now()) THEN
    before := tstzrange(OLD.start_time, OLD.end_time);
  END IF;
  PERFORM public.refuse_second_visit(NEW, before);
  RETURN NULL;
END $$;

CREATE TRIGGER customer_has_one_visit AFTER INSERT ON bookings
  FOR EACH ROW WHEN (is_live(NEW.status)) EXECUTE FUNCTION check_visits_of_customer();
CREATE TRIGGER customer_still_has_one_visit
  AFTER UPDATE OF user_id, start_time, end_time, status, expires_at ON bookings
  FOR EACH ROW WHEN (
    is_live(NEW.status)
    AND ((OLD.is_blocking, OLD.start_time, OLD.blocks_from, OLD.blocks_until)
          = (NEW.is_blocking, NEW.start_time, NEW.blocks_from, NEW.blocks_until)
         OR (OLD.user_id, OLD.blocks_until - OLD.end_time) <> (NEW.user_id, NEW.blocks_until - NEW.end_time)
         OR OLD.expires_at IS DISTINCT FROM NEW.expires_at))
  EXECUTE FUNCTION check_visits_of_customer();

CREATE FUNCTION check_visits_after_move() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  booking public.bookings;
BEGIN
  SELECT b.* INTO booking FROM public.bookings b
   WHERE (b.id, b.is_blocking, b.start_time, b.blocks_until)
       = (NEW.booking_id, NEW.is_blocking, NEW.start_time, NEW.blocks_until);
  IF FOUND THEN
    PERFORM public.refuse_second_visit(
      booking,
      CASE WHEN OLD.is_blocking
           THEN tstzrange(OLD.start_time, OLD.blocks_until - (booking.blocks_until - booking.end_time)) ELSE 'empty' END);
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER customer_has_one_visit AFTER UPDATE ON claims
  FOR EACH ROW WHEN (
    NEW.number = 1 AND NEW.is_blocking
    AND (OLD.is_blocking, OLD.start_time, OLD.blocks_from, OLD.blocks_until)
     <> (NEW.is_blocking, NEW.start_time, NEW.blocks_from, NEW.blocks_until))
  EXECUTE FUNCTION check_visits_after_move();

-- What a customer may book for themself is limited: bookit.booking_limits has the holds and the bookings to come of one
-- who has never come, and each visit kept allows more. Zero is no limit, and staff and a console set none. The lock of the
-- customer is held already, so writers of one customer are counted one after the other. A time that they have held can be
-- booked, and held again only an hour after that hold ends: else a hold renewed in time would never end.
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

-- Its name comes after that of customer_has_one_visit: a second visit at the same time is refused as that.
CREATE TRIGGER customer_is_limited AFTER INSERT ON bookings
  FOR EACH ROW WHEN (is_live(NEW.status) AND current_setting('bookit.booking_limits', true) <> '')
  EXECUTE FUNCTION limit_bookings();

-- People.

-- Refuses a change that leaves the business without an active owner. Of two owners who demote each other at once, the
-- second waits at the lock, and then sees what the first has done. A transaction that would not see it is refused.
CREATE FUNCTION keep_an_owner() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.role = 'admin' AND NEW.is_active THEN
    RETURN NULL;
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE 'change owners in a READ COMMITTED transaction' USING ERRCODE = 'feature_not_supported';
  END IF;
  PERFORM pg_advisory_xact_lock(-1025);  -- next to those of customer_lock()
  IF NOT EXISTS (SELECT FROM public.users u WHERE u.role = 'admin' AND u.is_active) THEN
    RAISE 'the business needs an active owner'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'an_owner_remains', TABLE = 'users';
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER an_owner_remains AFTER UPDATE OF role, is_active OR DELETE ON users
  FOR EACH ROW WHEN (OLD.role = 'admin' AND OLD.is_active) EXECUTE FUNCTION keep_an_owner();

-- A person of the demo who gets another password is a real one from then on. No password at all is not another one.
CREATE FUNCTION unmark_demo() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.is_demo := false;
  RETURN NEW;
END $$;

CREATE TRIGGER unmark_demo BEFORE UPDATE OF password_hash ON users
  FOR EACH ROW WHEN (OLD.is_demo AND NEW.password_hash IS NOT NULL AND NEW.password_hash IS DISTINCT FROM OLD.password_hash)
  EXECUTE FUNCTION unmark_demo();

-- Rates.

-- Returns the name of a counter: a hash, so that all names have the same length and none says whom it counts.
CREATE FUNCTION counter_name(who text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
  RETURN encode(sha256(convert_to(who, 'UTF8')), 'hex');

-- Takes `cost` from the quota of a sender, unless less is left. `burst` may be taken at once, and is refilled evenly over
-- `per`. `wait` is 0, or for how many seconds the sender must wait; `used` is in how many seconds the quota is full. This
-- is the generic cell rate algorithm; it stores only the time when the quota is full. A quota that does not divide its time
-- into whole microseconds may be exceeded by a millisecond.
CREATE FUNCTION take_from_rate(
  who text, burst integer, per interval, cost integer DEFAULT 1, OUT wait double precision, OUT used double precision)
LANGUAGE plpgsql AS $$
DECLARE
  counter text := public.counter_name(who);
  step interval := per / burst * least(cost, burst);
  moment timestamptz := clock_timestamp();
  due timestamptz;
BEGIN
  INSERT INTO tries AS t (name, due_at) VALUES (counter, moment + step)
    ON CONFLICT (name) DO UPDATE SET due_at = greatest(t.due_at, moment) + step
     WHERE greatest(t.due_at, moment) + step <= moment + per + interval '1 ms'
    RETURNING t.due_at INTO due;
  wait := 0;
  IF due IS NULL THEN
    SELECT t.due_at INTO due FROM tries t WHERE t.name = counter;
    wait := greatest(extract(epoch FROM due + step - per - moment), 1);
  END IF;
  used := extract(epoch FROM due - moment);
END $$;

-- Counts an attempt at a password. Returns 0, or for how many seconds the sender must wait. `burst` attempts may be made at
-- once, and are refilled evenly over `per`. When they are used up, the sender is given the next turn: nobody else can take
-- it, and it stays good for `per` once it is due. A sender has one turn at a time, so that many attempts of one delay
-- another only once. Turns are given for at most `longest` ahead; with 0 there are none.
CREATE FUNCTION seconds_until_attempt(
  who text, sender text, burst integer, per interval, longest interval, moment timestamptz)
RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
  counter text := public.counter_name(who);
  turn text := public.counter_name(who || ' turn of ' || sender);
  step interval := per / burst;
  due timestamptz;
BEGIN
  DELETE FROM tries t WHERE t.name = turn AND t.due_at <= moment RETURNING t.due_at INTO due;
  IF due > moment - per THEN
    RETURN 0;
  END IF;
  SELECT t.due_at INTO due FROM tries t WHERE t.name = turn;
  IF due IS NOT NULL THEN
    RETURN greatest(extract(epoch FROM due - moment), 1);
  END IF;
  INSERT INTO tries AS t (name, due_at) VALUES (counter, moment + step)
    ON CONFLICT (name) DO UPDATE SET due_at = greatest(t.due_at, moment) + step
     WHERE greatest(t.due_at, moment) + step <= moment + per + longest + interval '1 ms'
    RETURNING t.due_at INTO due;
  IF due IS NULL THEN
    SELECT t.due_at INTO due FROM tries t WHERE t.name = counter;
    RETURN greatest(extract(epoch FROM due + step - per - moment), 1);
  ELSIF due <= moment + per + interval '1 ms' THEN
    RETURN 0;
  END IF;
  INSERT INTO tries (name, due_at) VALUES (turn, due - per) ON CONFLICT DO NOTHING;
  RETURN greatest(extract(epoch FROM due - per - moment), 1);
END $$;

-- Money. Amounts are whole minor units of a currency, such as cents.

-- The currency of all prices.
CREATE FUNCTION business_currency() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
  SELECT b.currency FROM public.business b
$$;

-- How many decimals an amount in a currency has, by ISO 4217: policy/money.py has the same list.
CREATE FUNCTION currency_decimals(currency text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE
    WHEN currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'VND', 'VUV', 'XAF', 'XOF',
                      'XPF') THEN 0
    WHEN currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN 3
    ELSE 2 END;

CREATE FUNCTION minor_units(amount numeric, currency text) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN round(amount * 10::numeric ^ currency_decimals(currency))::bigint;

-- What a booking owes, what was paid and not given back, and what of it is due or was paid too much. It owes its price, and
-- nothing once it is cancelled or a no-show.
CREATE FUNCTION booking_money(booking bigint)
RETURNS TABLE (currency text, owed bigint, paid bigint, due bigint, overpaid bigint) LANGUAGE sql STABLE AS $$
  SELECT m.currency, m.owed, m.paid, greatest(m.owed - m.paid, 0), greatest(m.paid - m.owed, 0)
    FROM (
      SELECT p.currency, p.paid,
             CASE WHEN b.status IN ('cancelled', 'no_show') THEN 0 ELSE public.minor_units(b.price, p.currency) END AS owed
        FROM public.bookings b
       CROSS JOIN LATERAL (
         SELECT coalesce(min(o.currency), public.business_currency()) AS currency,
                coalesce(sum(o.amount - o.refunded) FILTER (WHERE o.state = 'succeeded'), 0)::bigint AS paid
           FROM public.payments o WHERE o.booking_id = b.id
       ) AS p
       WHERE b.id = booking_money.booking
    ) AS m
$$;

-- A new payment is at most what its booking owes. The row of the booking is locked, so of two writers at once the second
-- counts what the first has taken.
CREATE FUNCTION check_payment() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  customer text;
  money record;
BEGIN
  SELECT u.name INTO customer FROM public.bookings b JOIN public.users u ON u.id = b.user_id
   WHERE b.id = NEW.booking_id FOR NO KEY UPDATE OF b;
  IF NOT FOUND THEN
    RETURN NEW;
  END IF;
  SELECT * INTO money FROM public.booking_money(NEW.booking_id);
  IF NEW.currency <> money.currency THEN
    RAISE 'a booking is paid in %', money.currency
      USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_is_in_the_currency_of_its_booking', TABLE = 'payments';
  END IF;
  IF NEW.refunded <> 0 THEN
    RAISE 'write refunds instead'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_gives_back_what_its_refunds_say', TABLE = 'payments';
  END IF;
  IF NEW.amount > money.due AND NEW.state NOT IN ('failed', 'cancelled') THEN
    RAISE 'the booking owes less'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_is_at_most_what_is_due', TABLE = 'payments',
            DETAIL = jsonb_build_object(
              'customer', customer,
              'due', round(money.due / 10::numeric ^ public.currency_decimals(money.currency),
                           public.currency_decimals(money.currency))::text);
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER check_payment BEFORE INSERT ON payments
  FOR EACH ROW EXECUTE FUNCTION check_payment();

-- The state of a payment goes forward, and success may follow anything: money is a fact. Everything else stays, except what
-- its refunds add up to.
CREATE FUNCTION check_payment_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
       ('created', 'pending'), ('created', 'succeeded'), ('created', 'failed'), ('created', 'cancelled'),
       ('pending', 'succeeded'), ('pending', 'failed'), ('pending', 'cancelled'),
       ('failed', 'succeeded'), ('cancelled', 'succeeded'))
     OR OLD.state = NEW.state AND OLD.settled_at IS DISTINCT FROM NEW.settled_at
     OR (OLD.id, OLD.key, OLD.booking_id, OLD.amount, OLD.currency, OLD.method, OLD.purpose, OLD.provider, OLD.recorded_by_id,
         OLD.created_at)
        IS DISTINCT FROM
        (NEW.id, NEW.key, NEW.booking_id, NEW.amount, NEW.currency, NEW.method, NEW.purpose, NEW.provider, NEW.recorded_by_id,
         NEW.created_at) THEN
    RAISE 'a payment stays as it is: % -> %', OLD.state, NEW.state
      USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_goes_forward', TABLE = 'payments';
  END IF;
  IF NEW.refunded <> (SELECT coalesce(sum(r.amount), 0) FROM public.refunds r
                       WHERE r.payment_id = NEW.id AND r.state <> 'failed') THEN
    RAISE 'write refunds instead'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'payment_gives_back_what_its_refunds_say', TABLE = 'payments';
  END IF;
  RETURN NEW;
END $$;

CREATE TRIGGER check_payment_change BEFORE UPDATE ON payments
  FOR EACH ROW EXECUTE FUNCTION check_payment_change();

-- A refund counts from the moment it is written, and no longer if it fails. The row of the payment is locked first, so that
-- two refunds at once are both counted.
CREATE FUNCTION count_refund() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' THEN
    IF OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
         ('created', 'pending'), ('created', 'succeeded'), ('created', 'failed'),
         ('pending', 'succeeded'), ('pending', 'failed'))
       OR OLD.state = NEW.state AND OLD.settled_at IS DISTINCT FROM NEW.settled_at
       OR (OLD.id, OLD.key, OLD.payment_id, OLD.amount, OLD.currency, OLD.reason, OLD.recorded_by_id, OLD.created_at)
          IS DISTINCT FROM
          (NEW.id, NEW.key, NEW.payment_id, NEW.amount, NEW.currency, NEW.reason, NEW.recorded_by_id, NEW.created_at) THEN
      RAISE 'a refund stays as it is: % -> %', OLD.state, NEW.state
        USING ERRCODE = 'check_violation', CONSTRAINT = 'refund_goes_forward', TABLE = 'refunds';
    END IF;
  END IF;
  PERFORM FROM public.payments p WHERE p.id = NEW.payment_id FOR NO KEY UPDATE;
  UPDATE public.payments p SET refunded = counted.amount
    FROM (SELECT coalesce(sum(r.amount), 0) AS amount FROM public.refunds r
           WHERE r.payment_id = NEW.payment_id AND r.state <> 'failed') AS counted
   WHERE p.id = NEW.payment_id AND p.refunded <> counted.amount;
  RETURN NULL;
END $$;

CREATE TRIGGER count_refund AFTER INSERT OR UPDATE ON refunds
  FOR EACH ROW EXECUTE FUNCTION count_refund();

-- Nobody deletes money: a mistake is given back, and both stay.
CREATE FUNCTION keep_money() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE 'give the money back instead'
    USING ERRCODE = 'check_violation', CONSTRAINT = TG_TABLE_NAME || '_are_kept', TABLE = TG_TABLE_NAME;
END $$;

CREATE TRIGGER keep_money BEFORE DELETE ON payments
  FOR EACH ROW EXECUTE FUNCTION keep_money();
CREATE TRIGGER keep_money BEFORE DELETE ON refunds
  FOR EACH ROW EXECUTE FUNCTION keep_money();

-- What every table has; triggers.py attaches these three.

-- Counts the changes of a row, so that BookIt can refuse an edit of an old state.
CREATE FUNCTION bump_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.version := OLD.version + 1;
  RETURN NEW;
END $$;

-- Writes history. Actor, door and reason come from the settings of the transaction; a console sets none. The arguments
-- name secret columns: history stores that they changed, and never their values.
CREATE FUNCTION audit_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - 'is_blocking' END;
  after jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - 'is_blocking' END;
  row_id bigint := coalesce(after, before) ->> 'id';
  secret text;
BEGIN
  IF TG_NARGS > 0 THEN
    FOREACH secret IN ARRAY TG_ARGV LOOP
      IF before -> secret IS DISTINCT FROM after -> secret AND TG_OP = 'UPDATE' THEN
        after := after || jsonb_build_object(secret, 'changed');
        before := before || jsonb_build_object(secret, 'hidden');
      ELSE
        before := before - secret;
        after := after - secret;
      END IF;
    END LOOP;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    SELECT jsonb_object_agg(key, o.value), jsonb_object_agg(key, n.value) INTO before, after
      FROM jsonb_each(before) o JOIN jsonb_each(after) n USING (key)
     WHERE o.value IS DISTINCT FROM n.value AND key <> 'version';
    IF after IS NULL THEN
      RETURN NULL;
    END IF;
  END IF;
  INSERT INTO public.events (actor_id, actor, door, table_name, row_id, action, old, new, reason, request_id, notify_customer)
  VALUES (
    nullif(current_setting('bookit.actor_id', true), '')::bigint,
    coalesce(nullif(current_setting('bookit.actor', true), ''), 'unknown'),
    coalesce(nullif(current_setting('bookit.door', true), ''), 'sql'),
    TG_TABLE_NAME, row_id,
    CASE TG_OP WHEN 'INSERT' THEN 'created' WHEN 'UPDATE' THEN 'changed' ELSE 'deleted' END,
    before, after,
    nullif(current_setting('bookit.reason', true), ''),
    nullif(current_setting('bookit.request_id', true), ''),
    nullif(current_setting('bookit.notify_customer', true), '')::boolean);
  RETURN NULL;
END $$;

-- Refuses TRUNCATE, which fires no row trigger and so would pass history by.
CREATE FUNCTION forbid_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE 'delete the rows instead, so that history records it'
    USING ERRCODE = 'check_violation', CONSTRAINT = 'rows_are_not_truncated', TABLE = TG_TABLE_NAME;
END $$;

-- Claims are not audited, but they are not truncated either.
CREATE TRIGGER forbid_truncate BEFORE TRUNCATE ON claims
  FOR EACH STATEMENT EXECUTE FUNCTION forbid_truncate();

-- Sign-ins.

-- A new password, another role and a deactivation end every sign-in of the person. The writer of a new password sets
-- bookit.sign_in_id to the sign-in that changes its own password; that one stays.
CREATE FUNCTION end_sign_ins() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  reason text := CASE WHEN NOT NEW.is_active THEN 'deactivated'
                      WHEN OLD.role <> NEW.role THEN 'role_changed' ELSE 'password_changed' END;
BEGIN
  UPDATE public.sign_ins SET ended_at = public.booking_now(), end_reason = reason
   WHERE user_id = NEW.id AND ended_at IS NULL
     AND (reason <> 'password_changed'
          OR id IS DISTINCT FROM nullif(current_setting('bookit.sign_in_id', true), '')::bigint);
  RETURN NULL;
END $$;

CREATE TRIGGER end_sign_ins AFTER UPDATE OF password_hash, role, is_active ON users
  FOR EACH ROW WHEN (OLD.password_hash IS DISTINCT FROM NEW.password_hash OR OLD.role <> NEW.role
                     OR OLD.is_active AND NOT NEW.is_active)
  EXECUTE FUNCTION end_sign_ins();

-- History has the sign-ins of staff and their ends, without what identifies a device.
CREATE TRIGGER audit_begin AFTER INSERT ON sign_ins
  FOR EACH ROW WHEN (NEW.role <> 'user') EXECUTE FUNCTION audit_row('address', 'browser', 'sid');
CREATE TRIGGER audit_end AFTER UPDATE OF ended_at, second_factor ON sign_ins
  FOR EACH ROW WHEN (NEW.role <> 'user') EXECUTE FUNCTION audit_row('address', 'browser', 'sid');
CREATE TRIGGER audit_removal AFTER DELETE ON sign_ins
  FOR EACH ROW WHEN (OLD.role <> 'user' AND OLD.ended_at IS NULL)
  EXECUTE FUNCTION audit_row('address', 'browser', 'sid');

-- Second factors.

-- History has that a second factor is set up, changed or removed, and not each use of it; of recovery codes also each use.
CREATE TRIGGER audit_change AFTER INSERT OR DELETE ON authenticators
  FOR EACH ROW EXECUTE FUNCTION audit_row('last_step', 'secret');
CREATE TRIGGER audit_change AFTER INSERT OR DELETE OR UPDATE OF user_id, name, public_key ON passkeys
  FOR EACH ROW EXECUTE FUNCTION audit_row('credential_id', 'last_used_at', 'name', 'public_key', 'sign_count');
CREATE TRIGGER audit_change AFTER INSERT OR UPDATE OR DELETE ON recovery_codes
  FOR EACH ROW EXECUTE FUNCTION audit_row('code_hashes');

-- A person who is deactivated, or is no longer staff, has no second factor any more.
CREATE FUNCTION remove_second_factors() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM public.authenticators WHERE user_id = NEW.id;
  DELETE FROM public.passkeys WHERE user_id = NEW.id;
  DELETE FROM public.recovery_codes WHERE user_id = NEW.id;
  RETURN NULL;
END $$;

CREATE TRIGGER remove_second_factors AFTER UPDATE OF role, is_active ON users
  FOR EACH ROW WHEN (OLD.is_active AND NOT NEW.is_active OR OLD.role <> 'user' AND NEW.role = 'user')
  EXECUTE FUNCTION remove_second_factors();

-- History: append-only, except that an erased customer is removed from it.

-- Whether this is the id of an erased customer: erasure.py sets this address, and no other customer can have it.
CREATE FUNCTION is_erased(person bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT FROM public.users u WHERE u.id = person AND u.email = 'erased-' || person || '@erased.invalid')
$$;

-- The ids of all bookings that are or were this person's, and of all reviews of them. Deleted rows are known from history.
CREATE FUNCTION bookings_of(person bigint) RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
  SELECT b.id FROM public.bookings b WHERE b.user_id = person
  UNION
  SELECT e.row_id FROM public.events e WHERE e.table_name = 'bookings' AND e.old ->> 'user_id' = person::text
$$;
CREATE FUNCTION reviews_of(person bigint) RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
  SELECT r.id FROM public.bookings_of(person) b (id) JOIN public.reviews r ON r.booking_id = b.id
  UNION
  SELECT e.row_id FROM public.bookings_of(person) b (id)
    JOIN public.events e ON e.table_name = 'reviews' AND e.old ->> 'booking_id' = b.id::text
$$;

-- The ids of all notes on this person and on their bookings.
CREATE FUNCTION notes_of(person bigint) RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
  SELECT n.id FROM public.notes n WHERE n.user_id = person
  UNION
  SELECT e.row_id FROM public.events e WHERE e.table_name = 'notes' AND e.old ->> 'user_id' = person::text
  UNION
  SELECT n.id FROM public.bookings_of(person) b (id) JOIN public.notes n ON n.booking_id = b.id
  UNION
  SELECT e.row_id FROM public.bookings_of(person) b (id)
    JOIN public.events e ON e.table_name = 'notes' AND e.old ->> 'booking_id' = b.id::text
$$;

-- An event after its person is erased: without their name, address, phone number and birthday, their comments, the names
-- of those for whom they booked, and the reasons given for acts on them. Everything else stays, and so does the reason of
-- an automatic change.
CREATE FUNCTION without_person(row_values jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT coalesce(
           jsonb_object_agg(key, CASE
             WHEN key IN ('name', 'email', 'phone', 'birthday', 'comment', 'text', 'visitor_name') AND value <> 'null' THEN '"erased"'
             ELSE value END), row_values)
    FROM jsonb_each(row_values)
$$;
CREATE FUNCTION event_without_person(event events) RETURNS events LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  event.old := public.without_person(event.old);
  event.new := public.without_person(event.new);
  event.reason := CASE WHEN event.door IN ('clock', 'worker') THEN event.reason
                       WHEN event.reason IS NOT NULL THEN 'erased' END;
  RETURN event;
END $$;

-- Whether an event is about a row of this person's. It looks up one row; bookings_of() would read all of theirs.
CREATE FUNCTION booking_belonged_to(booking bigint, person bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT FROM public.bookings b WHERE b.id = booking AND b.user_id = person)
      OR EXISTS (SELECT FROM public.events e
                  WHERE e.table_name = 'bookings' AND e.row_id = booking AND e.old ->> 'user_id' = person::text)
$$;
CREATE FUNCTION note_belonged_to(note bigint, person bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT FROM public.notes n
                  WHERE n.id = note AND (n.user_id = person OR public.booking_belonged_to(n.booking_id, person)))
      OR EXISTS (SELECT FROM public.events e
                  WHERE e.table_name = 'notes' AND e.row_id = note
                    AND (e.old ->> 'user_id' = person::text
                         OR public.booking_belonged_to((e.old ->> 'booking_id')::bigint, person)))
$$;
CREATE FUNCTION event_belongs_to(event events, person bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT CASE event.table_name
    WHEN 'users' THEN event.row_id = person
    WHEN 'bookings' THEN public.booking_belonged_to(event.row_id, person)
    WHEN 'reviews' THEN
      EXISTS (SELECT FROM public.reviews r
               WHERE r.id = event.row_id AND public.booking_belonged_to(r.booking_id, person))
      OR EXISTS (SELECT FROM public.events e
                  WHERE e.table_name = 'reviews' AND e.row_id = event.row_id
                    AND public.booking_belonged_to((e.old ->> 'booking_id')::bigint, person))
    WHEN 'notes' THEN public.note_belonged_to(event.row_id, person)
    ELSE false END
$$;

-- Removes an erased customer from history, and adds an event that says so. It needs no rights of its own: check_erasure
-- decides what it may change. It looks up the events row by row, because the planner cannot know how few rows a person has.
CREATE FUNCTION erase_from_history(person bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('bookit.erasing', person::text, true);
  UPDATE public.events e SET (old, new, reason) = (SELECT w.old, w.new, w.reason FROM public.event_without_person(e) w)
   WHERE e.id = ANY (ARRAY(
     SELECT event.id
       FROM (SELECT 'users' AS table_name, person AS row_id
             UNION ALL SELECT 'bookings', b.id FROM public.bookings_of(person) b (id)
             UNION ALL SELECT 'reviews', r.id FROM public.reviews_of(person) r (id)
             UNION ALL SELECT 'notes', n.id FROM public.notes_of(person) n (id)) AS own
      CROSS JOIN LATERAL (
        SELECT t.id FROM public.events t
         WHERE (t.table_name, t.row_id) = (own.table_name, own.row_id) OFFSET 0) AS event));
  PERFORM set_config('bookit.erasing', '', true);
  INSERT INTO public.events (actor_id, actor, door, table_name, row_id, action, request_id)
  VALUES (
    nullif(current_setting('bookit.actor_id', true), '')::bigint,
    coalesce(nullif(current_setting('bookit.actor', true), ''), 'unknown'),
    coalesce(nullif(current_setting('bookit.door', true), ''), 'sql'),
    'users', person, 'erased',
    nullif(current_setting('bookit.request_id', true), ''));
END $$;

-- Refuses every statement that changes history. An UPDATE during an erasure passes, and so does the DELETE of what is kept
-- long enough; check_erasure and check_retention judge each row.
CREATE FUNCTION forbid_history_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND current_setting('bookit.erasing', true) ~ '^[0-9]{1,18}$'
     OR TG_OP = 'DELETE' AND current_setting('bookit.history_days', true) ~ '^[0-9]{1,6}$' THEN
    RETURN NULL;
  END IF;
  RAISE 'history is append-only' USING ERRCODE = 'check_violation', CONSTRAINT = 'history_is_append_only', TABLE = 'events';
END $$;

-- Setting bookit.erasing by hand has no effect: only an event of an erased customer may change, and only into what
-- event_without_person returns.
CREATE FUNCTION check_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  person bigint := current_setting('bookit.erasing', true);
  erased public.events := public.event_without_person(OLD);
BEGIN
  IF NEW IS DISTINCT FROM erased OR NOT public.is_erased(person) OR NOT public.event_belongs_to(OLD, person) THEN
    RAISE 'history is append-only' USING ERRCODE = 'check_violation', CONSTRAINT = 'history_is_append_only', TABLE = 'events';
  END IF;
  RETURN NEW;
END $$;

-- What happened within 30 days stays, whatever bookit.history_days says.
CREATE FUNCTION check_retention() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.at > clock_timestamp() - make_interval(days => greatest(30, current_setting('bookit.history_days')::int)) THEN
    RAISE 'history is append-only' USING ERRCODE = 'check_violation', CONSTRAINT = 'history_is_append_only', TABLE = 'events';
  END IF;
  RETURN OLD;
END $$;

CREATE TRIGGER forbid_history_change BEFORE UPDATE OR DELETE OR TRUNCATE ON events
  FOR EACH STATEMENT EXECUTE FUNCTION forbid_history_change();
CREATE TRIGGER check_erasure BEFORE UPDATE ON events
  FOR EACH ROW EXECUTE FUNCTION check_erasure();
CREATE TRIGGER check_retention BEFORE DELETE ON events
  FOR EACH ROW EXECUTE FUNCTION check_retention();


-- The business. Its only row is made with the table, and stays.

INSERT INTO business DEFAULT VALUES;

CREATE FUNCTION forbid_removal_of_business() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE 'the business is kept' USING ERRCODE = 'check_violation', CONSTRAINT = 'business_is_kept', TABLE = 'business';
END $$;

CREATE TRIGGER business_is_kept BEFORE DELETE ON business
  FOR EACH STATEMENT EXECUTE FUNCTION forbid_removal_of_business();
