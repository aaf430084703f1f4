"""A closure is by the clock of each resource.

Why: a day off was closed by the clock of the business, so a resource in another time zone was open for half of it.

The running version survives this: it writes closures without a zone, which are at exact moments, as all were before.
"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE calendar_exceptions
          ADD COLUMN timezone varchar,
          ADD CONSTRAINT exception_timezone_is_known CHECK (timezone IS NULL OR timezone_is_known(timezone))
    """)


def downgrade() -> None:
    op.execute("ALTER TABLE calendar_exceptions DROP COLUMN timezone")
