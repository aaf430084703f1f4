"""A sender whose attempt at a password is one too many is given a turn.

Why: whoever guessed once every thirty seconds kept the owner of an account out, for as long as they liked.

The running version does not survive this: it calls ``seconds_until_next_try``. Stop it before the upgrade.
"""

from alembic import op

revision = "0014"
down_revision = "0013"

FUNCTION = r"""
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
"""

DOWN = """
DROP FUNCTION seconds_until_attempt;
CREATE FUNCTION seconds_until_next_try(who text, burst integer, per interval)
RETURNS double precision LANGUAGE sql AS $$
  SELECT wait FROM public.take_from_rate(who, burst, per)
$$;
"""


def upgrade() -> None:
    op.execute("DROP FUNCTION seconds_until_next_try")
    op.execute(FUNCTION)


def downgrade() -> None:
    op.execute(DOWN)
