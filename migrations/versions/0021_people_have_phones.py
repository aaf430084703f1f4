"""People have a phone number, and customers need no e-mail address and no password.

Why: whoever calls has no e-mail address at hand, and the desk invented some.

An empty hash, which stood for no password, becomes NULL. The mark is no change that history needs. Search finds people
by their phone numbers too, so its index is made anew.

The running version survives this as long as everybody has an e-mail address: it reads a person without one, and cannot
show them. It searches without its index.
"""

from alembic import op

revision = "0021"
down_revision = "0020"

COLUMNS = """
ALTER TABLE users
  ALTER COLUMN email DROP NOT NULL, ALTER COLUMN password_hash DROP NOT NULL,
  ADD COLUMN phone varchar, ADD COLUMN birthday date, ADD COLUMN language varchar;
ALTER TABLE users DISABLE TRIGGER USER;
UPDATE users SET password_hash = NULL WHERE password_hash = '';
ALTER TABLE users ENABLE TRIGGER USER;
ALTER TABLE users
  ADD CONSTRAINT user_account_has_an_email CHECK (email IS NOT NULL OR (role = 'user' AND password_hash IS NULL)),
  ADD CONSTRAINT user_can_be_reached CHECK (email IS NOT NULL OR phone IS NOT NULL),
  ADD CONSTRAINT user_phone_is_international CHECK (phone ~ '^\\+[1-9][0-9]{6,14}$'),
  ADD CONSTRAINT user_birthday_lies_in_the_calendar CHECK (birthday BETWEEN '1900-01-01' AND '2999-12-31'),
  ADD CONSTRAINT user_language_is_known CHECK (language IN ('en', 'de'));
DROP INDEX users_by_search_key;
CREATE INDEX users_by_search_key ON users USING gin (
  search_key(name || ' ' || coalesce(email, '') || ' ' || coalesce(phone, '')) gin_trgm_ops);
"""

FUNCTIONS = r"""
DROP TRIGGER unmark_demo ON users;
CREATE TRIGGER unmark_demo BEFORE UPDATE OF password_hash ON users
  FOR EACH ROW WHEN (OLD.is_demo AND NEW.password_hash IS NOT NULL AND NEW.password_hash IS DISTINCT FROM OLD.password_hash)
  EXECUTE FUNCTION unmark_demo();

DROP TRIGGER end_sign_ins ON users;
CREATE TRIGGER end_sign_ins AFTER UPDATE OF password_hash, role, is_active ON users
  FOR EACH ROW WHEN (OLD.password_hash IS DISTINCT FROM NEW.password_hash OR OLD.role <> NEW.role
                     OR OLD.is_active AND NOT NEW.is_active)
  EXECUTE FUNCTION end_sign_ins();

CREATE OR REPLACE FUNCTION without_person(row_values jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT coalesce(
           jsonb_object_agg(key, CASE
             WHEN key IN ('name', 'email', 'phone', 'birthday', 'comment', 'visitor_name') AND value <> 'null' THEN '"erased"'
             ELSE value END), row_values)
    FROM jsonb_each(row_values)
$$;
"""

# A person without an e-mail address gets one at a reserved domain, as erased people have.
DOWN = r"""
CREATE OR REPLACE FUNCTION without_person(row_values jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT coalesce(
           jsonb_object_agg(key, CASE WHEN key IN ('name', 'email', 'comment') THEN '"erased"' ELSE value END), row_values)
    FROM jsonb_each(row_values)
$$;

DROP TRIGGER end_sign_ins ON users;
CREATE TRIGGER end_sign_ins AFTER UPDATE OF password_hash, role, is_active ON users
  FOR EACH ROW WHEN (OLD.password_hash <> NEW.password_hash OR OLD.role <> NEW.role OR OLD.is_active AND NOT NEW.is_active)
  EXECUTE FUNCTION end_sign_ins();

DROP TRIGGER unmark_demo ON users;
CREATE TRIGGER unmark_demo BEFORE UPDATE OF password_hash ON users
  FOR EACH ROW WHEN (OLD.is_demo AND NEW.password_hash NOT IN (OLD.password_hash, ''))
  EXECUTE FUNCTION unmark_demo();

DROP INDEX users_by_search_key;
ALTER TABLE users
  DROP CONSTRAINT user_account_has_an_email, DROP CONSTRAINT user_can_be_reached,
  DROP CONSTRAINT user_phone_is_international,
  DROP CONSTRAINT user_birthday_lies_in_the_calendar, DROP CONSTRAINT user_language_is_known;
ALTER TABLE users DISABLE TRIGGER USER;
UPDATE users SET password_hash = '' WHERE password_hash IS NULL;
UPDATE users SET email = 'no-email-' || id || '@nobody.invalid' WHERE email IS NULL;
ALTER TABLE users ENABLE TRIGGER USER;
ALTER TABLE users
  DROP COLUMN phone, DROP COLUMN birthday, DROP COLUMN language,
  ALTER COLUMN email SET NOT NULL, ALTER COLUMN password_hash SET NOT NULL;
CREATE INDEX users_by_search_key ON users USING gin (search_key(name || ' ' || email) gin_trgm_ops);
"""


def upgrade() -> None:
    op.execute(COLUMNS)
    op.execute(FUNCTIONS)


def downgrade() -> None:
    op.execute(DOWN)
