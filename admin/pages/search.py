"""One search box for bookings, people, services and resources."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from markupsafe import Markup
from sqlalchemy import BigInteger, ColumnElement, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.expression import Executable
from sqlmodel import SQLModel
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from admin.framework.context import context_of
from admin.framework.custom_page import CustomPage
from admin.framework.filters import takes
from admin.framework.formatting import contact_details, format_local_time, format_status, humanize
from admin.framework.list_pages import matches
from admin.framework.page_state import page_state
from admin.framework.parsing import parse_id
from admin.framework.types import Columns, ResultRow, ResultRows, Statement
from bookit.bookings.visitors import name_customer
from bookit.db.search import sort_key
from bookit.policy import permissions
from bookit.schema.tables import Booking, Resource, Service, Status, User, table_of

MAX_HITS_SHOWN = 10  # of a kind
MAX_CANDIDATES = 200  # before the best of them are chosen
MAX_TERM_LENGTH = 255  # letters: an e-mail has no more, and all else has less

BOOKINGS, USERS, SERVICES, RESOURCES = (table_of(table).c for table in (Booking, User, Service, Resource))


@dataclass
class Hit:
    """A row that was found: its name, the URL of its page, and what tells it from others."""

    name: str
    url: URL
    details: Sequence[str] = ()
    visits: list[tuple[str, Markup, Markup]] = field(default_factory=list)


@dataclass
class Group:
    """The hits of one kind, with the URL of all of them where there are more."""

    title: str
    hits: list[Hit]
    all_url: URL | None = None

    @property
    def more_than(self) -> int | None:
        """The number of hits that are shown of more; None if all are shown."""
        return MAX_HITS_SHOWN if self.all_url else None


@dataclass(frozen=True)
class SearchQuery:
    """What was typed: words, an id, or what may be either, as 60 is in "60 minutes"."""

    term: str
    row_id: int
    is_text: bool

    @classmethod
    def parse(cls, typed: str) -> "SearchQuery":
        """Read a term. With a # it is an id and nothing else; one that is longer than any name matches nothing.

        What begins with 0 is a part of a phone number and no id.
        """
        term = typed.replace("\0", "").strip()
        row_id = -1 if term.startswith("0") else parse_id(term.removeprefix("#"))
        is_text = bool(term) and not term.startswith("#") and len(term) <= MAX_TERM_LENGTH
        return cls(term[:MAX_TERM_LENGTH], row_id, is_text)

    @property
    def is_searchable(self) -> bool:
        """Whether there is anything to look for."""
        return self.is_text or self.row_id > 0

    def build_condition(self, columns: Columns, *names: str) -> ColumnElement[bool]:
        """Return the condition that a row has this id, or these words in one of these columns."""
        no_words: ColumnElement[bool] = literal(value=False)
        has_words = matches(self.term, *(columns[name] for name in names)) if self.is_text else no_words
        return has_words if self.row_id < 1 else has_words | (columns.id == self.row_id)


class Search:
    """One search by one user, who finds only what they may see."""

    def __init__(self, request: Request, query: SearchQuery) -> None:
        self.request, self.context, self.query = request, context_of(request), query
        self.format_time = partial(format_local_time, self.context.zone)

    def may_see(self, table: type[SQLModel]) -> bool:
        """Return whether the user may see this table."""
        return permissions.has_permission(page_state(self.request).actor, "see", table)

    def details_url(self, identity: str, row_id: int) -> URL:
        """Return the URL of a row's page."""
        return self.request.url_for("admin:details", identity=identity, pk=row_id)

    def list_url(self, identity: str, **params: object) -> URL:
        """Return the URL of a list that is searched or filtered."""
        return self.request.url_for("admin:list", identity=identity).include_query_params(**params)

    async def find_all(self) -> list[Group]:
        """Return the hits of each kind, in at most four statements."""
        groups = [await self.find_bookings(), await self.find_people(), *await self.find_catalogue()]
        return [group for group in groups if group.hits]

    async def find_bookings(self) -> Group:
        """Find a booking by its id. Names of customers find people, with their bookings beside them."""
        group = Group("Bookings", [])
        if self.query.row_id > 0 and self.may_see(Booking):
            own = permissions.own_resource(page_state(self.request).actor)
            for row in await self.context.fetch_rows(select_booking(self.query.row_id, own_resource_id=own)):
                customer = name_customer(row.customer, row.visitor_name)
                details = [self.format_time(row.start_time), customer, row.service, format_status(row, "status")]
                group.hits.append(Hit(f"#{row.id}", self.details_url("booking", row.id), details))
        return group

    async def find_people(self) -> Group:
        """Find people by id, name, phone or e-mail, with the last and the next booking of each."""
        if not self.may_see(User):
            return Group("People", [])
        rows = await self.context.fetch_rows(select_people(self.query))
        hits = {
            row.id: Hit(row.name, self.details_url("user", row.id), self.person_details(row))
            for row in rows[:MAX_HITS_SHOWN]
        }
        if hits and self.may_see(Booking):
            visits = await self.context.fetch_rows(select_nearest_visits(sorted(hits), self.context.now()))
            for visit in sorted(visits, key=lambda visit: visit.word, reverse=True):  # The next before the last.
                link = Markup('<a href="{}">{}</a> {}').format(
                    self.details_url("booking", visit.id), self.format_time(visit.start_time), visit.service
                )
                hits[visit.user_id].visits.append((visit.word, link, format_status(visit, "status")))
        return Group("People", [*hits.values()], self.all_hits_url("user", rows))

    def person_details(self, row: ResultRow) -> list[str]:
        """Return what tells one person from another of the same name."""
        contact = contact_details(row.phone, row.email, phone_country=self.context.phone_country)
        role = [] if row.role == "user" else [humanize(row.role)]
        return [f"#{row.id}", *contact, *role, *([] if row.is_active else ["inactive"])]

    async def find_catalogue(self) -> Iterable[Group]:
        """Find services and resources by id or name; these are few."""
        kinds: list[tuple[str, type[SQLModel], str, str]] = [
            ("service", Service, "title", "Services"),
            ("resource", Resource, "name", "Resources"),
        ]
        visible = [kind for kind in kinds if self.may_see(kind[1])]
        if not visible:
            return []
        parts = [select_named_rows(self.query, kind, table_of(table).c, column) for kind, table, column, _ in visible]
        rows = await self.context.fetch_rows(union_all(*parts))
        groups = []
        for kind, _, _, title in visible:
            of_kind = [row for row in rows if row.kind == kind]
            hits = [self.catalogue_hit(row) for row in of_kind[:MAX_HITS_SHOWN]]
            groups.append(Group(title, hits, self.all_hits_url(kind, of_kind)))
        return groups

    def catalogue_hit(self, row: ResultRow) -> Hit:
        """Return a service or a resource, with a link to its bookings."""
        details = [f"#{row.id}", *([] if row.is_active else ["inactive"])]
        if self.may_see(Booking):
            url = self.list_url("booking", **{f"{row.kind}_id": row.id})
            details.append(Markup('<a href="{}">Bookings for {}</a>').format(url, row.name))
        return Hit(row.name, self.details_url(row.kind, row.id), details)

    def all_hits_url(self, identity: str, rows: ResultRows) -> URL | None:
        """Return the URL of the list of all hits, where there are more than are shown."""
        return self.list_url(identity, search=self.query.term) if len(rows) > MAX_HITS_SHOWN else None


def select_booking(booking_id: int, *, own_resource_id: int | None) -> Statement:
    """Read a booking by its id, with the names of its customer and its service; of one resource, or of all if None."""
    is_own = literal(value=True) if own_resource_id is None else takes(own_resource_id)
    columns = (BOOKINGS.id, BOOKINGS.start_time, BOOKINGS.status)
    return (
        select(*columns, USERS.name.label("customer"), BOOKINGS.visitor_name, SERVICES.title.label("service"))
        .join(table_of(User), USERS.id == BOOKINGS.user_id)
        .join(table_of(Service), SERVICES.id == BOOKINGS.service_id)
        .where(BOOKINGS.id == booking_id, is_own)
    )


def select_people(query: SearchQuery) -> Statement:
    """Find people up to a limit, and read the best: first those with this id or e-mail, then by name."""
    people = select(USERS.id, USERS.name, USERS.phone, USERS.email, USERS.role, USERS.is_active)
    rows = (
        people.where(query.build_condition(USERS, "name", "email", "phone"))
        .limit(MAX_CANDIDATES)
        .cte("people")
        .prefix_with("MATERIALIZED")
    )
    is_exact = (rows.c.id == query.row_id) | (func.coalesce(func.lower(rows.c.email), "") == query.term.lower())
    return select(rows).order_by(is_exact.desc(), sort_key(rows.c.name), rows.c.id).limit(MAX_HITS_SHOWN + 1)


def select_nearest_visits(customer_ids: Sequence[int], now: datetime) -> Executable:
    """Read the last booking of each customer that was not cancelled, and the next one that blocks its slot."""
    customers = (
        func.unnest(literal(list(customer_ids), ARRAY(BigInteger))).table_valued("id").render_derived("customer")
    )
    stands = func.blocks_at(BOOKINGS.status, BOOKINGS.expires_at, now)
    kinds: Mapping[str, tuple[ColumnElement[bool], ColumnElement[datetime]]] = {
        "Next": ((BOOKINGS.start_time >= now) & stands, BOOKINGS.start_time.asc()),
        "Last": ((BOOKINGS.start_time < now) & (BOOKINGS.status != Status.CANCELLED), BOOKINGS.start_time.desc()),
    }
    parts = []
    for word, (where, order) in kinds.items():
        booking = (
            select(table_of(Booking))
            .where(BOOKINGS.user_id == customers.c.id, where)
            .order_by(order)
            .limit(1)
            .lateral()
        )
        columns = (booking.c.id, booking.c.user_id, booking.c.start_time, booking.c.status)
        parts.append(
            select(literal(word).label("word"), *columns, SERVICES.title.label("service"))
            .select_from(customers)
            .join(booking, literal(value=True))
            .join(table_of(Service), SERVICES.id == booking.c.service_id)
        )
    return union_all(*parts)


def select_named_rows(query: SearchQuery, kind: str, columns: Columns, column: str) -> Statement:
    """Find the rows of a small table by id or name."""
    name = columns[column]
    rows = select(literal(kind).label("kind"), columns.id, name.label("name"), columns.is_active)
    return (
        rows.where(query.build_condition(columns, column))
        .order_by(sort_key(name), columns.id)
        .limit(MAX_HITS_SHOWN + 1)
        .subquery()
        .select()
    )


async def search_everywhere(request: Request) -> Response:
    """Show what was found, or redirect to the only row of an id."""
    query = SearchQuery.parse(request.query_params.get("q", ""))
    groups = await Search(request, query).find_all() if query.is_searchable else []
    if query.row_id > 0 and [len(group.hits) for group in groups] == [1]:
        return RedirectResponse(groups[0].hits[0].url, 303)
    page_state(request).search_term = query.term
    values = {"term": query.term, "groups": groups, "bookings_url": bookings_url(request, query, groups)}
    return await context_of(request).render(request, "search.html", values)


def bookings_url(request: Request, query: SearchQuery, groups: Iterable[Group]) -> URL | None:
    """Return the URL of the bookings of all people that were found."""
    has_people = any(group.title == "People" for group in groups) and query.is_text and query.row_id < 1
    if not (has_people and permissions.has_permission(page_state(request).actor, "see", Booking)):
        return None
    return request.url_for("admin:list", identity="booking").include_query_params(search=query.term)


PAGE = CustomPage("/search", "search", search_everywhere)
