"""Second factors of staff: an authenticator app, passkeys, and recovery codes for when these are lost.

Every door begins its sign-ins by ``sign_ins.begin``, which refuses one without a second factor to a user who has one.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import Integer, Interval, String, bindparam, delete, func, select, text
from sqlmodel import col

from bookit import refusals as no
from bookit import security_log
from bookit.db.pool import Database
from bookit.db.session import Reader, Session
from bookit.db.statements import Row
from bookit.people import passkeys, recovery_codes, totp
from bookit.people.passkeys import Ceremony
from bookit.policy import limits
from bookit.policy.permissions import STAFF_ROLES
from bookit.schema.tables import Role, Try, User, from_row
from bookit.settings import Settings

SecondFactor = Literal["app", "passkey", "recovery_code"]

SELECT_STATE = text("""
SELECT (SELECT created_at FROM authenticators WHERE user_id = :user_id) AS app_since,
       (SELECT remaining FROM recovery_codes WHERE user_id = :user_id) AS codes_left
""")
SELECT_PASSKEYS = text("SELECT * FROM passkeys WHERE user_id = :user_id ORDER BY id")
SHARE_USER = text("SELECT id FROM users WHERE id = :user_id AND is_active FOR SHARE")
SELECT_AUTHENTICATOR = text("SELECT secret FROM authenticators WHERE user_id = :user_id")
# The second of two requests with the same code waits for the first, and then finds its step used.
USE_STEP = text("""
UPDATE authenticators SET last_step = :step, secret = :secret
 WHERE user_id = :user_id AND last_step < :step RETURNING id
""")
USE_RECOVERY_CODE = text("""
UPDATE recovery_codes SET code_hashes = array_remove(code_hashes, :hashed), remaining = remaining - 1
 WHERE user_id = :user_id AND :hashed = ANY (code_hashes) RETURNING remaining
""")
SELECT_USED_PASSKEY = text("""
SELECT * FROM passkeys WHERE credential_id = :credential_id AND user_id = :user_id
""")
SELECT_BY_EMAIL = text("SELECT * FROM users WHERE lower(email) = lower(:email)")
SELECT_OWNER = text("""
SELECT u.* FROM passkeys p JOIN users u ON u.id = p.user_id WHERE p.credential_id = :credential_id AND u.is_active
""")
# A challenge that was made before the last use does nothing any more, so that no answer works twice.
USE_PASSKEY = text("""
UPDATE passkeys SET sign_count = :sign_count, last_used_at = :now
 WHERE id = :id AND (last_used_at IS NULL OR last_used_at < :issued_at)
   AND (sign_count < :sign_count OR sign_count = 0 AND :sign_count = 0)
RETURNING id
""")
COUNT_ATTEMPT = select(
    func.seconds_until_attempt(
        bindparam("name", type_=String),
        "",
        bindparam("most", type_=Integer),
        bindparam("per", type_=Interval),
        text("interval '0'"),
        bindparam("now"),
    ).label("seconds")
)
RESET_ATTEMPTS = delete(Try).where(col(Try.name) == func.counter_name(bindparam("name", type_=String)))


class SecondFactors(NamedTuple):
    """What a user has set up. ``codes_left`` is None without recovery codes."""

    app_since: datetime | None
    codes_left: int | None
    passkeys: Sequence[Row]

    @property
    def is_set_up(self) -> bool:
        """Whether there is one: recovery codes alone are none."""
        return self.app_since is not None or bool(self.passkeys)

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self.passkeys) + (self.app_since is not None)


def is_required(role: Role | None, settings: Settings) -> bool:
    """Return whether users of this role must have a second factor."""
    required = {"none": frozenset[Role](), "admin": frozenset({Role.ADMIN}), "staff": STAFF_ROLES}
    return role in required[settings.require_second_factor]


def require(role: Role | None, second_factor: str | None, settings: Settings) -> None:
    """Raise SecondFactorNotSetUp if a sign-in of this role must have a second factor and has none."""
    if second_factor is None and is_required(role, settings):
        raise no.SecondFactorNotSetUp


async def load(reader: Reader, user_id: int) -> SecondFactors:
    """Return what a user has set up."""
    [row] = await reader.fetch(SELECT_STATE, user_id=user_id)
    return SecondFactors(row["app_since"], row["codes_left"], await reader.fetch(SELECT_PASSKEYS, user_id=user_id))


# Using one.


async def count_attempt(database: Database, user: User, code: str, *, network: str, now: datetime) -> None:
    """Count an attempt with a code. Raise TooManyGuesses beyond the limit of the account or of the address.

    Recovery codes cannot be guessed, so the account does not limit them: who knows a password keeps nobody out.
    """
    names = {f"code address {network}": limits.MAX_CODES_PER_ADDRESS}
    if recovery_codes.normalise(code) is None:
        names[attempts_name(user)] = limits.MAX_CODES_PER_ACCOUNT
    for name, most in names.items():
        rows = await database.fetch(COUNT_ATTEMPT, name=name, most=most, per=limits.CODE_WINDOW, now=now)
        if rows[0]["seconds"]:
            security_log.report("account locked", account=user.id, detail="second factor")
            raise no.TooManyGuesses(seconds=rows[0]["seconds"])


def attempts_name(user: User) -> str:
    return f"code {user.id}"


async def use_code(
    session: Session, user: User, code: str, *, now: datetime, secret_keys: Sequence[str]
) -> SecondFactor:
    """Use up a code of the authenticator app, or a recovery code. Raise WrongSecondFactor if it is wrong or used.

    Call ``count_attempt`` before.
    """
    await session.fetch(SHARE_USER, user_id=user.id)  # Whoever changes second factors locks the user first too.
    if (await uses_recovery_code(session, user, code)) is not None:
        security_log.report("second factor changed", account=user.id, detail="recovery code used")
        return "recovery_code"
    if not await uses_step(session, user, code, now=now, secret_keys=secret_keys):
        security_log.report("wrong second factor", account=user.id)
        raise no.WrongSecondFactor
    await session.fetch(RESET_ATTEMPTS, name=attempts_name(user))
    return "app"


async def uses_recovery_code(session: Session, user: User, code: str) -> int | None:
    """Use up a recovery code, and return how many are left; None if it is none of this user's."""
    if recovery_codes.normalise(code) is None:
        return None
    rows = await session.fetch(USE_RECOVERY_CODE, user_id=user.id, hashed=recovery_codes.hash_code(code))
    return int(rows[0]["remaining"]) if rows else None


async def uses_step(session: Session, user: User, code: str, *, now: datetime, secret_keys: Sequence[str]) -> bool:
    """Use up a code of the app, and encrypt the key anew with the newest secret. Return whether that was possible."""
    rows = await session.fetch(SELECT_AUTHENTICATOR, user_id=user.id)
    secret = totp.decrypt(rows[0]["secret"], secret_keys) if rows else None
    step = totp.find_step(secret, code, now=now) if secret else None
    if secret is None or step is None:
        return False
    stored = totp.encrypt(secret, secret_keys)
    return bool(await session.fetch(USE_STEP, user_id=user.id, step=step, secret=stored))


async def find_user(reader: Reader, email: str) -> User | None:
    """Return the user with this e-mail address, or None."""
    rows = await reader.fetch(SELECT_BY_EMAIL, email=email)
    return from_row(User, rows[0]) if rows else None


async def find_passkey_owner(reader: Reader, credential: str) -> User | None:
    """Return the active user to whom the passkey belongs that a browser says it has used. Nothing is checked yet."""
    rows = await reader.fetch(SELECT_OWNER, credential_id=passkeys.credential_id_of(credential))
    return from_row(User, rows[0]) if rows else None


async def use_passkey(session: Session, credential: str, ceremony: Ceremony, *, now: datetime, user_id: int) -> None:
    """Use a passkey of this user. Raise PasskeyRefused if it is wrong."""
    if not await uses_passkey(session, credential, ceremony, now=now, user_id=user_id):
        security_log.report("wrong second factor", account=user_id, detail="passkey")
        raise no.PasskeyRefused


async def uses_passkey(session: Session, credential: str, ceremony: Ceremony, *, now: datetime, user_id: int) -> bool:
    """Write that a passkey of this user was used. Return whether it was, and never before with this challenge."""
    await session.fetch(SHARE_USER, user_id=user_id)
    credential_id = passkeys.credential_id_of(credential)
    rows = await session.fetch(SELECT_USED_PASSKEY, credential_id=credential_id, user_id=user_id)
    sign_count = passkeys.verify_use(credential, rows[0], ceremony, now=now) if rows else None
    if sign_count is None:
        return False
    values = {"id": rows[0]["id"], "sign_count": sign_count, "issued_at": ceremony.issued_at, "now": now}
    return bool(await session.fetch(USE_PASSKEY, **values))
