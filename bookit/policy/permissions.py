"""Permissions: what an actor may do to the rows of a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sqlmodel import SQLModel

from bookit import refusals as no
from bookit.schema.tables import Booking, CalendarException, OpeningHours, Resource, Review, Role, Service, User

Verb = Literal["see", "create", "change", "remove", "erase"]
Door = Literal["api", "admin", "seed", "worker", "cli"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a request, through which door and by which sign-in. An actor without a role has not signed in."""

    door: Door
    id: int | None = None
    role: Role | None = None
    sign_in_id: int | None = field(default=None, compare=False)

    @property
    def is_staff(self) -> bool:
        """Whether this actor is staff or an admin."""
        return self.role in {Role.STAFF, Role.ADMIN}

    def __str__(self) -> str:
        without_role = "nobody" if self.door == "worker" else "visitor"
        return f"{self.role} {self.id}" if self.role and self.id else self.role or without_role


FULL_ACCESS: frozenset[Verb] = frozenset({"see", "create", "change", "remove"})
READ_ONLY: frozenset[Verb] = frozenset({"see"})
# An admin may do everything. The rules of a table narrow this further, for example to a customer's own rows. "see"
# applies to the staff panel only.
PERMISSIONS_BY_ROLE: Mapping[Role | None, Mapping[type[SQLModel], frozenset[Verb]]] = {
    None: {User: frozenset({"create"})},
    Role.USER: {
        User: frozenset({"create", "change"}),
        Booking: FULL_ACCESS,
        Review: FULL_ACCESS,
    },
    Role.STAFF: {
        User: frozenset({"see", "create", "change"}),
        Booking: FULL_ACCESS,
        Review: frozenset({"see", "create", "change"}),
        OpeningHours: FULL_ACCESS,
        CalendarException: FULL_ACCESS,
        Service: READ_ONLY,
        Resource: READ_ONLY,
    },
}


def has_permission(actor: Actor, verb: Verb, table: type[SQLModel]) -> bool:
    """Return whether this actor may do this to rows of this table."""
    return actor.role == Role.ADMIN or verb in PERMISSIONS_BY_ROLE.get(actor.role, {}).get(table, frozenset())


def require_permission(by: Actor, verb: Verb, table: type[SQLModel]) -> None:
    """Raise Forbidden, or Unauthenticated without a role, unless the actor may do this to rows of this table."""
    if not has_permission(by, verb, table):
        raise no.Forbidden if by.role else no.Unauthenticated


def may_see_reports(actor: Actor) -> bool:
    """Return whether this actor may see the reports."""
    return actor.is_staff


def require_own_or_staff(booking: Booking, *, by: Actor) -> None:
    """Raise NotYourBooking unless this is the actor's own booking or the actor is staff.

    Raise Missing if the actor, a customer, has deleted it: only staff still see it.
    """
    if not is_own_or_staff(booking, by=by):
        raise no.NotYourBooking
    if booking.deleted_by_customer_at and not by.is_staff:
        raise no.Missing(what="booking")


def is_own_or_staff(booking: Booking, *, by: Actor) -> bool:
    """Return whether this is the actor's own booking or the actor is staff."""
    return by.is_staff or booking.user_id == by.id


def require_own_customer(user_id: int | None, *, by: Actor) -> None:
    """Raise Forbidden if a customer books for another customer. None is the actor."""
    if user_id not in {None, by.id} and not by.is_staff:
        raise no.Forbidden


def may_book_service_twice(by: Actor) -> bool:
    """Return whether an agreed overlap of a new booking may be with one of the same service.

    A request to the API may be a repeat. At the desk a person has read which visit there is, and each form is saved
    once.
    """
    return by.door != "api"


def require_override(reason: str | None, *, by: Actor) -> None:
    """Raise OnlyStaffOverride if a customer overrides the rules."""
    if reason and not by.is_staff:
        raise no.OnlyStaffOverride
