-- What the tables themselves need: two extensions, and the functions that constraints, indexes and queries call.

-- Numbers in a GiST index, for booking_slot_free; parts of words in a GIN index, for search.
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE EXTENSION IF NOT EXISTS pg_trgm;

-- Whether a name is one of the time-zone database, in its own spelling. PostgreSQL also takes abbreviations (CET), rules
-- (EST5EDT, X5) and any case; Python reads these otherwise, or not at all. The setting has the name as the file has it.
CREATE FUNCTION timezone_is_known(zone text) RETURNS boolean LANGUAGE plpgsql SET timezone = 'UTC' AS $$
BEGIN
  IF zone !~ '^(UTC|US/.*[a-z].*|(Africa|America|Antarctica|Arctic|Asia|Atlantic|Australia|Brazil|Canada)/.+'
          '|(Chile|Etc|Europe|Indian|Mexico|Pacific)/.+)$' THEN
    RETURN false;
  END IF;
  PERFORM set_config('timezone', zone, true);
  RETURN current_setting('timezone') = zone;
EXCEPTION WHEN invalid_parameter_value THEN
  RETURN false;
END $$;

-- Conditions that many statements need; each is written here and nowhere else. They are functions and not text in Python
-- so that triggers, constraints, queries and a console share them. PostgreSQL inlines them: the plans are the same as with
-- the conditions written out, and over 60,000 bookings neither planning nor a booking took measurably longer. A migration
-- that changes is_live must also REINDEX booking_slot_free, which stores its result.

-- A live booking: it blocks its seat, unless it is a hold that has expired.
CREATE FUNCTION is_live(status text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN status IN ('pending', 'confirmed');

-- A hold that has expired; a booking without expires_at is no hold.
CREATE FUNCTION is_expired(expires_at timestamptz, moment timestamptz) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN expires_at IS NOT NULL AND expires_at <= moment;

CREATE FUNCTION blocks_at(status text, expires_at timestamptz, moment timestamptz) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN is_live(status) AND NOT is_expired(expires_at, moment);

-- The earliest start of a booking that can reach this moment: the visit lasts at most a day, and so does what it blocks
-- after it. It lets a range of time use the index on starts.
CREATE FUNCTION earliest_start(moment timestamptz) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
  RETURN moment - interval '2 days';
