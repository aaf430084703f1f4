"""Who may call an endpoint."""

from dataclasses import dataclass

from sqlmodel import SQLModel

from bookit.policy.permissions import Ability, Actor, Verb, require_ability, require_permission


@dataclass(frozen=True)
class Access:
    """Who may call an endpoint at all. The rules behind it may narrow this to the user's own rows.

    With ``is_auth_optional``, anybody may call, but a token that is sent must be valid. With ``is_auth_in_handler``,
    the handler reads the token if it needs one.
    """

    is_auth_required: bool = False
    is_auth_optional: bool = False
    is_auth_in_handler: bool = False
    ability: Ability | None = None
    verb: Verb | None = None
    table: type[SQLModel] | None = None

    def require(self, actor: Actor) -> None:
        """Raise ``Forbidden`` if this actor may not call the endpoint."""
        if self.ability:
            require_ability(actor, self.ability)
        if self.verb and self.table:
            require_permission(actor, self.verb, self.table)

    @property
    def has_optional_auth(self) -> bool:
        """Whether a token may be sent, and need not be."""
        return self.is_auth_optional or self.is_auth_in_handler

    @property
    def error_statuses(self) -> set[int]:
        """The statuses with which a caller can be turned away.

        Every token may be refused with 403: the sign-in may lack the second factor that its role must have.
        """
        if self.is_auth_required or self.is_auth_optional:
            return {401, 403}
        return {401} if self.is_auth_in_handler else set()


ANYONE = Access()
OPTIONAL_AUTH = Access(is_auth_optional=True)
AUTH_IN_HANDLER = Access(is_auth_in_handler=True)
AUTH_REQUIRED = Access(is_auth_required=True)
REPORT_READERS = Access(is_auth_required=True, ability="see_reports")


def access_for(verb: Verb, table: type[SQLModel]) -> Access:
    """Return access for the roles that may do this to rows of this table."""
    return Access(is_auth_required=True, verb=verb, table=table)
