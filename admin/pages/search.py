"""One box for everything: what somebody typed is looked for among bookings, people, services and resources."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup
from sqlalchemy import BigInteger, ColumnElement, Select, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import SQLModel
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.custom_page import OwnPage
from admin.framework.formatting import badge, local_time
from admin.framework.list_pages import says
from admin.framework.parsing import number
from bookit.policy import permissions
from bookit.schema.tables import Booking, Resource, Service, Status, User, home

MOST_SHOWN = 10  # of a kind
MOST_FOUND = 200  # before the best of them are chosen
LONGEST = 255  # letters: an e-mail has no more, and all else has less

BOOKINGS, PEOPLE, SERVICES, RESOURCES = (home(table).c for table in (Booking, User, Service, Resource))


@dataclass
class Hit:
    """A row that was found: what it is called, where its page is, and what helps to know it."""

    name: str
    address: Any
    said: Sequence[Any] = ()
    visits: list[tuple[str, Any, Any]] = field(default_factory=list)


@dataclass
class Group:
    """The hits of one kind, with the way to all of them where there are more."""

    title: str
    hits: list[Hit]
    everything: Any = None

    @property
    def more_than(self) -> int | None:
        """Of how many hits these are a part; None if they are all."""
        return MOST_SHOWN if self.everything else None


@dataclass(frozen=True)
class Asked:
    """What somebody typed: words, a number, or what may be either, as 60 is in "60 minutes"."""

    term: str
    number: int
    is_words: bool

    @classmethod
    def of(cls, typed: str) -> "Asked":
        """Read it. A # makes it a number and nothing else; what is too long for anything says nothing."""
        term = typed.replace("\0", "").strip()
        is_words = bool(term) and not term.startswith("#") and len(term) <= LONGEST
        return cls(term[:LONGEST], number(term.removeprefix("#")), is_words)

    @property
    def is_anything(self) -> bool:
        """Whether there is something to look for at all."""
        return self.is_words or self.number > 0

    def meant(self, rows: Any, *named: str) -> ColumnElement[bool]:
        """Say that a row has this number, or these words in one of these columns."""
        words = says(self.term, *(rows[name] for name in named)) if self.is_words else literal(value=False)
        return words if self.number < 1 else words | (rows.id == self.number)


class Search:
    """One search by one reader, who finds only what they may see."""

    def __init__(self, request: Request, view: Any, asked: Asked, *, zone: ZoneInfo, now: datetime) -> None:
        self.request, self.view, self.asked, self.now = request, view, asked, now
        self.local_time = partial(local_time, zone)

    def may_see(self, table: type[SQLModel]) -> bool:
        """Whether this reader may see this table."""
        return permissions.may(self.request.state.actor, "see", table)

    def page(self, identity: str, pk: int) -> Any:
        """Give the address of a row's page."""
        return self.request.url_for("admin:details", identity=identity, pk=pk)

    def listed(self, identity: str, **asked: Any) -> Any:
        """Give the address of a list that is searched or filtered."""
        return self.request.url_for("admin:list", identity=identity).include_query_params(**asked)

    async def found(self) -> list[Group]:
        """Give what was found, kind by kind, in at most four statements."""
        groups = [await self.bookings(), await self.people(), *await self.catalogue()]
        return [group for group in groups if group.hits]

    async def bookings(self) -> Group:
        """Find a booking by its number. By whose they are, people are found, and their visits beside them."""
        group = Group("Bookings", [])
        if self.asked.number > 0 and self.may_see(Booking):
            for row in await self.view.read(of_number(self.asked.number)):
                said = [self.local_time(row.start_time), row.customer, row.service, badge(row, "status")]
                group.hits.append(Hit(f"#{row.id}", self.page("booking", row.id), said))
        return group

    async def people(self) -> Group:
        """Find people by number, name or e-mail, with the visits of each that are next to now."""
        if not self.may_see(User):
            return Group("People", [])
        rows = await self.view.read(whose(self.asked))
        hits = {row.id: Hit(row.name, self.page("user", row.id), known_by(row)) for row in rows[:MOST_SHOWN]}
        if hits and self.may_see(Booking):
            visits = await self.view.read(nearest(sorted(hits), self.now))
            for visit in sorted(visits, key=lambda visit: visit.word, reverse=True):  # The next before the last.
                told = Markup('<a href="{}">{}</a> {}').format(
                    self.page("booking", visit.id), self.local_time(visit.start_time), visit.service
                )
                hits[visit.user_id].visits.append((visit.word, told, badge(visit, "status")))
        return Group("People", [*hits.values()], self.all_of("user", rows))

    async def catalogue(self) -> Iterable[Group]:
        """Find services and resources by number or name; these are few."""
        kinds: list[tuple[str, type[SQLModel], str, str]] = [
            ("service", Service, "title", "Services"),
            ("resource", Resource, "name", "Resources"),
        ]
        seen = [kind for kind in kinds if self.may_see(kind[1])]
        if not seen:
            return []
        parts = [named(self.asked, kind, home(table).c, column) for kind, table, column, _ in seen]
        rows = await self.view.read(union_all(*parts))
        groups = []
        for kind, _, _, title in seen:
            of_kind = [row for row in rows if row.kind == kind]
            hits = [self.thing(row) for row in of_kind[:MOST_SHOWN]]
            groups.append(Group(title, hits, self.all_of(kind, of_kind)))
        return groups

    def thing(self, row: Any) -> Hit:
        """Give a service or a resource, with the way to its bookings."""
        said: list[Any] = [f"#{row.id}"] + ([] if row.is_active else ["inactive"])
        if self.may_see(Booking):
            address = self.listed("booking", **{f"{row.kind}_id": row.id})
            said.append(Markup('<a href="{}">Bookings of {}</a>').format(address, row.name))
        return Hit(row.name, self.page(row.kind, row.id), said)

    def all_of(self, identity: str, rows: Sequence[Any]) -> Any:
        """Give the way to the list of all hits, where there are more than are shown."""
        return self.listed(identity, search=self.asked.term) if len(rows) > MOST_SHOWN else None


def known_by(row: Any) -> list[str]:
    """Give what tells one person from another of the same name."""
    role = [] if row.role == "user" else [row.role]
    return [f"#{row.id}", row.email, *role, *([] if row.is_active else ["inactive"])]


def of_number(asked: int) -> Select[Any]:
    """Give the booking of a number, and whose and of what it is."""
    wanted = (BOOKINGS.id, BOOKINGS.start_time, BOOKINGS.status)
    return (
        select(*wanted, PEOPLE.name.label("customer"), SERVICES.title.label("service"))
        .join(home(User), PEOPLE.id == BOOKINGS.user_id)
        .join(home(Service), SERVICES.id == BOOKINGS.service_id)
        .where(BOOKINGS.id == asked)
    )


def whose(asked: Asked) -> Select[Any]:
    """Find people, as far as a bound, and give the best: an exact number or e-mail, then by name."""
    found = select(PEOPLE.id, PEOPLE.name, PEOPLE.email, PEOPLE.role, PEOPLE.is_active)
    rows = found.where(asked.meant(PEOPLE, "name", "email")).limit(MOST_FOUND).cte("found").prefix_with("MATERIALIZED")
    is_exact = (rows.c.id == asked.number) | (func.lower(rows.c.email) == asked.term.lower())
    return select(rows).order_by(is_exact.desc(), func.lower(rows.c.name), rows.c.id).limit(MOST_SHOWN + 1)


def nearest(customers: Sequence[int], now: datetime) -> Any:
    """Find the last visit of each that was not cancelled, and the next that stands."""
    whose = func.unnest(literal(list(customers), ARRAY(BigInteger))).table_valued("id").render_derived("customer")
    stands = func.blocks_at(BOOKINGS.status, BOOKINGS.expires_at, now)
    kinds: Mapping[str, tuple[Any, Any]] = {
        "Next": ((BOOKINGS.start_time >= now) & stands, BOOKINGS.start_time.asc()),
        "Last": ((BOOKINGS.start_time < now) & (BOOKINGS.status != Status.CANCELLED), BOOKINGS.start_time.desc()),
    }
    parts = []
    for word, (where, order) in kinds.items():
        one = select(home(Booking)).where(BOOKINGS.user_id == whose.c.id, where).order_by(order).limit(1).lateral()
        columns = (one.c.id, one.c.user_id, one.c.start_time, one.c.status)
        parts.append(
            select(literal(word).label("word"), *columns, SERVICES.title.label("service"))
            .select_from(whose)
            .join(one, literal(value=True))
            .join(home(Service), SERVICES.id == one.c.service_id)
        )
    return union_all(*parts)


def named(asked: Asked, kind: str, rows: Any, column: str) -> Any:
    """Find the rows of a small table by number or name."""
    name = rows[column]
    found = select(literal(kind).label("kind"), rows.id, name.label("name"), rows.is_active)
    return (
        found.where(asked.meant(rows, column))
        .order_by(func.lower(name), rows.id)
        .limit(MOST_SHOWN + 1)
        .subquery()
        .select()
    )


async def search_everywhere(request: Request, view: Any, templates: Any, *, zone: ZoneInfo, now: datetime) -> Response:
    """Show what was found; the only row of a number is gone to at once."""
    asked = Asked.of(request.query_params.get("q", ""))
    groups = await Search(request, view, asked, zone=zone, now=now).found() if asked.is_anything else []
    if asked.number > 0 and [len(group.hits) for group in groups] == [1]:
        return RedirectResponse(groups[0].hits[0].address, 303)
    request.state.searched = asked.term
    told = {"term": asked.term, "groups": groups, "bookings_of": bookings_of(request, asked, groups)}
    answer: Response = await templates.TemplateResponse(request, "sqladmin/search.html", told)
    return answer


def bookings_of(request: Request, asked: Asked, groups: Iterable[Group]) -> Any:
    """Give the way to all bookings of the people that were found."""
    is_whose = any(group.title == "People" for group in groups) and asked.is_words and asked.number < 1
    if not (is_whose and permissions.may(request.state.actor, "see", Booking)):
        return None
    return request.url_for("admin:list", identity="booking").include_query_params(search=asked.term)


PAGE = OwnPage("/search", "search", search_everywhere)
