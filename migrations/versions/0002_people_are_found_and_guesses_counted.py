"""The desk finds people by a part of their name or e-mail, and guessing passwords takes time.

Why: a list of a hundred thousand customers is searched as one types, and sign-ins are counted for all processes
together. The running version survives this: it uses neither. Building the indexes locks out writers of users for as
long as it takes, some seconds at a hundred thousand.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

TRIES = """
CREATE UNLOGGED TABLE tries (
  name VARCHAR NOT NULL,
  due_at TIMESTAMP WITH TIME ZONE NOT NULL,
  PRIMARY KEY (name)
);
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
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    op.execute("CREATE INDEX users_by_part_of_name ON users USING gin (name gin_trgm_ops)")
    op.execute("CREATE INDEX users_by_part_of_email ON users USING gin (email gin_trgm_ops)")
    op.get_bind().exec_driver_sql(TRIES)


def downgrade() -> None:
    op.execute("DROP FUNCTION seconds_until_next_try")
    op.execute("DROP TABLE tries")
    op.execute("DROP INDEX users_by_part_of_name, users_by_part_of_email")
