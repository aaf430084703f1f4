"""A demo business that looks real, created through the same rules as any other data.

Code calls ``seed.business.seed_database``; ``python -m seed`` is the command. Everything is drawn from one seed number
and laid out around one moment, so the same two give the same rows.

    studio.py         who and what: services, resources, opening hours, names
    review_texts.py   what customers write about their visits
    schedule.py       who comes when, and how each visit ends
    business.py       creates the business and its bookings, step by step
    bulk.py           adds branches with as many bookings as a load test needs
"""
