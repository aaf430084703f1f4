"""Passkeys (WebAuthn): what a browser is asked, and checking what it answers.

A challenge is good for five minutes, and only if its passkey was not used since it was made: so nothing works twice.
"""

import json
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import webauthn
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from bookit import refusals as no
from bookit.db.statements import Row
from bookit.policy import limits

SITE_NAME = "BookIt"
# What the library raises for what a browser must not send. Only some of it are its own exceptions.
BAD_ANSWERS = (WebAuthnException, ValueError, LookupError, TypeError, AttributeError)
HOST_NAME = re.compile(r"(?=.*[a-z])[a-z0-9-]+(\.[a-z0-9-]+)*")


class Ceremony(NamedTuple):
    """What a browser was asked: the challenge, when it was made, and for which site."""

    challenge: bytes
    issued_at: datetime
    rp_id: str
    origins: list[str]

    def is_recent(self, now: datetime) -> bool:
        """Return whether this was asked less than five minutes ago."""
        return self.issued_at <= now < self.issued_at + limits.SECOND_FACTOR_TIME


class NewPasskey(NamedTuple):
    """A passkey that a browser has made."""

    credential_id: str
    public_key: str
    sign_count: int


def new_challenge() -> bytes:
    return secrets.token_bytes(32)


def rp_id_of(host: str) -> str | None:
    """Return the name that passkeys of this host belong to, or None for an address in numbers, which can have none."""
    return host.lower() if HOST_NAME.fullmatch(host.lower()) else None


def creation_options(ceremony: Ceremony, *, user_id: int, email: str, name: str, known: Sequence[str]) -> str:
    """Return as JSON what a browser is asked to make a passkey. The ``known`` credentials are not made again."""
    options = webauthn.generate_registration_options(
        rp_id=ceremony.rp_id,
        rp_name=SITE_NAME,
        user_id=f"bookit-{user_id}".encode(),
        user_name=email,
        user_display_name=name,
        challenge=ceremony.challenge,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(base64url_to_bytes(each)) for each in known],
    )
    return webauthn.options_to_json(options)


def request_options(ceremony: Ceremony, *, known: Sequence[str] = ()) -> str:
    """Return as JSON what a browser is asked to use a passkey: one of the ``known``, or any of this site."""
    options = webauthn.generate_authentication_options(
        rp_id=ceremony.rp_id,
        challenge=ceremony.challenge,
        allow_credentials=[PublicKeyCredentialDescriptor(base64url_to_bytes(each)) for each in known],
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return webauthn.options_to_json(options)


def verify_new(credential: str, ceremony: Ceremony, *, now: datetime) -> NewPasskey:
    """Return the passkey that a browser has made. Raise PasskeyRefused if it is not what was asked for."""
    if not ceremony.is_recent(now):
        raise no.PasskeyRefused
    try:
        verified = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=ceremony.challenge,
            expected_rp_id=ceremony.rp_id,
            expected_origin=ceremony.origins,
            require_user_verification=True,
        )
    except BAD_ANSWERS as error:
        raise no.PasskeyRefused from error
    return NewPasskey(
        bytes_to_base64url(verified.credential_id),
        bytes_to_base64url(verified.credential_public_key),
        verified.sign_count,
    )


def credential_id_of(credential: str) -> str:
    """Return which passkey a browser has used, or "" if it does not say."""
    try:
        parsed: Any = json.loads(credential)
    except ValueError:
        return ""
    found = parsed.get("id") if isinstance(parsed, dict) else None
    return found if isinstance(found, str) and "\0" not in found else ""


def verify_use(credential: str, passkey: Row, ceremony: Ceremony, *, now: datetime) -> int | None:
    """Return the new counter of a passkey that a browser has used.

    None unless the passkey has signed this challenge for this site within five minutes, after it has verified its user,
    and its counter goes up.
    """
    if not ceremony.is_recent(now):
        return None
    try:
        verified = webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=ceremony.challenge,
            expected_rp_id=ceremony.rp_id,
            expected_origin=ceremony.origins,
            credential_public_key=base64url_to_bytes(passkey["public_key"]),
            credential_current_sign_count=passkey["sign_count"],
            require_user_verification=True,
        )
    except BAD_ANSWERS:
        return None
    return verified.new_sign_count
