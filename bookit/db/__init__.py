"""Connections, transactions, statements and the embedded PostgreSQL. Knows no subject."""
