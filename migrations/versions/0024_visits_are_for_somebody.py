"""A booking says for whom the visit is, if not for the customer.

Why: a mother books for her daughter, and the colleague called the wrong name.

The running version survives this: it neither reads nor writes the name.
"""

from alembic import op

revision = "0024"
down_revision = "0023"

ADD = """
ALTER TABLE bookings
  ADD COLUMN visitor_name varchar,
  ADD CONSTRAINT booking_visitor_name_has_1_to_100_characters CHECK (char_length(visitor_name) BETWEEN 1 AND 100),
  ADD CONSTRAINT booking_visitor_name_is_visible
    CHECK (visitor_name IS NULL OR visitor_name = '' OR is_line(visitor_name));
"""


def upgrade() -> None:
    op.execute(ADD)


def downgrade() -> None:
    op.execute("ALTER TABLE bookings DROP COLUMN visitor_name")
