"""People of the demo are marked.

Why: the demo's owner, whose password is public, stayed the owner of a business that began as a demo.

The running version survives this: it neither reads nor writes the mark.
"""

from alembic import op

revision = "0016"
down_revision = "0015"

# Only the seed uses these domains through its own door; who has changed their password since is a real person.
# The mark is no change that history needs: it says what history has said since the account was created.
MARK_SEEDED = r"""
ALTER TABLE users DISABLE TRIGGER USER;
UPDATE users u SET is_demo = true
 WHERE u.email ~ '@example[.](com|org|net)$'
   AND EXISTS (SELECT FROM events e WHERE e.table_name = 'users' AND e.row_id = u.id
                AND e.action = 'created' AND e.door = 'seed')
   AND NOT EXISTS (SELECT FROM events e WHERE e.table_name = 'users' AND e.row_id = u.id
                    AND e.action = 'changed' AND e.new ? 'password_hash');
ALTER TABLE users ENABLE TRIGGER USER;
"""

FUNCTIONS = r"""
-- A person of the demo who gets another password is a real one from then on. No password at all is not another one.
CREATE FUNCTION unmark_demo() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.is_demo := false;
  RETURN NEW;
END $$;

CREATE TRIGGER unmark_demo BEFORE UPDATE OF password_hash ON users
  FOR EACH ROW WHEN (OLD.is_demo AND NEW.password_hash NOT IN (OLD.password_hash, ''))
  EXECUTE FUNCTION unmark_demo();
"""


def upgrade() -> None:
    op.execute("ALTER TABLE users ADD COLUMN is_demo boolean NOT NULL DEFAULT false")
    op.execute(MARK_SEEDED)
    op.execute(FUNCTIONS)


def downgrade() -> None:
    op.execute("DROP TRIGGER unmark_demo ON users; DROP FUNCTION unmark_demo()")
    op.execute("ALTER TABLE users DROP COLUMN is_demo")
