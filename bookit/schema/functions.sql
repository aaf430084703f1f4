-- The functions and triggers beside the tables: where a booking sits, what history remembers, how versions count.

-- The moment by which a hold runs out: as whoever writes said, else by the database's own clock.
CREATE FUNCTION the_moment() RETURNS timestamptz LANGUAGE sql STABLE AS $$
  SELECT coalesce(nullif(current_setting('bookit.now', true), '')::timestamptz, now())
$$;

-- Gives a booking a place on its resource. Every write of a booking takes its resource's lock first, and so writers of
-- one resource take turns: without it, two that meet in a slot each wait for the other's index entry, and end in a
-- deadlock after a second or more. Two resources are locked in the order of their numbers.
--
-- A booking that moves in time keeps its place at first, so that a whole day moves in one statement, whatever the order
-- of its rows; lane = NULL asks for any free one. All places taken: it gets the first, and booking_slot_free refuses it.
CREATE FUNCTION booking_takes_a_place() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(least(OLD.resource_id, NEW.resource_id));
  IF OLD.resource_id <> NEW.resource_id THEN
    PERFORM pg_advisory_xact_lock(greatest(OLD.resource_id, NEW.resource_id));
  END IF;
  IF TG_OP = 'DELETE' THEN
    RETURN OLD;
  END IF;
  IF NEW.status NOT IN ('pending', 'confirmed') THEN
    NEW.lane := coalesce(NEW.lane, 1);
    RETURN NEW;
  END IF;
  IF OLD.status IN ('pending', 'confirmed') AND (OLD.resource_id, OLD.lane) = (NEW.resource_id, NEW.lane)
     AND ((OLD.blocks_from, OLD.blocks_until) = (NEW.blocks_from, NEW.blocks_until)
          OR NEW.lane <= (SELECT r.capacity FROM public.resources r WHERE r.id = NEW.resource_id)) THEN
    RETURN NEW;
  END IF;
  NEW.lane := coalesce(public.free_place(NEW.resource_id, NEW.blocks_from, NEW.blocks_until, NEW.id, NEW.lane), 1);
  RETURN NEW;
END $$;

-- The places of a resource that bookings other than this one take; a hold that has run out takes none.
CREATE FUNCTION places_taken(resource bigint, since timestamptz, until timestamptz, but_for bigint)
RETURNS SETOF smallint LANGUAGE sql STABLE AS $$
  SELECT b.lane FROM public.bookings b
   WHERE b.resource_id = resource AND b.id IS DISTINCT FROM but_for
     AND tstzrange(b.blocks_from, b.blocks_until) && tstzrange(since, until)
     AND b.status IN ('pending', 'confirmed')
     AND (b.expires_at IS NULL OR b.expires_at > public.the_moment())
$$;

-- The first place that is free, or better the one that is wanted; NULL when there is none.
CREATE FUNCTION free_place(resource bigint, since timestamptz, until timestamptz, but_for bigint, wanted smallint)
RETURNS smallint LANGUAGE plpgsql AS $$
BEGIN
  RETURN (
    SELECT place FROM public.resources r CROSS JOIN generate_series(1, r.capacity) AS place
     WHERE r.id = resource
       AND place NOT IN (SELECT taken FROM public.places_taken(resource, since, until, but_for) AS taken)
     ORDER BY coalesce(place = wanted, false) DESC, place
     LIMIT 1);
END $$;

-- The resource that takes a new booking: of these, in this order, the first with a free place; when all are taken, one
-- that the constraint refuses; NULL when there is none. It looks first, locks the one it finds, and looks again: so that
-- bookings on other resources need not wait. Locks are taken in the order of the numbers, and no two writers wait for
-- each other; whoever asks in another order, as staff may who set rules aside, locks all of them before.
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
    PERFORM pg_advisory_xact_lock(one) FROM (SELECT unnest(candidates) AS one ORDER BY 1) AS in_order;
  END IF;
  FOREACH candidate IN ARRAY candidates LOOP
    IF public.free_place(candidate, since, until, NULL, NULL) IS NOT NULL THEN
      PERFORM pg_advisory_xact_lock(candidate);
      chosen := candidate;
      EXIT WHEN public.free_place(candidate, since, until, NULL, NULL) IS NOT NULL;
    END IF;
  END LOOP;
  RETURN chosen;
END $$;

CREATE TRIGGER booking_takes_a_place BEFORE INSERT OR UPDATE OR DELETE ON bookings
  FOR EACH ROW EXECUTE FUNCTION booking_takes_a_place();

-- When every row of a statement has moved, one that came to sit on another looks for a free place. Its capital B makes it
-- run before booking_slot_free is checked: PostgreSQL runs a row's triggers by name, and that one is a "Unique_...".
CREATE FUNCTION booking_finds_another_place() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.lane IN (SELECT public.places_taken(NEW.resource_id, NEW.blocks_from, NEW.blocks_until, NEW.id)) THEN
    UPDATE public.bookings SET lane = NULL WHERE id = NEW.id;
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER "Booking_finds_another_place" AFTER UPDATE OF blocks_from, blocks_until ON bookings
  FOR EACH ROW WHEN (NEW.status IN ('pending', 'confirmed')) EXECUTE FUNCTION booking_finds_another_place();

-- A hold that has run out never blocks anybody: whoever comes to sit where it sat cancels it. The name makes this run
-- after a place was found and before booking_slot_free is checked. History tells of it as nobody's act.
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
  tells text := current_setting('bookit.tells_customer', true);
BEGIN
  IF cardinality(over) > 0 THEN
    PERFORM set_config('bookit.actor_id', '', true), set_config('bookit.actor', 'nobody', true),
            set_config('bookit.door', 'clock', true), set_config('bookit.reason', 'The hold ran out.', true),
            set_config('bookit.tells_customer', '', true);
    UPDATE public.bookings SET status = 'cancelled' WHERE id = ANY (over);
    PERFORM set_config('bookit.actor_id', coalesce(actor_id, ''), true),
            set_config('bookit.actor', coalesce(actor, ''), true),
            set_config('bookit.door', coalesce(door, ''), true),
            set_config('bookit.reason', coalesce(reason, ''), true),
            set_config('bookit.tells_customer', coalesce(tells, ''), true);
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER "Booking_lets_go_of_holds"
  AFTER INSERT OR UPDATE OF status, resource_id, lane, blocks_from, blocks_until ON bookings
  FOR EACH ROW WHEN (NEW.status IN ('pending', 'confirmed')) EXECUTE FUNCTION booking_lets_go_of_holds();

-- Counts a try under this name. Lets `burst` of them through at once and then one each `per`/`burst`, and gives how many
-- seconds the others must wait, 0 for none (the generic cell rate algorithm, with the time the name is due kept alone).
CREATE FUNCTION seconds_until_next_try(who text, burst integer, per interval)
RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE
  step interval := per / burst;
  moment timestamptz := clock_timestamp();
  due timestamptz;
BEGIN
  INSERT INTO tries AS t (name, due_at) VALUES (who, moment + step)
    ON CONFLICT (name) DO UPDATE SET due_at = greatest(t.due_at, moment) + step
     WHERE greatest(t.due_at, moment) + step <= moment + per
    RETURNING t.due_at INTO due;
  IF due IS NOT NULL THEN
    RETURN 0;
  END IF;
  SELECT t.due_at INTO due FROM tries t WHERE t.name = who;
  RETURN greatest(extract(epoch FROM due + step - per - moment), 1);
END $$;

-- Every change of a row counts, whoever made it, so that a stale edit is noticed.
CREATE FUNCTION row_counts_its_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.version := OLD.version + 1;
  RETURN NEW;
END $$;

-- Writes history. Who, through which door and why come from the transaction's settings; a console has none.
-- The arguments are columns whose values are never written down: of these, history says only that they changed.
CREATE FUNCTION row_is_remembered() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
  after jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
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
  INSERT INTO public.events (actor_id, actor, door, table_name, row_id, action, old, new, reason, request_id, tells_customer)
  VALUES (
    nullif(current_setting('bookit.actor_id', true), '')::bigint,
    coalesce(nullif(current_setting('bookit.actor', true), ''), 'unknown'),
    coalesce(nullif(current_setting('bookit.door', true), ''), 'sql'),
    TG_TABLE_NAME, row_id,
    CASE TG_OP WHEN 'INSERT' THEN 'created' WHEN 'UPDATE' THEN 'changed' ELSE 'deleted' END,
    before, after,
    nullif(current_setting('bookit.reason', true), ''),
    nullif(current_setting('bookit.request_id', true), ''),
    nullif(current_setting('bookit.tells_customer', true), '')::boolean);
  RETURN NULL;
END $$;

-- Whether this number is that of a customer who was erased: `erasure.py` leaves them this address and no other has it.
CREATE FUNCTION is_erased(person bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT FROM public.users u WHERE u.id = person AND u.email = 'erased-' || person || '@erased.invalid')
$$;

-- The bookings that are or were this person's, and what was said of them: rows that are gone, history still knows.
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

-- An event once its person is erased: their name, their address and what was said in their own words or of them, and
-- nothing else. A reason that no person gave stays.
CREATE FUNCTION without_person(told jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT coalesce(jsonb_object_agg(key, CASE WHEN key IN ('name', 'email', 'comment') THEN '"erased"' ELSE value END), told)
    FROM jsonb_each(told)
$$;
CREATE FUNCTION event_without_person(told events) RETURNS events LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  told.old := public.without_person(told.old);
  told.new := public.without_person(told.new);
  told.reason := CASE WHEN told.door IN ('clock', 'worker') THEN told.reason
                      WHEN told.reason IS NOT NULL THEN 'erased' END;
  RETURN told;
END $$;

-- Whether an event is of a row of this person's: a look or two each, where bookings_of() would look through all of them.
CREATE FUNCTION booking_was_of(booking bigint, person bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT FROM public.bookings b WHERE b.id = booking AND b.user_id = person)
      OR EXISTS (SELECT FROM public.events e
                  WHERE e.table_name = 'bookings' AND e.row_id = booking AND e.old ->> 'user_id' = person::text)
$$;
CREATE FUNCTION event_is_of(told events, person bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT CASE told.table_name
    WHEN 'users' THEN told.row_id = person
    WHEN 'bookings' THEN public.booking_was_of(told.row_id, person)
    WHEN 'reviews' THEN
      EXISTS (SELECT FROM public.reviews r WHERE r.id = told.row_id AND public.booking_was_of(r.booking_id, person))
      OR EXISTS (SELECT FROM public.events e
                  WHERE e.table_name = 'reviews' AND e.row_id = told.row_id
                    AND public.booking_was_of((e.old ->> 'booking_id')::bigint, person))
    ELSE false END
$$;

-- The one way through an append-only table: has history forget a customer who is erased, and remember that it did.
-- It may no more than whoever calls it; what it may change is what history_is_only_erased lets through. It looks up
-- the events of each row, which the planner would not: how many rows are a person's, it cannot know.
CREATE FUNCTION erase_from_history(person bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('bookit.erasing', person::text, true);
  UPDATE public.events e SET (old, new, reason) = (SELECT w.old, w.new, w.reason FROM public.event_without_person(e) w)
   WHERE e.id = ANY (ARRAY(
     SELECT told.id
       FROM (SELECT 'users' AS table_name, person AS row_id
             UNION ALL SELECT 'bookings', b.id FROM public.bookings_of(person) b (id)
             UNION ALL SELECT 'reviews', r.id FROM public.reviews_of(person) r (id)) AS own
      CROSS JOIN LATERAL (
        SELECT t.id FROM public.events t
         WHERE (t.table_name, t.row_id) = (own.table_name, own.row_id) OFFSET 0) AS told));
  PERFORM set_config('bookit.erasing', '', true);
  INSERT INTO public.events (actor_id, actor, door, table_name, row_id, action, request_id)
  VALUES (
    nullif(current_setting('bookit.actor_id', true), '')::bigint,
    coalesce(nullif(current_setting('bookit.actor', true), ''), 'unknown'),
    coalesce(nullif(current_setting('bookit.door', true), ''), 'sql'),
    'users', person, 'erased',
    nullif(current_setting('bookit.request_id', true), ''));
END $$;

-- Refuses every statement that would change history, but one that erases: that one is judged row by row.
CREATE FUNCTION history_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND current_setting('bookit.erasing', true) ~ '^[0-9]{1,18}$' THEN
    RETURN NULL;
  END IF;
  RAISE 'history is append-only' USING ERRCODE = 'check_violation', CONSTRAINT = 'event_is_kept', TABLE = 'events';
END $$;

-- Whoever forges the setting gains nothing by it: only a row of somebody who is erased may change, and only into what
-- erasing makes of it.
CREATE FUNCTION history_is_only_erased() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  person bigint := current_setting('bookit.erasing', true);
  erased public.events := public.event_without_person(OLD);
BEGIN
  IF NEW IS DISTINCT FROM erased OR NOT public.is_erased(person) OR NOT public.event_is_of(OLD, person) THEN
    RAISE 'history is append-only' USING ERRCODE = 'check_violation', CONSTRAINT = 'event_is_kept', TABLE = 'events';
  END IF;
  RETURN NEW;
END $$;

-- A console could empty a table at one blow, past the triggers that remember each row: refused.
CREATE FUNCTION rows_go_one_by_one() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE 'delete the rows instead, so that history knows of them'
    USING ERRCODE = 'check_violation', CONSTRAINT = 'rows_go_one_by_one', TABLE = TG_TABLE_NAME;
END $$;

CREATE TRIGGER history_is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON events
  FOR EACH STATEMENT EXECUTE FUNCTION history_is_kept();
CREATE TRIGGER history_is_only_erased BEFORE UPDATE ON events
  FOR EACH ROW EXECUTE FUNCTION history_is_only_erased();

CREATE TRIGGER user_counts_its_changes BEFORE UPDATE ON users
  FOR EACH ROW EXECUTE FUNCTION row_counts_its_changes();
CREATE TRIGGER service_counts_its_changes BEFORE UPDATE ON services
  FOR EACH ROW EXECUTE FUNCTION row_counts_its_changes();
CREATE TRIGGER resource_counts_its_changes BEFORE UPDATE ON resources
  FOR EACH ROW EXECUTE FUNCTION row_counts_its_changes();
CREATE TRIGGER booking_counts_its_changes BEFORE UPDATE ON bookings
  FOR EACH ROW EXECUTE FUNCTION row_counts_its_changes();
CREATE TRIGGER review_counts_its_changes BEFORE UPDATE ON reviews
  FOR EACH ROW EXECUTE FUNCTION row_counts_its_changes();
CREATE TRIGGER opening_hours_count_their_changes BEFORE UPDATE ON opening_hours
  FOR EACH ROW EXECUTE FUNCTION row_counts_its_changes();
CREATE TRIGGER exception_counts_its_changes BEFORE UPDATE ON calendar_exceptions
  FOR EACH ROW EXECUTE FUNCTION row_counts_its_changes();

CREATE TRIGGER user_is_remembered AFTER INSERT OR UPDATE OR DELETE ON users
  FOR EACH ROW EXECUTE FUNCTION row_is_remembered('password_hash');
CREATE TRIGGER service_is_remembered AFTER INSERT OR UPDATE OR DELETE ON services
  FOR EACH ROW EXECUTE FUNCTION row_is_remembered();
CREATE TRIGGER resource_is_remembered AFTER INSERT OR UPDATE OR DELETE ON resources
  FOR EACH ROW EXECUTE FUNCTION row_is_remembered();
CREATE TRIGGER booking_is_remembered AFTER INSERT OR UPDATE OR DELETE ON bookings
  FOR EACH ROW EXECUTE FUNCTION row_is_remembered();
CREATE TRIGGER review_is_remembered AFTER INSERT OR UPDATE OR DELETE ON reviews
  FOR EACH ROW EXECUTE FUNCTION row_is_remembered();
CREATE TRIGGER opening_hours_are_remembered AFTER INSERT OR UPDATE OR DELETE ON opening_hours
  FOR EACH ROW EXECUTE FUNCTION row_is_remembered();
CREATE TRIGGER exception_is_remembered AFTER INSERT OR UPDATE OR DELETE ON calendar_exceptions
  FOR EACH ROW EXECUTE FUNCTION row_is_remembered();

CREATE TRIGGER users_go_one_by_one BEFORE TRUNCATE ON users
  FOR EACH STATEMENT EXECUTE FUNCTION rows_go_one_by_one();
CREATE TRIGGER services_go_one_by_one BEFORE TRUNCATE ON services
  FOR EACH STATEMENT EXECUTE FUNCTION rows_go_one_by_one();
CREATE TRIGGER resources_go_one_by_one BEFORE TRUNCATE ON resources
  FOR EACH STATEMENT EXECUTE FUNCTION rows_go_one_by_one();
CREATE TRIGGER bookings_go_one_by_one BEFORE TRUNCATE ON bookings
  FOR EACH STATEMENT EXECUTE FUNCTION rows_go_one_by_one();
CREATE TRIGGER reviews_go_one_by_one BEFORE TRUNCATE ON reviews
  FOR EACH STATEMENT EXECUTE FUNCTION rows_go_one_by_one();
CREATE TRIGGER opening_hours_go_one_by_one BEFORE TRUNCATE ON opening_hours
  FOR EACH STATEMENT EXECUTE FUNCTION rows_go_one_by_one();
CREATE TRIGGER exceptions_go_one_by_one BEFORE TRUNCATE ON calendar_exceptions
  FOR EACH STATEMENT EXECUTE FUNCTION rows_go_one_by_one();
