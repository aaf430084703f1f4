"""Setting up, changing and removing one's own second factors, and resetting those of a colleague."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text

from bookit import refusals as no
from bookit import security_log
from bookit.db.session import Session
from bookit.people import passkeys, recovery_codes, sign_ins, totp
from bookit.people.passkeys import Ceremony
from bookit.people.second_factors import RESET_ATTEMPTS, SecondFactor, attempts_name, is_required, load
from bookit.policy import limits
from bookit.policy.permissions import Actor, require_ability
from bookit.schema.tables import Authenticator, Passkey, RecoveryCodes, User, from_row
from bookit.settings import Settings

LOCK_USER = text("SELECT * FROM users WHERE id = :user_id FOR NO KEY UPDATE")
RENAME_PASSKEY = text("UPDATE passkeys SET name = :name WHERE id = :id AND user_id = :user_id RETURNING id")
DELETE_PASSKEY = text("DELETE FROM passkeys WHERE id = :id AND user_id = :user_id RETURNING id")
DELETE_AUTHENTICATOR = text("DELETE FROM authenticators WHERE user_id = :user_id RETURNING id")
DELETE_PASSKEYS = text("DELETE FROM passkeys WHERE user_id = :user_id RETURNING id")
DELETE_CODES = text("DELETE FROM recovery_codes WHERE user_id = :user_id RETURNING id")
NOTE_ON_SIGN_IN = text("UPDATE sign_ins SET second_factor = :kind WHERE id = :id AND second_factor IS NULL")


async def lock(session: Session, user_id: int) -> User:
    """Return a user, locked, so that no sign-in of theirs begins meanwhile."""
    rows = await session.fetch(LOCK_USER, user_id=user_id)
    if not rows:
        raise no.Missing(what="user")
    return from_row(User, rows[0])


async def set_up_app(
    session: Session, secret: str, code: str, *, by: Actor, now: datetime, secret_keys: Sequence[str]
) -> list[str]:
    """Store the actor's authenticator app, confirmed by a code. Return new recovery codes, if they had none.

    Raise WrongCode unless it is the app's code of now, and AuthenticatorTaken if there is an app already.
    """
    user = await lock(session, require_user(by))
    step = totp.find_step(secret, code, now=now)
    if step is None:
        raise no.WrongCode
    stored = totp.encrypt(secret, secret_keys)
    await session.insert(Authenticator(user_id=user.id, secret=stored, last_step=step, created_at=now))
    security_log.report("second factor changed", account=user.id, detail="app set up")
    return await complete_set_up(session, user, "app", by=by, now=now)


async def add_passkey(
    session: Session, name: str, credential: str, ceremony: Ceremony, *, by: Actor, now: datetime
) -> list[str]:
    """Store a passkey that the actor's browser has made. Return new recovery codes, if they had none."""
    user = await lock(session, require_user(by))
    new = passkeys.verify_new(credential, ceremony, now=now)
    if len((await load(session, user.id)).passkeys) >= limits.MAX_PASSKEYS:
        raise no.PasskeyRefused
    await session.insert(Passkey(user_id=user.id, name=name, created_at=now, **new._asdict()))
    security_log.report("second factor changed", account=user.id, detail="passkey added")
    return await complete_set_up(session, user, "passkey", by=by, now=now)


async def complete_set_up(session: Session, user: User, kind: SecondFactor, *, by: Actor, now: datetime) -> list[str]:
    """After the first second factor: end every other sign-in, which had none, and return new recovery codes."""
    state = await load(session, user.id)
    if by.sign_in_id:
        await session.fetch(NOTE_ON_SIGN_IN, id=by.sign_in_id, kind=kind)
    if state.number == 1:
        await sign_ins.end_all(session, user_id=user.id, by=by, now=now)
    return [] if state.codes_left is not None else await make_codes(session, by=by, now=now)


async def make_codes(session: Session, *, by: Actor, now: datetime) -> list[str]:
    """Replace the actor's recovery codes, and return the new ones, which nobody can read again."""
    user = await lock(session, require_user(by))
    await session.fetch(DELETE_CODES, user_id=user.id)
    codes = recovery_codes.make_codes()
    hashes = [recovery_codes.hash_code(code) for code in codes]
    await session.insert(RecoveryCodes(user_id=user.id, code_hashes=hashes, remaining=len(codes), created_at=now))
    security_log.report("second factor changed", account=user.id, detail="new recovery codes")
    return codes


async def rename_passkey(session: Session, passkey_id: int, name: str, *, by: Actor, now: datetime) -> None:
    """Rename a passkey of the actor's."""
    del now
    if not await session.fetch(RENAME_PASSKEY, id=passkey_id, user_id=require_user(by), name=name):
        raise no.Missing(what="passkey")


async def remove_passkey(session: Session, passkey_id: int, *, by: Actor, now: datetime, settings: Settings) -> None:
    """Remove a passkey of the actor's. Raise SecondFactorRequired if they must have another one first."""
    del now
    user = await lock(session, require_user(by))
    if not await session.fetch(DELETE_PASSKEY, id=passkey_id, user_id=user.id):
        raise no.Missing(what="passkey")
    await complete_removal(session, user, settings, "passkey removed")


async def remove_app(session: Session, *, by: Actor, now: datetime, settings: Settings) -> None:
    """Remove the actor's authenticator app. Raise SecondFactorRequired if they must have another one first."""
    del now
    user = await lock(session, require_user(by))
    if not await session.fetch(DELETE_AUTHENTICATOR, user_id=user.id):
        raise no.Missing(what="authenticator app")
    await complete_removal(session, user, settings, "app removed")


async def complete_removal(session: Session, user: User, settings: Settings, detail: str) -> None:
    """After a removal: without a second factor, recovery codes go too."""
    if not (await load(session, user.id)).is_set_up:
        if is_required(user.role, settings):
            raise no.SecondFactorRequired
        await session.fetch(DELETE_CODES, user_id=user.id)
    security_log.report("second factor changed", account=user.id, detail=detail)


async def reset(session: Session, user_id: int, *, by: Actor, now: datetime) -> bool:
    """As an owner, remove every second factor of a user who lost theirs, and end their sign-ins.

    Return whether there was one.
    """
    require_ability(by, "give_roles")
    user = await lock(session, user_id)
    await session.set_reason("Second factor reset")
    statements = (DELETE_AUTHENTICATOR, DELETE_PASSKEYS, DELETE_CODES)
    removed = [row for statement in statements for row in await session.fetch(statement, user_id=user.id)]
    await session.fetch(RESET_ATTEMPTS, name=attempts_name(user))
    if not removed:
        return False
    await sign_ins.end_all(session, user_id=user.id, by=by, now=now)
    security_log.report("second factor changed", account=user.id, detail=f"reset by {by}")
    return True


def require_user(by: Actor) -> int:
    """Return the id of the actor. Raise Forbidden for an actor who is no member of staff."""
    if by.id is None or not by.is_staff:
        raise no.Forbidden
    return by.id
