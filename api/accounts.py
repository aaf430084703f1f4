"""Accounts: joining, signing in and out, one's own profile."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.json_schema import WithJsonSchema

from api.auth import access_token
from api.endpoint import SIGNED_IN, Api, Call, Sent
from api.problems import Unreadable
from api.schemas import Answer, Change, Shape, field_of, row_answer, sent
from bookit import records
from bookit import refusals as no
from bookit.people import data_export, passwords, sign_in
from bookit.policy import limits
from bookit.schema.fields import OPTIONAL_TEXT_PATTERN
from bookit.schema.tables import User

api = Api()
TAG = "accounts"

UserAnswer: Any = row_answer(User, "id", "name", "email", "role", "is_active", "created_at")
PortraitAnswer: Any = dict[str, Any]
AS_A_FILE = 'attachment; filename="bookit-export.json"'
A_PASSWORD = {
    "type": "string",
    "format": "password",
    "minLength": limits.MIN_PASSWORD_LENGTH,
    "maxLength": limits.MAX_PASSWORD_BYTES,
    "description": "8 characters or more; 72 bytes at most, as bcrypt reads no further.",
}
NewPassword = Annotated[
    str,
    Field(min_length=limits.MIN_PASSWORD_LENGTH, max_length=limits.MAX_PASSWORD_BYTES, pattern=OPTIONAL_TEXT_PATTERN),
    WithJsonSchema(A_PASSWORD),
]
# What somebody types to sign in is looked up as it is: only what is kept has to have a shape.
Typed = Annotated[str, Field(max_length=1000, pattern=OPTIONAL_TEXT_PATTERN)]
Name: Any = field_of(User, "name", is_sent=True)[0]
Email: Any = field_of(User, "email", is_sent=True)[0]


class NewUser(Shape):
    """Somebody who joins."""

    name: Name
    email: Email
    password: NewPassword


class SignIn(Shape):
    """Who somebody says they are."""

    email: Typed
    password: Typed


class RefreshTokenSent(Shape):
    """The refresh token of a sign-in."""

    refresh_token: Typed


class Tokens(Answer):
    """A sign-in: a token for the next minutes, and one to get the next pair with."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 -- a kind of token


class SignedOut(Answer):
    """The sign-in is over."""

    detail: str = "Signed out."


class ChangedUser(Change):
    """What may change of one's own profile."""

    name: Name = None
    email: Email = None
    password: NewPassword = ""
    current_password: Annotated[Typed, Field(description="Needed with a new password.")] = ""


@api("POST", "/auth/register", tag=TAG, status=201, refuses=(no.EmailTaken, Unreadable))
async def register(call: Call, body: NewUser) -> UserAnswer:
    """Join as a customer."""
    password_hash = await passwords.hash_password(body.password)
    async with call.transaction() as session:
        return await records.create(
            session, User, **call.asking, name=body.name, email=body.email, password_hash=password_hash
        )


@api("POST", "/auth/login", tag=TAG, refuses=(no.WrongPassword, no.TooManyGuesses, Unreadable))
async def login(call: Call, body: SignIn) -> Tokens:
    """Sign in."""
    user = await sign_in.authenticate(
        call.database, email=body.email, password=body.password, client_address=call.address
    )
    async with call.transaction() as session:
        refresh_token = await sign_in.issue_refresh_token(session, user, now=call.now, lifetime=sign_in_lasts(call))
    return tokens(call, user, refresh_token)


@api("POST", "/auth/refresh", tag=TAG, refuses=(no.SignInEnded, Unreadable))
async def refresh(call: Call, body: RefreshTokenSent) -> Tokens:
    """Carry on a sign-in with its next pair of tokens. A refresh token works once; used again, the sign-in ends."""
    async with call.transaction() as session:
        renewed = await sign_in.rotate_refresh_token(
            session, body.refresh_token, now=call.now, lifetime=sign_in_lasts(call)
        )
    if renewed is None:
        raise no.SignInEnded
    return tokens(call, *renewed)


@api("POST", "/auth/logout", tag=TAG, refuses=(Unreadable,))
async def logout(call: Call, body: RefreshTokenSent) -> SignedOut:
    """Sign out: end the sign-in this refresh token belongs to, if it still lives."""
    async with call.transaction() as session:
        await sign_in.sign_out(session, body.refresh_token)
    return SignedOut()


@api("GET", "/me", tag=TAG, access=SIGNED_IN)
async def get_me(call: Call) -> UserAnswer:
    """Get one's own profile."""
    return call.user


@api("GET", "/me/export", tag=TAG, access=SIGNED_IN)
async def export_me(call: Call) -> PortraitAnswer:
    """Get everything BookIt holds of oneself, as one document: account, bookings, reviews, sign-ins and history."""
    if call.user is None:
        raise no.SignInEnded
    return Sent(await data_export.export(call.database, call.user, now=call.now), {"Content-Disposition": AS_A_FILE})


NOT_CHANGED = (no.EmailTaken, no.CurrentPasswordNeeded, no.WrongCurrentPassword, no.TooManyGuesses, Unreadable)


@api("PATCH", "/me", tag=TAG, access=SIGNED_IN, refuses=NOT_CHANGED)
async def change_me(call: Call, body: ChangedUser) -> UserAnswer:
    """Change one's own profile. A new password needs the current one, and ends every other sign-in."""
    changes = sent(body)
    current = changes.pop("current_password", None)
    password = changes.pop("password", None)
    if password and call.user:
        changes["password_hash"] = await sign_in.hash_own_password(
            call.database, call.user, password, current=current, client_address=call.address
        )
    async with call.transaction() as session:
        me = await records.lock(session, User, call.by.id or 0)
        return await records.change(session, me, **call.asking, **changes)


def sign_in_lasts(call: Call) -> timedelta:
    return timedelta(days=call.settings.refresh_token_expire_days)


def tokens(call: Call, user: User, refresh_token: str) -> Tokens:
    return Tokens(access_token=access_token(user, call.settings, now=call.now), refresh_token=refresh_token)
