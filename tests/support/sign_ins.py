"""Sign-ins that tests make without signing in: real rows that last, which history does not have."""

import json
import secrets
from base64 import b64encode
from datetime import datetime, timedelta

import itsdangerous
import jwt
import psycopg

from api.auth import create_access_token
from bookit.schema.tables import User
from bookit.settings import Settings
from tests.support.people import Person

LASTING = timedelta(days=3650)
# The last use lies in the future, so that none is noted.
INSERT_SIGN_IN = """
INSERT INTO sign_ins (user_id, door, role, sid, created_at, last_seen_at, idle_ends_at, expires_at)
VALUES (%(user_id)s, %(door)s, %(role)s, %(sid)s, %(now)s, %(ends)s, %(ends)s, %(ends)s)
"""


def insert_sign_in(connection: psycopg.Connection, user: User, *, now: datetime, door: str) -> str:
    """Insert a sign-in that lasts, and return its name. A superuser's connection writes no history of it."""
    sid = secrets.token_urlsafe(24)
    facts = {"user_id": user.id, "door": door, "role": user.role, "sid": sid, "now": now, "ends": now + LASTING}
    connection.execute(INSERT_SIGN_IN, facts)
    return sid


def make_token(connection: psycopg.Connection, user: User, settings: Settings, *, now: datetime) -> str:
    """Return an access token of a new sign-in at the API."""
    return create_access_token(user, settings, now=now, sid=insert_sign_in(connection, user, now=now, door="api"))


def token_of(person: Person, settings: Settings, *, now: datetime) -> str:
    """Return a new access token of the sign-in that the client of this person has."""
    token = person.client.headers["authorization"].removeprefix("Bearer ")
    sid = jwt.decode(token, options={"verify_signature": False})["sid"]
    return create_access_token(person.user, settings, now=now, sid=sid)


def make_cookie(connection: psycopg.Connection, user: User, settings: Settings, *, now: datetime) -> str:
    """Return the value of a cookie of a new sign-in at the admin panel."""
    session = {"user": user.id, "sid": insert_sign_in(connection, user, now=now, door="admin")}
    signer = itsdangerous.TimestampSigner(settings.secret_key.get_secret_value())
    return signer.sign(b64encode(json.dumps(session).encode())).decode()
