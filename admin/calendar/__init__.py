"""The calendar: its page, what it shows, and what can be done on it."""
