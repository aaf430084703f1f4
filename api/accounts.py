"""Accounts: registration, signing in and out, the profile of the signed-in user."""

from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.json_schema import WithJsonSchema

from api.access import AUTH_IN_HANDLER, AUTH_REQUIRED
from api.auth import create_access_token, read_sid
from api.context import RequestContext
from api.endpoint import CONDITIONAL_HEADERS, Api
from api.not_null import NOT_NULL
from api.problems import Unreadable
from api.schemas import (
    Date,
    PatchModel,
    RequestModel,
    ResponseModel,
    field_from_table,
    get_provided_fields,
    make_named_row_model,
    make_row_model,
)
from api.streaming import StreamedJson
from bookit import records
from bookit import refusals as no
from bookit.people import data_export, devices, passwords, phones, refresh_tokens, second_factors, sign_in, sign_ins
from bookit.people.password_threads import Queue
from bookit.people.sign_ins import lifetime_at
from bookit.policy import limits, rates
from bookit.policy.permissions import Actor
from bookit.schema.fields import OPTIONAL_TEXT_PATTERN, Email
from bookit.schema.tables import Language, Role, User
from web.client_address import network_of
from web.sign_in_source import source_of

api = Api()
TAG = "accounts"

# Everybody with an account has an e-mail address.
ACCOUNT_EMAIL: Any = {"email": (str, Field(title="E-mail"))}
ACCOUNT_COLUMNS = ("id", "name", "email", "role", "is_active", "created_at")
PROFILE_COLUMNS = (*ACCOUNT_COLUMNS, "phone", "birthday", "language")
UserResponse: Any = make_row_model(User, *ACCOUNT_COLUMNS, **ACCOUNT_EMAIL)
ProfileResponse: Any = make_named_row_model("Profile", User, PROFILE_COLUMNS, ACCOUNT_EMAIL)
ExportResponse: Any = dict[str, Any]
EXPORT_DISPOSITION = 'attachment; filename="bookit-export.json"'
PASSWORD_SCHEMA = {
    "type": "string",
    "format": "password",
    "minLength": limits.MIN_PASSWORD_LENGTH,
    "maxLength": limits.MAX_PASSWORD_BYTES,
    "description": "At least 8 characters and at most 72 bytes, because bcrypt ignores the rest. No common password, "
    "no repeated sign or row such as 12345678, and not your name or e-mail address.",
}
NewPassword = Annotated[
    str,
    Field(min_length=limits.MIN_PASSWORD_LENGTH, max_length=limits.MAX_PASSWORD_BYTES, pattern=OPTIONAL_TEXT_PATTERN),
    WithJsonSchema(PASSWORD_SCHEMA),
]
# Text that is compared and not stored, so it needs no format.
PlainText = Annotated[str, Field(max_length=1000, pattern=OPTIONAL_TEXT_PATTERN)]
Name: Any = field_from_table(User, "name", is_request=True)[0]
EmailAddress = Annotated[Email, Field(min_length=3, max_length=255)]
Phone = Annotated[
    str,
    Field(
        min_length=1,
        max_length=phones.MAX_TYPED,
        pattern=OPTIONAL_TEXT_PATTERN,
        description="A phone number. Without a country code it is one of the country of the business.",
    ),
]
OwnLanguage = Annotated[Language, Field(description="en or de.")]
Birthday = Annotated[Date, Field(description="From 1900 to today.")]


PASSWORD_REFUSALS = (no.PasswordTooShort, no.PasswordTooLong, no.PasswordTooCommon, no.PasswordTooSimple,
                     no.PasswordIsYourName)  # fmt: skip
REGISTER_REFUSALS = (no.EmailTaken, no.NotAPhone, no.BirthdayOutOfRange, *PASSWORD_REFUSALS, Unreadable)


class NewUser(RequestModel):
    """A new customer."""

    name: Name
    email: EmailAddress
    password: NewPassword
    phone: Phone | None = None
    birthday: Birthday | None = None
    language: OwnLanguage | None = None


class SignIn(RequestModel):
    """The credentials of a user."""

    email: PlainText
    password: PlainText
    code: Annotated[
        PlainText | None,
        Field(description="Of staff who have a second factor: the code of the authenticator app, or a recovery code."),
    ] = None
    device_token: Annotated[
        PlainText | None,
        Field(description="From an earlier sign-in on this device. Strangers who guess cannot block it."),
    ] = None


class RefreshTokenRequest(RequestModel):
    """A refresh token."""

    refresh_token: PlainText


class SignOut(RequestModel):
    """The sign-in to end, by its refresh token."""

    refresh_token: Annotated[
        PlainText | None, Field(description="Without it, the sign-in of the access token ends.")
    ] = None


class Tokens(ResponseModel):
    """A pair of tokens: one for requests, valid for minutes, and one for the next pair."""

    access_token: str
    refresh_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105 -- a kind of token


class SignInTokens(Tokens):
    """A pair of tokens, and a token to send with the next sign-in on this device."""

    device_token: str


class SignedOut(ResponseModel):
    """The sign-in has ended."""

    detail: str = "Signed out."


class ChangedUser(PatchModel):
    """A change of the user's own profile."""

    name: Annotated[Name, NOT_NULL] = None
    email: Annotated[EmailAddress | None, NOT_NULL] = None
    phone: Phone | None = None
    birthday: Birthday | None = None
    language: OwnLanguage | None = None
    password: Annotated[NewPassword, NOT_NULL] = ""
    current_password: Annotated[
        PlainText, NOT_NULL, Field(description="Required with a new password or another e-mail address.")
    ] = ""


@api("POST", "/auth/register", tag=TAG, status=201, kind=rates.SIGN_UP, refusals=REGISTER_REFUSALS)
async def register(context: RequestContext, body: NewUser) -> UserResponse:
    """Register as a customer."""
    password_hash = await passwords.hash_new_password(body.password, Queue.SIGN_UPS, name=body.name, email=body.email)
    async with context.transaction() as session:
        facts = get_provided_fields(body)
        del facts["password"]
        return await records.create(session, User, **context.actor_and_time, **facts, password_hash=password_hash)


LOGIN_REFUSALS = (no.WrongPassword, no.SecondFactorNeeded, no.WrongSecondFactor, no.SecondFactorNotSetUp,
                  no.TooManyGuesses, Unreadable)  # fmt: skip


@api("POST", "/auth/login", tag=TAG, kind=rates.SIGN_IN, refusals=LOGIN_REFUSALS)
async def login(context: RequestContext, body: SignIn) -> SignInTokens:
    """Sign in. Keep the device token, and send it with the next sign-in on this device.

    Staff who have a second factor give a code too: the refusal `second-factor-needed` asks for it.
    """
    secrets = context.settings.secrets
    user = await sign_in.authenticate(
        context.database,
        email=body.email,
        password=body.password,
        now=context.now,
        source=source_of(context.request.scope, body.device_token or ""),
        secrets=secrets,
    )
    tokens = await begin_sign_in(context, user, body.code)
    return SignInTokens(**vars(tokens), device_token=devices.create_token(user.id, secrets, now=context.now))


async def begin_sign_in(context: RequestContext, user: User, code: str | None) -> Tokens:
    """Sign in a user whose password was checked, and use up the code of their second factor if they have one."""
    now, settings, database = context.now, context.settings, context.database
    lifetime = lifetime_at("api", user.role, settings)
    if not await sign_ins.has_second_factor(database, user.id):
        second_factors.require(user.role, None, settings)
        code = None
    if code is not None:
        await second_factors.count_attempt(database, user, code, network=network_of(context.client_ip), now=now)
    async with database.transaction(by=Actor.of("api", user), now=now, request_id=context.request_id) as session:
        second_factor = None
        if code is not None:
            second_factor = await second_factors.use_code(session, user, code, now=now, secret_keys=settings.secrets)
        begun = await sign_ins.begin(
            session, user, door="api", now=now, lifetime=lifetime, client=context.client, second_factor=second_factor
        )
        token = await refresh_tokens.issue(session, begun, now=now, lifetime=lifetime.idle)
    return create_tokens(context, user, token, begun.sid)


@api("POST", "/auth/refresh", tag=TAG, kind=rates.REFRESH, refusals=(no.SignInEnded, Unreadable))
async def refresh(context: RequestContext, body: RefreshTokenRequest) -> Tokens:
    """Get the next pair of tokens. A refresh token works once.

    If it is sent again within ten seconds, the answer has the same next token. Later, the sign-in ends.
    """
    lifetime = lifetime_at("api", Role.USER, context.settings).idle
    async with context.transaction() as session:
        renewed = await refresh_tokens.rotate(
            session, body.refresh_token, now=context.now, lifetime=lifetime, client=context.client
        )
    if renewed is None:
        raise no.SignInEnded
    return create_tokens(context, *renewed)


@api("POST", "/auth/logout", tag=TAG, access=AUTH_IN_HANDLER, kind=rates.REFRESH, refusals=(no.SignInEnded, Unreadable))
async def logout(context: RequestContext, body: SignOut | None) -> SignedOut:
    """Sign out: end the sign-in of this refresh token, or without one that of the access token, with all its tokens.

    The access token may have expired. It is not needed with a refresh token.
    """
    refresh_token = body.refresh_token if body else None
    if refresh_token is not None:
        async with context.transaction() as session:
            await refresh_tokens.sign_out(session, refresh_token, now=context.now)
        return SignedOut()
    sid = read_sid(context.request)
    async with context.transaction() as session:
        await sign_ins.sign_out(session, sid, now=context.now)
    return SignedOut()


@api("GET", "/me", tag=TAG, access=AUTH_REQUIRED, headers=("If-None-Match",))
async def get_me(context: RequestContext) -> ProfileResponse:
    """Get your own profile."""
    return context.require_user()


@api("GET", "/me/export", tag=TAG, access=AUTH_REQUIRED, kind=rates.OWN_DATA)
async def export_me(context: RequestContext) -> ExportResponse:
    """Get all your data as one document: account, bookings, reviews, notes, sign-ins and history."""
    user = context.require_user()

    async def parts() -> AsyncGenerator[bytes, None]:
        async with data_export.EXPORT_SLOTS, context.transaction() as session:
            async for part in data_export.stream(session, user, now=context.now):
                yield part

    return StreamedJson(await data_export.started(parts()), {"Content-Disposition": EXPORT_DISPOSITION})


CHANGE_REFUSALS = (no.EmailTaken, no.NotAPhone, no.BirthdayOutOfRange, *PASSWORD_REFUSALS,
                   no.CurrentPasswordNeeded, no.WrongCurrentPassword, no.TooManyGuesses, no.Stale,
                   Unreadable)  # fmt: skip


@api("PATCH", "/me", tag=TAG, access=AUTH_REQUIRED, refusals=CHANGE_REFUSALS, headers=CONDITIONAL_HEADERS)
async def change_me(context: RequestContext, body: ChangedUser) -> ProfileResponse:
    """Change your own profile. A new password ends all your other sign-ins.

    A new password, and another e-mail address, need the current password: `current-password-needed`.
    """
    user = context.require_user()
    changes = get_provided_fields(body)
    current = changes.pop("current_password", None)
    password = changes.pop("password", None)
    if changes.get("email") == user.email:
        del changes["email"]  # Without the current password, nothing is written over an address that changes just now.
    if password or "email" in changes:
        await sign_in.require_current_password(context.database, user, current, now=context.now)
    if password:
        changes["password_hash"] = await sign_in.hash_own_password(user, password, **changes)
    async with context.transaction() as session:
        locked = await context.lock(session, User, user.id)
        return await records.change(session, locked, **context.actor_and_time, **changes)


def create_tokens(context: RequestContext, user: User, refresh_token: str, sid: str) -> Tokens:
    access_token = create_access_token(user, context.settings, now=context.now, sid=sid)
    return Tokens(access_token=access_token, refresh_token=refresh_token)
