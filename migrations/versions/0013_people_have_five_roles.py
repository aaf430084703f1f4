"""People have five roles, a person can have their own calendar, and an owner remains.

Why: one role saw and took everything that the desk needs, so a stylist had all customers; and the only owner could lock
themselves out.

The running version survives this: it knows the three roles that it has, and people with a new one cannot sign in to it.
"""

from alembic import op

revision = "0013"
down_revision = "0012"

KEEP_AN_OWNER = r"""
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
"""


def upgrade() -> None:
    op.execute("""
        ALTER TABLE users
          ADD COLUMN resource_id bigint,
          DROP CONSTRAINT user_role_is_known,
          ADD CONSTRAINT user_role_is_known CHECK (role IN ('user', 'own_calendar', 'staff', 'manager', 'admin')),
          ADD CONSTRAINT user_with_own_calendar_has_a_resource
            CHECK (role <> 'own_calendar' OR resource_id IS NOT NULL),
          ADD CONSTRAINT user_works_as_a_resource FOREIGN KEY (resource_id) REFERENCES resources (id)
    """)
    op.execute("CREATE INDEX users_by_resource ON users (resource_id) WHERE resource_id IS NOT NULL")
    op.execute(KEEP_AN_OWNER)


def downgrade() -> None:
    op.execute("DROP TRIGGER an_owner_remains ON users; DROP FUNCTION keep_an_owner()")
    op.execute("UPDATE users SET role = 'staff' WHERE role IN ('own_calendar', 'manager')")
    op.execute("""
        ALTER TABLE users
          DROP COLUMN resource_id,
          DROP CONSTRAINT user_role_is_known,
          ADD CONSTRAINT user_role_is_known CHECK (role IN ('user', 'staff', 'admin'))
    """)
