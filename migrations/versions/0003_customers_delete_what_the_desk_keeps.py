"""Bookings remember when their customer deleted them.

Why: a customer's DELETE removed the row, so the desk's lists and reports knew nothing of the cancelled visit.

The running version survives it: the column may be NULL, and that version never writes it.
"""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE bookings
          ADD COLUMN deleted_by_customer_at timestamptz,
          ADD CONSTRAINT booking_deleted_by_customer_is_cancelled
            CHECK (deleted_by_customer_at IS NULL OR status = 'cancelled')
    """)


def downgrade() -> None:
    op.execute("ALTER TABLE bookings DROP COLUMN deleted_by_customer_at")
