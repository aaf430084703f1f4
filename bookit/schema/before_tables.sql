-- What the tables themselves need: three extensions, and the functions that constraints, indexes and queries call.

-- Numbers in a GiST index, for booking_slot_free; parts of words in a GIN index, and letters without accents, for search.
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS unaccent;

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

-- A moment so many minutes later. It is IMMUTABLE, which + is not: an interval of minutes needs no time zone. It is in
-- PL/pgSQL because PostgreSQL would read and inline one in SQL for each claim that is written, and few have a pause.
CREATE FUNCTION minutes_after(moment timestamptz, minutes integer) RETURNS timestamptz
  LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  RETURN moment + make_interval(mins => minutes);
END $$;

-- Whether no id is in a list twice, and none is missing. It is in PL/pgSQL for the same reason: few bookings have a list.
CREATE FUNCTION are_different(ids bigint[]) RETURNS boolean LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
  RETURN (SELECT count(DISTINCT id) = count(*) AND count(id) = count(*) FROM unnest(ids) AS id);
END $$;

-- The earliest start of a booking that can reach this moment: the visit lasts at most 60 days, and up to three hours more
-- where the clocks go back, and what it blocks after it lasts a day. It lets a range of time use an index on starts.
CREATE FUNCTION earliest_start(moment timestamptz) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
  RETURN moment - interval '62 days';

-- A visit that lasts longer than a day. Few do, so they have a small index of their own, which stores this result.
CREATE FUNCTION is_long(start_time timestamptz, end_time timestamptz) RETURNS boolean
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN end_time - start_time > interval '26 hours';

-- The earliest start of a booking that can reach this moment and is not long.
CREATE FUNCTION earliest_short_start(moment timestamptz) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
  RETURN moment - interval '50 hours';

-- Text that people can see. visible_text.py makes such text of what is typed at a door; these hold for every writer. They
-- name code points, because classes such as [[:alnum:]] depend on the locale of the database. A sign that Unicode has not
-- assigned passes here, since that depends on the version of PostgreSQL; visible_text.py refuses it.

-- Whether a text is in NFC and has only signs that are seen or that shape others.
CREATE FUNCTION has_only_visible_signs(value text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN value IS NFC NORMALIZED
     -- No controls, blanks other than the space, signs of direction, private signs and noncharacters.
     AND value !~ ('[\u0001-\u0009\u000b-\u001f\u007f-\u00a0\u00ad\u061c\u1680\u180e\u2000-\u200b\u200e\u200f\u2028-\u202f'
       '\u205f-\u206f\u2800\u3000\u3164\ue000-\uf8ff\ufdd0-\ufdef\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff'
       '\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U0001fffe\U0001ffff\U0002fffe\U0002ffff'
       '\U0003fffe-\U000e001f\U000e0080-\U000e00ff\U000e01f0-\U0010ffff]')
     -- Tags only after a flag, as in those of England, Scotland and Wales.
     AND value !~ ('(^|[^\U0001f3f4\U000e0061-\U000e007a])[\U000e0020-\U000e007f]|[\U000e0020-\U000e007f]{8}')
     -- Joiners only between letters of scripts that have them, or emoji.
     AND value !~ '(^|[\u0001-\u05ff\u200c\u200d])[\u200c\u200d]|[\u200c\u200d]($|[\u0001-\u05ff])'
     -- Four accents or points on one letter, and no more.
     AND value !~ ('[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670'
       '\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u1ab0-\u1aff\u1dc0-\u1dff'
       '\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\U000e0100-\U000e01ef]{5}');

-- One line, with single spaces inside and none at its ends, and a sign outside the blocks of punctuation, symbols and
-- accents: a letter or a digit.
CREATE FUNCTION is_line(value text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN has_only_visible_signs(value) AND value !~ '\n|^ | $|  '
     AND value ~ ('[^\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u00d7\u00f7'
       '\u02c2-\u02c5\u02d2-\u02df\u0300-\u036f\u0483-\u0489\u0591-\u05cf\u0600-\u061f\u064b-\u065f\u2000-\u206f\u20a0-\u20ff'
       '\u2190-\u245f\u2500-\u2775\u2794-\u2bff\u2e00-\u2e2e\u2e30-\u2fff\u3000-\u3004\u3008-\u3020\u3030\ufe00-\ufe6f'
       '\uff01-\uff0f\U0001d000-\U0001d1ff\U0001f000-\U0001f0ff\U0001f130-\U0001fbef\U000e0000-\U000e0fff]');

-- Lines with at most one empty line between them, and any sign that is seen by itself.
CREATE FUNCTION is_paragraphs(value text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN has_only_visible_signs(value) AND value !~ '(^|\n) | (\n|$)|  |^\n|\n$|\n\n\n'
     AND value ~ '[^ \n\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u064b-\u065f\u200c\u200d\ufe00-\ufe0f]';

-- Search. Both what is stored and what is typed are compared by their keys, so one definition serves both doors.

-- The names in the body of this function were looked up when it was created, so any search_path will do. It is IMMUTABLE
-- as long as the rules of unaccent are: after an upgrade of PostgreSQL, REINDEX what search_key and sort_key are in.
CREATE FUNCTION without_accents(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN lower(unaccent('unaccent', lower(value)) COLLATE "C");

-- A text with letters outside ASCII, for search_key: in small letters without accents, points and apostrophes. unaccent
-- knows the letters of European languages; of others, what is left is decomposed.
CREATE FUNCTION fold_letters(value text) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  key text := regexp_replace(
    replace(public.without_accents(value), E'\n', ' '), '[''`\u00b4\u02b9\u02bb-\u02bf\u02c8\u2018\u2019\u201b\u2032]', '', 'g');
BEGIN
  IF octet_length(key) = char_length(key) THEN
    RETURN key;
  END IF;
  key := regexp_replace(normalize(key, NFKD), '[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670]', '', 'g');
  RETURN replace(public.without_accents(key), E'\u03c2', E'\u03c3');
END $$;

-- The key by which a text is found: a blank, and the text with folded letters, without apostrophes. PostgreSQL inlines it;
-- most texts are ASCII and need no more than small letters.
CREATE FUNCTION search_key(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN ' ' || CASE WHEN octet_length(value) = char_length(value)
                     THEN lower(translate(value, E'\n''`', ' ') COLLATE "C")
                     ELSE fold_letters(value) END;

-- The LIKE pattern that a key matches if its text has this word.
CREATE FUNCTION search_pattern(word text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN '%' || replace(replace(replace(substr(search_key(word), 2), '\', '\\'), '%', '\%'), '_', '\_') || '%';

CREATE FUNCTION search_patterns(words text[]) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN ARRAY(SELECT search_pattern(word) FROM unnest(words) AS word);

-- The same for a table so large that it needs an index of trigrams. A word with so few letters or digits that the index
-- finds nothing must begin a word: it needs three, two that end a word, or one that begins a word. Signs match anywhere.
CREATE FUNCTION indexed_search_pattern(word text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN substr(search_key(word), 2) ~ (
                '[[:alnum:]]{3}|[[:alnum:]]{2}[^[:alnum:]]|[^[:alnum:]][[:alnum:]]|^[^[:alnum:]]*$')
              THEN search_pattern(word)
              ELSE '% ' || substr(search_pattern(word), 2) END;

-- The key by which names are sorted for people: anna, Änne, Zoe, and Room 2 before Room 10. It needs no ICU, which the
-- embedded PostgreSQL lacks.
CREATE FUNCTION sort_key(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN value ~ '[0-9]' THEN regexp_replace(
                regexp_replace(search_key(value), '([0-9]+)', '000000000\1', 'g'), '0*([0-9]{10})(?![0-9])', '\1', 'g')
              ELSE search_key(value) END COLLATE "C";
