"""Everything that may happen to bookings, and when they are possible. Knows no HTTP and no HTML."""
