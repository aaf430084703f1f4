"""Money: payments, refunds and the day closing."""
