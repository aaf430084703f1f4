"""Limits, permissions, life cycle and times, as data and pure functions. Reads no rows and calls no clock."""
