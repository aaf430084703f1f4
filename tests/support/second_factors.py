"""Second factors of the people of the tests, without a browser."""

import json
from datetime import datetime
from hashlib import sha256

import cbor2
import psycopg
import pyotp
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import bytes_to_base64url

from bookit.people import recovery_codes, totp
from bookit.people.passkeys import Ceremony
from bookit.schema.tables import User
from bookit.settings import Settings

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
RECOVERY_CODE = "abcd-efgh-jkmn-pqrs"
INSERT_APP = "INSERT INTO authenticators (user_id, secret, last_step) VALUES (%s, %s, 0)"
INSERT_CODES = "INSERT INTO recovery_codes (user_id, code_hashes, remaining) VALUES (%s, %s, 1)"
INSERT_PASSKEY = """
INSERT INTO passkeys (user_id, name, credential_id, public_key, sign_count) VALUES (%s, %s, %s, 'AAAA', 0)
"""
INSERT_SOFT_PASSKEY = """
INSERT INTO passkeys (user_id, name, credential_id, public_key, sign_count) VALUES (%s, 'Soft', %s, %s, 0)
"""


def code_at(now: datetime, secret: str = SECRET) -> str:
    """Return what the app shows at this time."""
    return str(pyotp.TOTP(secret).at(now))


def insert_app(connection: psycopg.Connection, user: User, settings: Settings) -> None:
    """Insert an app with ``SECRET`` and one recovery code. A superuser's connection writes no history of it."""
    connection.execute(INSERT_APP, (user.id, totp.encrypt(SECRET, settings.secrets)))
    connection.execute(INSERT_CODES, (user.id, [recovery_codes.hash_code(RECOVERY_CODE)]))


def insert_passkey(connection: psycopg.Connection, user: User, name: str = "Key") -> None:
    """Insert a passkey of a user, which nothing can use."""
    connection.execute(INSERT_PASSKEY, (user.id, name, f"{name}{user.id:05}"[-8:]))


class SoftPasskey:
    """A passkey of a user, whose private key the test has: it signs whatever the test wants."""

    def __init__(self, connection: psycopg.Connection, user: User) -> None:
        self.private_key = ec.generate_private_key(ec.SECP256R1())
        self.id, self.sign_count = f"soft{user.id:04}", 0
        numbers = self.private_key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        public_key = bytes_to_base64url(cbor2.dumps(cose))
        connection.execute(INSERT_SOFT_PASSKEY, (user.id, self.id, public_key))

    def answer(self, ceremony: Ceremony, *, verified: bool = True, origin: str = "", rp_id: str = "") -> str:
        """Return what a browser would send."""
        self.sign_count += 1
        client = {"type": "webauthn.get", "challenge": bytes_to_base64url(ceremony.challenge)}
        client_data = json.dumps(client | {"origin": origin or ceremony.origins[0]}).encode()
        flags = bytes([0b101 if verified else 0b001])
        data = sha256((rp_id or ceremony.rp_id).encode()).digest() + flags + self.sign_count.to_bytes(4, "big")
        signature = self.private_key.sign(data + sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
        parts = {"clientDataJSON": client_data, "authenticatorData": data, "signature": signature}
        response = {name: bytes_to_base64url(part) for name, part in parts.items()}
        return json.dumps({"id": self.id, "rawId": self.id, "type": "public-key", "response": response})
