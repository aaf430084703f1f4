"""A believable business to look at, made through the same rules as a real one.

``seed.business.plant`` is the way in from code, ``python -m seed`` the one from a terminal. Everything is drawn from
one seed number and laid out around one moment, so the same two give the same rows.

    studio.py     who and what: services, resources, hours, names
    voices.py     what customers say of their visits
    diary.py      who comes when, and how it ends
    business.py   plants the above
    many.py       plants a chain of rooms with as many bookings as a load test wants
"""
