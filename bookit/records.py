"""The write path: every door creates, changes and removes rows through these functions."""

import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar, cast

from sqlmodel import SQLModel

from bookit import business, catalogue, reviews
from bookit import refusals as no
from bookit.bookings import acts, stranding
from bookit.bookings.stranding import Accepted, Scope, scope_of_change
from bookit.catalogue import Opening
from bookit.db.session import Session, SingleStatement
from bookit.people import accounts, erasure
from bookit.policy import permissions
from bookit.policy.permissions import Actor, Verb
from bookit.schema.tables import Booking, Business, OpeningHours, Resource, Review, Service, User

TableRow = TypeVar("TableRow", bound=SQLModel)


async def default_create(session: Session, table: type[SQLModel], **values: Any) -> SQLModel:
    return await session.insert(table(**values))


async def default_change(session: Session, row: SQLModel, *, by: Actor, now: datetime, **changes: Any) -> SQLModel:
    del by, now
    return await session.update(row, **changes)


async def default_remove(session: Session, row: SQLModel, *, by: Actor, now: datetime) -> None:
    del by, now
    await session.delete(row)


@dataclass(frozen=True)
class Rules:
    """How rows of one table are created, changed and removed, where that is more than one plain write."""

    create: Callable[..., Awaitable[SQLModel]]
    change: Callable[..., Awaitable[SQLModel]] = default_change
    remove: Callable[..., Awaitable[None]] = default_remove
    linked_fields: frozenset[str] = frozenset()  # columns that are passed on together, even if one of them changes


RULES: Mapping[type[SQLModel], Rules] = {
    User: Rules(accounts.register, accounts.change, erasure.remove),
    Service: Rules(catalogue.add_service, catalogue.change_service, catalogue.remove_service),
    Resource: Rules(catalogue.add_resource, catalogue.change_resource, catalogue.remove_resource),
    Booking: Rules(
        acts.book, acts.change, acts.remove, linked_fields=frozenset({"start_time", "end_time", "resource_id"})
    ),
    Review: Rules(reviews.write, reviews.change, reviews.remove),
    Business: Rules(default_create, business.change),
}


def display_name(table: type[SQLModel]) -> str:
    """Return the word for a row of this table: CalendarException is "calendar exception"."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", table.__name__).lower()


async def create(
    session: Session | SingleStatement,
    table: type[TableRow],
    *,
    by: Actor,
    now: datetime,
    accepts_stranded: Accepted = True,
    **values: Any,
) -> TableRow:
    """Create a row, by the table's rule if it has one. Only the rule of bookings can use a ``SingleStatement``.

    Raise StrandsVisits if visits to come would no longer fit, as with new hours or a closure, unless that is accepted.
    A door that can ask its user passes False.
    """
    permissions.require_permission(by, "create", table)
    if isinstance(session, SingleStatement):
        if table is not Booking:
            raise TypeError("Only a booking can be created outside a transaction.")
        return cast("TableRow", await RULES[Booking].create(session, by=by, now=now, **values))
    scope = scope_of_change(table, None, values)
    async with stranding.strands_none(session, scope, now=now, accepted=accepts_stranded):
        if table in RULES:
            return cast("TableRow", await RULES[table].create(session, by=by, now=now, **values))
        return cast("TableRow", await default_create(session, table, **values))


async def change(
    session: Session, row: TableRow, *, by: Actor, now: datetime, accepts_stranded: Accepted = True, **values: Any
) -> TableRow:
    """Change the columns whose values differ, and those linked to them, by the table's rule if it has one.

    Raise StrandsVisits if visits to come would no longer fit, unless that is accepted.
    """
    permissions.require_permission(by, "change", type(row))
    rules = RULES.get(type(row), Rules(default_create))
    differing = {name for name, value in values.items() if getattr(row, name, None) != value}
    changed = differing | (rules.linked_fields if differing & rules.linked_fields else set())
    changes = {name: value for name, value in values.items() if name in changed}
    scope = scope_of_change(type(row), vars(row), changes)
    async with stranding.strands_none(session, scope, now=now, accepted=accepts_stranded):
        return cast("TableRow", await rules.change(session, row, by=by, now=now, **changes))


async def remove(
    session: Session, row: SQLModel, *, by: Actor, now: datetime, accepts_stranded: Accepted = True
) -> None:
    """Remove a row, by the table's rule if it has one.

    Raise StrandsVisits if visits to come would no longer fit, as without an extra opening, unless that is accepted.
    """
    permissions.require_permission(by, "remove", type(row))
    rule = RULES[type(row)].remove if type(row) in RULES else default_remove
    async with stranding.strands_none(
        session, scope_of_change(type(row), vars(row), None), now=now, accepted=accepts_stranded
    ):
        await rule(session, row, by=by, now=now)


async def get(session: Session, table: type[TableRow], row_id: int) -> TableRow:
    """Return the row with this id. Raise ``Missing`` if there is none."""
    row = await session.get(table, row_id)
    if row is None:
        raise no.Missing(what=display_name(table))
    return row


async def lock(
    session: Session, table: type[TableRow], row_id: int, *, version: int | None = None, by: Actor | None = None
) -> TableRow:
    """Return the row with this id, locked. Raise ``Stale`` if its version is not the one that the editor saw.

    For an actor ``by``, a booking that they do not see is refused first: its version is none of their business.
    A resource is locked so that it can still be booked: a booking locks its resources before it looks at their rows.
    """
    row = await session.get(table, row_id, for_update=True, keeps_key=table is Resource)
    if row is None:
        raise no.Missing(what=display_name(table))
    if by and isinstance(row, Booking):
        permissions.require_in_scope(row, by=by)
    require_version(row, version)
    return row


def require_version(row: SQLModel, version: int | None) -> None:
    """Raise ``Stale`` if the version of a row is not this one. None is any version."""
    if version is not None and getattr(row, "version", version) != version:
        raise no.Stale


async def erase(session: Session, user_id: int, *, email: str, by: Actor, now: datetime) -> int:
    """Erase the customer with this id, confirmed by e-mail address. Return how many bookings that cancelled."""
    permissions.require_permission(by, "erase", User)
    return await erasure.erase(session, await lock(session, User, user_id), email=email, by=by, now=now)


async def replace_opening_hours(
    session: Session,
    resource_id: int,
    openings: Collection[Opening],
    *,
    by: Actor,
    now: datetime,
    expected_tag: str,
    accepts_stranded: Accepted = True,
) -> None:
    """Replace a resource's opening hours. Raise ``Stale`` if they are no longer those that the editor saw.

    Raise StrandsVisits if visits to come would no longer fit, unless that is accepted.
    """
    verbs: tuple[Verb, ...] = ("create", "change", "remove")
    for verb in verbs:
        permissions.require_permission(by, verb, OpeningHours)
    resource = await lock(session, Resource, resource_id)
    scope = Scope(resource_ids=[resource_id])
    async with stranding.strands_none(session, scope, now=now, accepted=accepts_stranded):
        await catalogue.replace_opening_hours(session, resource, openings, by=by, now=now, expected_tag=expected_tag)
