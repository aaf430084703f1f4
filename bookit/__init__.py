"""What BookIt is: services, resources, bookings, reviews, and the rules they obey.

This package knows no HTTP and no HTML. Two doors stand on it: ``admin`` for staff and ``api`` for customers. Start with
``schema/tables.py`` (constraints), then ``policy/`` (decisions that depend on the time and the actor), then
``bookings/acts.py`` (what may happen).
"""

__version__ = "0.1.0"
