"""The table of sign-in attempts counts every rate, under names of fixed length.

Why: a name held what a stranger had typed, up to 800 letters, and forty megabytes in ten seconds.

The running version survives this: it calls ``seconds_until_next_try``, which stays. Until it is replaced, a successful
sign-in does not reset its counters, because it looks for them under the old names.
"""

from alembic import op

revision = "0008"
down_revision = "0007"

FUNCTIONS = r"""
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

-- Counts an attempt under this name. Returns 0, or for how many seconds the caller must wait.
CREATE FUNCTION seconds_until_next_try(who text, burst integer, per interval)
RETURNS double precision LANGUAGE sql AS $$
  SELECT wait FROM public.take_from_rate(who, burst, per)
$$;
"""

DOWN = """
DROP FUNCTION seconds_until_next_try, take_from_rate, counter_name;
ALTER TABLE tries DROP CONSTRAINT try_name_is_a_hash;
DELETE FROM tries;
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
"""


def upgrade() -> None:
    op.execute("DELETE FROM tries")
    op.execute("ALTER TABLE tries ADD CONSTRAINT try_name_is_a_hash CHECK (name ~ '^[0-9a-f]{64}$')")
    op.execute("DROP FUNCTION seconds_until_next_try")
    op.execute(FUNCTIONS)


def downgrade() -> None:
    op.execute(DOWN)
