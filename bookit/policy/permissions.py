"""Permissions, as data: what each role may do to the rows of a table, whose bookings it sees, and what else it may."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sqlmodel import SQLModel

from bookit import refusals as no
from bookit.schema.tables import (
    Booking,
    CalendarException,
    Event,
    Note,
    OpeningHours,
    Payment,
    Refund,
    Resource,
    Review,
    Role,
    Service,
    User,
)

Verb = Literal["see", "create", "change", "remove", "erase", "export"]
Ability = Literal[
    "see_reports",  # and the figures of the first page: revenue, utilisation, no-shows
    "close_days",  # the page of what a day took, by method
    "change_many",  # the page that changes many bookings, and the page of everything that one act changed
    "export_personal_data",  # the file of everything that BookIt stores about one person
    "manage_customers",  # their password, and whether they may sign in; and to delete their accounts
    "remove_any_review",
    "give_roles",  # to create, change and delete the accounts of people who work here
]
Scope = Literal["all", "own_resource", "own"]
Door = Literal["api", "admin", "seed", "worker", "cli"]


@dataclass(frozen=True, slots=True)
class Actor:
    """The user who makes a request, with the door and the sign-in. An actor without a role has not signed in.

    ``resource_id`` is the resource that this person works as, if there is one.
    """

    door: Door
    id: int | None = None
    role: Role | None = None
    sign_in_id: int | None = field(default=None, compare=False)
    resource_id: int | None = None

    @classmethod
    def of(cls, door: Door, user: User, sign_in_id: int | None = None) -> "Actor":
        """Return a user as the one who acts at this door."""
        return cls(door, user.id, user.role, sign_in_id, user.resource_id)

    @property
    def is_staff(self) -> bool:
        """Whether this actor works here: the rules for customers do not bind them where they may act."""
        return self.role in STAFF_ROLES

    def __str__(self) -> str:
        without_role = "nobody" if self.door == "worker" else "visitor"
        return f"{self.role} {self.id}" if self.role and self.id else self.role or without_role


# In the order in which forms offer them. The values of the first, the third and the last are those of the API.
ROLE_LABELS: Mapping[Role, str] = {
    Role.USER: "Customer",
    Role.OWN_CALENDAR: "Own calendar",
    Role.STAFF: "Desk",
    Role.MANAGER: "Manager",
    Role.ADMIN: "Owner",
}
STAFF_ROLES = frozenset(Role) - {Role.USER}

FULL_ACCESS: frozenset[Verb] = frozenset({"see", "create", "change", "remove"})
WITH_EXPORT: frozenset[Verb] = FULL_ACCESS | {"export"}
READ_ONLY: frozenset[Verb] = frozenset({"see"})
# An owner may do everything. The rules of a table narrow this further, for example to a customer's own rows. "see" and
# "export" apply to the staff panel only.
PERMISSIONS_BY_ROLE: Mapping[Role | None, Mapping[type[SQLModel], frozenset[Verb]]] = {
    None: {User: frozenset({"create"})},
    Role.USER: {
        User: frozenset({"create", "change"}),
        Booking: FULL_ACCESS,
        Review: FULL_ACCESS,
    },
    Role.OWN_CALENDAR: {
        User: frozenset({"change"}),
        Booking: frozenset({"see", "change"}),
        Note: FULL_ACCESS,
    },
    Role.STAFF: {
        User: frozenset({"see", "create", "change"}),
        Booking: FULL_ACCESS,
        Review: frozenset({"see", "create", "change"}),
        Note: FULL_ACCESS,
        **dict.fromkeys((Payment, Refund), frozenset[Verb]({"see", "create"})),
        OpeningHours: WITH_EXPORT,
        CalendarException: WITH_EXPORT,
        Service: frozenset({"see", "export"}),
        Resource: frozenset({"see", "export"}),
    },
    Role.MANAGER: {
        User: WITH_EXPORT | {"erase"},
        **dict.fromkeys((Booking, Review, OpeningHours, CalendarException, Service, Resource), WITH_EXPORT),
        Note: FULL_ACCESS,
        **dict.fromkeys((Payment, Refund), frozenset[Verb]({"see", "create", "export"})),
        Event: frozenset({"see", "export"}),
    },
}
ABILITIES_BY_ROLE: Mapping[Role | None, frozenset[Ability]] = {
    Role.STAFF: frozenset({"close_days", "change_many"}),
    Role.MANAGER: frozenset(
        {"see_reports", "close_days", "change_many", "export_personal_data", "manage_customers", "remove_any_review"}
    ),
}
# Whose bookings a role sees and changes. What is out of scope does not exist for it.
SCOPE_BY_ROLE: Mapping[Role | None, Scope] = {
    Role.USER: "own",
    Role.OWN_CALENDAR: "own_resource",
    Role.STAFF: "all",
    Role.MANAGER: "all",
    Role.ADMIN: "all",
}


def has_permission(actor: Actor, verb: Verb, table: type[SQLModel]) -> bool:
    """Return whether this actor may do this to rows of this table."""
    return actor.role == Role.ADMIN or verb in PERMISSIONS_BY_ROLE.get(actor.role, {}).get(table, frozenset())


def require_permission(by: Actor, verb: Verb, table: type[SQLModel]) -> None:
    """Raise Forbidden, or Unauthenticated without a role, unless the actor may do this to rows of this table."""
    if not has_permission(by, verb, table):
        raise no.Forbidden if by.role else no.Unauthenticated


def has_ability(actor: Actor, ability: Ability) -> bool:
    """Return whether this actor may do what this ability names."""
    return actor.role == Role.ADMIN or ability in ABILITIES_BY_ROLE.get(actor.role, frozenset())


def require_ability(by: Actor, ability: Ability) -> None:
    """Raise Forbidden, or Unauthenticated without a role, unless the actor has this ability."""
    if not has_ability(by, ability):
        raise no.Forbidden if by.role else no.Unauthenticated


def describe_who_may(verb: Verb, table: type[SQLModel]) -> str:
    """Return which staff may do this to rows of this table, as in "This is for the roles Manager and Owner."."""
    return describe_roles([role for role in ROLE_LABELS if has_permission(Actor("admin", role=role), verb, table)])


def describe_who_can(ability: Ability) -> str:
    """Return which staff have this ability, as in "This is for the role Owner."."""
    return describe_roles([role for role in ROLE_LABELS if has_ability(Actor("admin", role=role), ability)])


def describe_roles(roles: list[Role]) -> str:
    """Return that something is for these roles, without customers, who are not in the staff panel."""
    *others, last = [label for role, label in ROLE_LABELS.items() if role in roles and role in STAFF_ROLES]
    return f"This is for the roles {', '.join(others)} and {last}." if others else f"This is for the role {last}."


def own_resource(actor: Actor) -> int | None:
    """Return the only resource whose bookings this actor sees, or None if they see those of all resources.

    A person without a resource, which the database does not allow for this role, sees those of none.
    """
    return (actor.resource_id or 0) if SCOPE_BY_ROLE.get(actor.role) == "own_resource" else None


def is_in_scope(booking: Booking, *, by: Actor) -> bool:
    """Return whether this is a booking that the actor sees and may act on.

    A person with their own calendar sees a visit if any of its resources is theirs.
    """
    scope = SCOPE_BY_ROLE.get(by.role, "own")
    if scope == "own_resource":
        return by.resource_id in {booking.resource_id, *booking.other_resource_ids}
    return scope == "all" or booking.user_id == by.id


def refusal_out_of_scope(booking: Booking, *, by: Actor) -> no.Refusal | None:
    """Return the refusal if the actor may not act on this booking, or None.

    To customers, another's booking is not theirs. To a person with their own calendar, that of another resource does
    not exist.
    """
    if is_in_scope(booking, by=by):
        return None
    return no.Missing(what="booking") if by.is_staff else no.NotYourBooking()


def require_in_scope(booking: Booking, *, by: Actor) -> None:
    """Raise NotYourBooking, or Missing for staff, unless the actor sees this booking.

    Raise Missing if the actor, a customer, has deleted it: only staff still see it.
    """
    if refusal := refusal_out_of_scope(booking, by=by):
        raise refusal
    if booking.deleted_by_customer_at and not by.is_staff:
        raise no.Missing(what="booking")


def require_own_resource(resource_id: int | None, *, by: Actor) -> None:
    """Raise OnlyOwnCalendar if the actor's own calendar is another one. None is the resource that a booking has."""
    if resource_id is not None and own_resource(by) not in {None, resource_id}:
        raise no.OnlyOwnCalendar


def require_kept_resources(booking: Booking, resources: Mapping[int, int], *, by: Actor) -> None:
    """Raise OnlyOwnCalendar if a person with their own calendar gives a role of a visit to another resource.

    They may move the visit, with all of its resources, to another time. ``resources`` are by position.
    """
    kept = dict(enumerate([booking.resource_id, *booking.other_resource_ids], start=1))
    if own_resource(by) is not None and any(kept.get(position) != one for position, one in resources.items()):
        raise no.OnlyOwnCalendar


def require_own_customer(user_id: int | None, *, by: Actor) -> None:
    """Raise Forbidden if someone who does not see all bookings books for another customer. None is the actor."""
    if user_id not in {None, by.id} and SCOPE_BY_ROLE.get(by.role) != "all":
        raise no.Forbidden


def may_book_service_twice(by: Actor) -> bool:
    """Return whether an agreed overlap of a new booking may be with one of the same service.

    A request to the API may be a repeat. At the desk a person has read which visit there is, and each form is saved
    once.
    """
    return by.door != "api"


def require_override(reason: str | None, *, by: Actor, for_desk: bool = False) -> None:
    """Raise OnlyStaffOverride if a customer overrides the rules, or leaves out those that are not for the desk."""
    if (reason or for_desk) and not by.is_staff:
        raise no.OnlyStaffOverride
