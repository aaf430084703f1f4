"""Accounts, sign-in, passwords, erasure and data export. Knows no HTTP and no HTML."""
