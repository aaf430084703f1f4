"""Second factors of the people of the tests, without a browser."""

from datetime import datetime

import psycopg
import pyotp

from bookit.people import recovery_codes, totp
from bookit.schema.tables import User
from bookit.settings import Settings

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
RECOVERY_CODE = "abcd-efgh-jkmn-pqrs"
INSERT_APP = "INSERT INTO authenticators (user_id, secret, last_step) VALUES (%s, %s, 0)"
INSERT_CODES = "INSERT INTO recovery_codes (user_id, code_hashes, remaining) VALUES (%s, %s, 1)"
INSERT_PASSKEY = """
INSERT INTO passkeys (user_id, name, credential_id, public_key, sign_count) VALUES (%s, %s, %s, 'AAAA', 0)
"""


def code_at(now: datetime, secret: str = SECRET) -> str:
    """Return what the app shows at this time."""
    return str(pyotp.TOTP(secret).at(now))


def insert_app(connection: psycopg.Connection, user: User, settings: Settings) -> None:
    """Give a user an app with ``SECRET``, and one recovery code. A superuser's connection writes no history of it."""
    connection.execute(INSERT_APP, (user.id, totp.encrypt(SECRET, settings.secrets)))
    connection.execute(INSERT_CODES, (user.id, [recovery_codes.hash_code(RECOVERY_CODE)]))


def insert_passkey(connection: psycopg.Connection, user: User, name: str = "Key") -> None:
    """Give a user a passkey that nothing can use."""
    connection.execute(INSERT_PASSKEY, (user.id, name, f"{name}{user.id:05}"[-8:]))
