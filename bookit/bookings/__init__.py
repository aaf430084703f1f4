"""Bookings: acts, availability, bulk changes, undo. Knows no HTTP and no HTML."""
