"""History is kept as long as the business wants.

Why: history grew for ever, and with it the personal data in it. A job deletes what is older than a setting, and nothing
that is younger than 30 days. The running version survives it: it deletes nothing.
"""

from alembic import op

revision = "0012"
down_revision = "0011"

CREATE = r"""
CREATE OR REPLACE FUNCTION forbid_history_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND current_setting('bookit.erasing', true) ~ '^[0-9]{1,18}$'
     OR TG_OP = 'DELETE' AND current_setting('bookit.history_days', true) ~ '^[0-9]{1,6}$' THEN
    RETURN NULL;
  END IF;
  RAISE 'history is append-only' USING ERRCODE = 'check_violation', CONSTRAINT = 'history_is_append_only', TABLE = 'events';
END $$;

CREATE FUNCTION check_retention() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF OLD.at > clock_timestamp() - make_interval(days => greatest(30, current_setting('bookit.history_days')::int)) THEN
    RAISE 'history is append-only' USING ERRCODE = 'check_violation', CONSTRAINT = 'history_is_append_only', TABLE = 'events';
  END IF;
  RETURN OLD;
END $$;

CREATE TRIGGER check_retention BEFORE DELETE ON events
  FOR EACH ROW EXECUTE FUNCTION check_retention();
"""

REMOVE = r"""
DROP TRIGGER check_retention ON events;
DROP FUNCTION check_retention();

CREATE OR REPLACE FUNCTION forbid_history_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND current_setting('bookit.erasing', true) ~ '^[0-9]{1,18}$' THEN
    RETURN NULL;
  END IF;
  RAISE 'history is append-only' USING ERRCODE = 'check_violation', CONSTRAINT = 'history_is_append_only', TABLE = 'events';
END $$;
"""


def upgrade() -> None:
    op.execute(CREATE)


def downgrade() -> None:
    op.execute(REMOVE)
