"""What BookIt is: services, resources, bookings, reviews, and the rules they obey.

This package knows no HTTP and no HTML. Two doors stand on it: ``admin`` for staff and ``api`` for
customers. Start with ``tables.py`` (what is never false), then ``policy.py`` (what depends on now and
who), then ``bookings.py`` (what may happen).
"""

__version__ = "0.1.0"
