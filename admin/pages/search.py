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

from admin.framework.custom_page import CustomPage
from admin.framework.formatting import format_local_time, format_status
from admin.framework.list_pages import matches
from admin.framework.parsing import parse_id
from bookit.policy import permissions
from bookit.schema.tables import Booking, Resource, Service, Status, User, table_of

MAX_HITS_SHOWN = 10  # of a kind
MAX_CANDIDATES = 200  # before the best of them are chosen
MAX_TERM_LENGTH = 255  # letters: an e-mail has no more, and all else has less

BOOKINGS, USERS, SERVICES, RESOURCES = (table_of(table).c for table in (Booking, User, Service, Resource))


@dataclass
class Hit:
    """A row that was found: what it is called, where its page is, and what helps to know it."""

    name: str
    url: Any
    details: Sequence[Any] = ()
    visits: list[tuple[str, Any, Any]] = field(default_factory=list)


@dataclass
class Group:
    """The hits of one kind, with the way to all of them where there are more."""

    title: str
    hits: list[Hit]
    all_url: Any = None

    @property
    def more_than(self) -> int | None:
        """Of how many hits these are a part; None if they are all."""
        return MAX_HITS_SHOWN if self.all_url else None


@dataclass(frozen=True)
class SearchQuery:
    """What somebody typed: words, a number, or what may be either, as 60 is in "60 minutes"."""

    term: str
    row_id: int
    is_text: bool

    @classmethod
    def parse(cls, typed: str) -> "SearchQuery":
        """Read it. A # makes it a number and nothing else; what is too long for anything says nothing."""
        term = typed.replace("\0", "").strip()
        is_words = bool(term) and not term.startswith("#") and len(term) <= MAX_TERM_LENGTH
        return cls(term[:MAX_TERM_LENGTH], parse_id(term.removeprefix("#")), is_words)

    @property
    def is_searchable(self) -> bool:
        """Whether there is something to look for at all."""
        return self.is_text or self.row_id > 0

    def build_condition(self, columns: Any, *names: str) -> ColumnElement[bool]:
        """Say that a row has this number, or these words in one of these columns."""
        words = matches(self.term, *(columns[name] for name in names)) if self.is_text else literal(value=False)
        return words if self.row_id < 1 else words | (columns.id == self.row_id)


class Search:
    """One search by one reader, who finds only what they may see."""

    def __init__(self, request: Request, view: Any, query: SearchQuery, *, zone: ZoneInfo, now: datetime) -> None:
        self.request, self.view, self.query, self.now = request, view, query, now
        self.format_time = partial(format_local_time, zone)

    def may_see(self, table: type[SQLModel]) -> bool:
        """Whether this reader may see this table."""
        return permissions.has_permission(self.request.state.actor, "see", table)

    def details_url(self, identity: str, pk: int) -> Any:
        """Give the address of a row's page."""
        return self.request.url_for("admin:details", identity=identity, pk=pk)

    def list_url(self, identity: str, **params: Any) -> Any:
        """Give the address of a list that is searched or filtered."""
        return self.request.url_for("admin:list", identity=identity).include_query_params(**params)

    async def find_all(self) -> list[Group]:
        """Give what was found, kind by kind, in at most four statements."""
        groups = [await self.find_bookings(), await self.find_people(), *await self.find_catalogue()]
        return [group for group in groups if group.hits]

    async def find_bookings(self) -> Group:
        """Find a booking by its number. By whose they are, people are found, and their visits beside them."""
        group = Group("Bookings", [])
        if self.query.row_id > 0 and self.may_see(Booking):
            for row in await self.view.fetch_rows(select_booking(self.query.row_id)):
                said = [self.format_time(row.start_time), row.customer, row.service, format_status(row, "status")]
                group.hits.append(Hit(f"#{row.id}", self.details_url("booking", row.id), said))
        return group

    async def find_people(self) -> Group:
        """Find people by number, name or e-mail, with the visits of each that are next to now."""
        if not self.may_see(User):
            return Group("People", [])
        rows = await self.view.fetch_rows(select_people(self.query))
        hits = {
            row.id: Hit(row.name, self.details_url("user", row.id), person_details(row))
            for row in rows[:MAX_HITS_SHOWN]
        }
        if hits and self.may_see(Booking):
            visits = await self.view.fetch_rows(select_nearest_visits(sorted(hits), self.now))
            for visit in sorted(visits, key=lambda visit: visit.word, reverse=True):  # The next before the last.
                told = Markup('<a href="{}">{}</a> {}').format(
                    self.details_url("booking", visit.id), self.format_time(visit.start_time), visit.service
                )
                hits[visit.user_id].visits.append((visit.word, told, format_status(visit, "status")))
        return Group("People", [*hits.values()], self.all_hits_url("user", rows))

    async def find_catalogue(self) -> Iterable[Group]:
        """Find services and resources by number or name; these are few."""
        kinds: list[tuple[str, type[SQLModel], str, str]] = [
            ("service", Service, "title", "Services"),
            ("resource", Resource, "name", "Resources"),
        ]
        seen = [kind for kind in kinds if self.may_see(kind[1])]
        if not seen:
            return []
        parts = [select_named_rows(self.query, kind, table_of(table).c, column) for kind, table, column, _ in seen]
        rows = await self.view.fetch_rows(union_all(*parts))
        groups = []
        for kind, _, _, title in seen:
            of_kind = [row for row in rows if row.kind == kind]
            hits = [self.catalogue_hit(row) for row in of_kind[:MAX_HITS_SHOWN]]
            groups.append(Group(title, hits, self.all_hits_url(kind, of_kind)))
        return groups

    def catalogue_hit(self, row: Any) -> Hit:
        """Give a service or a resource, with the way to its bookings."""
        said: list[Any] = [f"#{row.id}"] + ([] if row.is_active else ["inactive"])
        if self.may_see(Booking):
            address = self.list_url("booking", **{f"{row.kind}_id": row.id})
            said.append(Markup('<a href="{}">Bookings of {}</a>').format(address, row.name))
        return Hit(row.name, self.details_url(row.kind, row.id), said)

    def all_hits_url(self, identity: str, rows: Sequence[Any]) -> Any:
        """Give the way to the list of all hits, where there are more than are shown."""
        return self.list_url(identity, search=self.query.term) if len(rows) > MAX_HITS_SHOWN else None


def person_details(row: Any) -> list[str]:
    """Give what tells one person from another of the same name."""
    role = [] if row.role == "user" else [row.role]
    return [f"#{row.id}", row.email, *role, *([] if row.is_active else ["inactive"])]


def select_booking(booking_id: int) -> Select[Any]:
    """Give the booking of a number, and whose and of what it is."""
    wanted = (BOOKINGS.id, BOOKINGS.start_time, BOOKINGS.status)
    return (
        select(*wanted, USERS.name.label("customer"), SERVICES.title.label("service"))
        .join(table_of(User), USERS.id == BOOKINGS.user_id)
        .join(table_of(Service), SERVICES.id == BOOKINGS.service_id)
        .where(BOOKINGS.id == booking_id)
    )


def select_people(query: SearchQuery) -> Select[Any]:
    """Find people, as far as a bound, and give the best: an exact number or e-mail, then by name."""
    found = select(USERS.id, USERS.name, USERS.email, USERS.role, USERS.is_active)
    rows = (
        found.where(query.build_condition(USERS, "name", "email"))
        .limit(MAX_CANDIDATES)
        .cte("found")
        .prefix_with("MATERIALIZED")
    )
    is_exact = (rows.c.id == query.row_id) | (func.lower(rows.c.email) == query.term.lower())
    return select(rows).order_by(is_exact.desc(), func.lower(rows.c.name), rows.c.id).limit(MAX_HITS_SHOWN + 1)


def select_nearest_visits(customer_ids: Sequence[int], now: datetime) -> Any:
    """Find the last visit of each that was not cancelled, and the next that stands."""
    whose = func.unnest(literal(list(customer_ids), ARRAY(BigInteger))).table_valued("id").render_derived("customer")
    stands = func.blocks_at(BOOKINGS.status, BOOKINGS.expires_at, now)
    kinds: Mapping[str, tuple[Any, Any]] = {
        "Next": ((BOOKINGS.start_time >= now) & stands, BOOKINGS.start_time.asc()),
        "Last": ((BOOKINGS.start_time < now) & (BOOKINGS.status != Status.CANCELLED), BOOKINGS.start_time.desc()),
    }
    parts = []
    for word, (where, order) in kinds.items():
        one = select(table_of(Booking)).where(BOOKINGS.user_id == whose.c.id, where).order_by(order).limit(1).lateral()
        columns = (one.c.id, one.c.user_id, one.c.start_time, one.c.status)
        parts.append(
            select(literal(word).label("word"), *columns, SERVICES.title.label("service"))
            .select_from(whose)
            .join(one, literal(value=True))
            .join(table_of(Service), SERVICES.id == one.c.service_id)
        )
    return union_all(*parts)


def select_named_rows(query: SearchQuery, kind: str, columns: Any, column: str) -> Any:
    """Find the rows of a small table by number or name."""
    name = columns[column]
    found = select(literal(kind).label("kind"), columns.id, name.label("name"), columns.is_active)
    return (
        found.where(query.build_condition(columns, column))
        .order_by(func.lower(name), columns.id)
        .limit(MAX_HITS_SHOWN + 1)
        .subquery()
        .select()
    )


async def search_everywhere(request: Request, view: Any, templates: Any, *, zone: ZoneInfo, now: datetime) -> Response:
    """Show what was found; the only row of a number is gone to at once."""
    asked = SearchQuery.parse(request.query_params.get("q", ""))
    groups = await Search(request, view, asked, zone=zone, now=now).find_all() if asked.is_searchable else []
    if asked.row_id > 0 and [len(group.hits) for group in groups] == [1]:
        return RedirectResponse(groups[0].hits[0].url, 303)
    request.state.searched = asked.term
    told = {"term": asked.term, "groups": groups, "bookings_of": bookings_url(request, asked, groups)}
    answer: Response = await templates.TemplateResponse(request, "sqladmin/search.html", told)
    return answer


def bookings_url(request: Request, query: SearchQuery, groups: Iterable[Group]) -> Any:
    """Give the way to all bookings of the people that were found."""
    is_whose = any(group.title == "People" for group in groups) and query.is_text and query.row_id < 1
    if not (is_whose and permissions.has_permission(request.state.actor, "see", Booking)):
        return None
    return request.url_for("admin:list", identity="booking").include_query_params(search=query.term)


PAGE = CustomPage("/search", "search", search_everywhere)
