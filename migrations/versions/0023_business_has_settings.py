"""The business has settings: one row with its name, address, phone, time zone, currency and locale.

Why: an owner could change none of them at the desk, and no price said its currency. The time zone stays empty, and the
variable TIMEZONE counts as before, until an owner saves the business.

The running version survives this: it does not read the table.
"""

from alembic import op

revision = "0023"
down_revision = "0022"

TABLE = r"""
CREATE TABLE business (
  id bigint NOT NULL DEFAULT 1 PRIMARY KEY,
  name varchar NOT NULL DEFAULT 'My business',
  address varchar NOT NULL DEFAULT '',
  phone varchar NOT NULL DEFAULT '',
  timezone varchar,
  currency varchar NOT NULL DEFAULT 'EUR',
  locale varchar NOT NULL DEFAULT 'en_GB',
  version integer NOT NULL DEFAULT 1,
  CONSTRAINT business_is_the_only_one CHECK (id = 1),
  CONSTRAINT business_name_has_1_to_200_characters CHECK (char_length(name) BETWEEN 1 AND 200),
  CONSTRAINT business_name_is_visible CHECK (name = '' OR is_line(name)),
  CONSTRAINT business_address_has_at_most_1000_characters CHECK (char_length(address) <= 1000),
  CONSTRAINT business_address_is_visible CHECK (address = '' OR is_paragraphs(address)),
  CONSTRAINT business_phone_has_at_most_50_characters CHECK (char_length(phone) <= 50),
  CONSTRAINT business_phone_is_visible CHECK (phone = '' OR is_line(phone)),
  CONSTRAINT business_timezone_is_known CHECK (timezone IS NULL OR timezone_is_known(timezone)),
  CONSTRAINT business_currency_looks_like_one CHECK (currency ~ '^[A-Z]{3}$'),
  CONSTRAINT business_locale_looks_like_one CHECK (locale ~ '^[a-z]{2,3}(_[A-Z][a-z]{3})?_([A-Z]{2}|[0-9]{3})$')
);
INSERT INTO business DEFAULT VALUES;
"""

TRIGGERS = r"""
-- The business. Its only row is made with the table, and stays.

CREATE FUNCTION forbid_removal_of_business() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE 'the business is kept' USING ERRCODE = 'check_violation', CONSTRAINT = 'business_is_kept', TABLE = 'business';
END $$;

CREATE TRIGGER business_is_kept BEFORE DELETE ON business
  FOR EACH STATEMENT EXECUTE FUNCTION forbid_removal_of_business();

CREATE TRIGGER audit_row AFTER INSERT OR UPDATE OR DELETE ON business
  FOR EACH ROW EXECUTE FUNCTION audit_row();
CREATE TRIGGER bump_version BEFORE UPDATE ON business
  FOR EACH ROW EXECUTE FUNCTION bump_version();
CREATE TRIGGER forbid_truncate BEFORE TRUNCATE ON business
  FOR EACH STATEMENT EXECUTE FUNCTION forbid_truncate();
"""


def upgrade() -> None:
    op.execute(TABLE)
    op.execute(TRIGGERS)


def downgrade() -> None:
    op.execute("DROP TABLE business")
    op.execute("DROP FUNCTION forbid_removal_of_business()")
