"""What all pages of one application share: its database, its zone, its clock and its templates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqladmin import Admin, ModelView
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.sql.expression import Executable
from starlette.requests import Request
from starlette.responses import Response

from admin.framework.types import ResultRows
from bookit.change_feed import ChangeFeed
from bookit.db.pool import Database
from bookit.people.last_seen import LastSeen
from bookit.policy.business import BusinessProfile, CurrentBusiness
from bookit.schema.tables import table_of
from bookit.settings import Settings


@dataclass(frozen=True)
class AdminContext:
    """The parts of one application. Each is read from ``app.state`` whenever a page needs it.

    So two applications in one process share nothing, and a part that is replaced in ``app.state`` counts from then on.
    A database that is put there must be another pool of the same PostgreSQL database: lists are read through
    ``session_maker``, which has an engine of its own.
    """

    site: Admin
    session_maker: async_sessionmaker[AsyncSession]

    @property
    def database(self) -> Database:
        """The database: pages of our own read it, and everything is written to it."""
        database: Database = self.site.app.state.database
        return database

    @property
    def settings(self) -> Settings:
        """The settings of the application."""
        settings: Settings = self.site.app.state.settings
        return settings

    @property
    def last_seen(self) -> LastSeen:
        """What notes when sign-ins were last used."""
        last_seen: LastSeen = self.site.app.state.last_seen
        return last_seen

    @property
    def business(self) -> BusinessProfile:
        """The business as this process knows it."""
        return self.current_business.profile

    @property
    def current_business(self) -> CurrentBusiness:
        """What keeps the profile of the business."""
        current: CurrentBusiness = self.site.app.state.business
        return current

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the business."""
        return self.business.zone

    def format_money(self, amount: Decimal | float) -> str:
        """Return an amount in the currency of the business, as the business writes it."""
        return self.business.format_money(amount)

    @property
    def phone_country(self) -> str:
        """The country whose phone numbers need no country code."""
        return self.database.phone_country

    def now(self) -> datetime:
        """Return the time by the application's clock."""
        now: datetime = self.site.app.state.clock()
        return now

    @property
    def today(self) -> date:
        """The day that it is where the business is."""
        return self.now().astimezone(self.zone).date()

    @property
    def change_feed(self) -> ChangeFeed:
        """The change feed of the database, which its first subscriber opens."""
        state = self.site.app.state
        feed: ChangeFeed | None = getattr(state, "change_feed", None)
        if feed is None or feed.database is not self.database:
            self.close_streams()
            feed = state.change_feed = ChangeFeed(self.database)
        return feed

    def close_streams(self) -> None:
        """End every stream of changes, so that the server can stop."""
        feed: ChangeFeed | None = getattr(self.site.app.state, "change_feed", None)
        if feed is not None:
            feed.close()

    @property
    def views(self) -> Mapping[str, ModelView]:
        """The list view of each table, by the table's name."""
        return {table_of(view.model).name: view for view in self.site.views if isinstance(view, ModelView)}

    async def fetch_rows(self, statement: Executable) -> ResultRows:
        """Run a statement that reads, and return its rows."""
        async with self.session_maker(expire_on_commit=False) as session:
            return (await session.execute(statement)).all()

    async def fetch_scalars(self, statement: Executable) -> Sequence[Any]:
        """Run a statement that reads, and return the first column of its rows, such as entities, each once."""
        async with self.session_maker(expire_on_commit=False) as session:
            return (await session.execute(statement)).scalars().unique().all()

    async def render(
        self, request: Request, template: str, context: dict[str, Any], *, status_code: int = 200
    ) -> Response:
        """Return a page made from one of our templates."""
        return await self.site.templates.TemplateResponse(request, f"sqladmin/{template}", context, status_code)


def context_of(request: Request) -> AdminContext:
    """Return the context of the application that answers this request."""
    context: AdminContext = request.app.state.admin_context
    return context


def request_id_of(request: Request) -> str:
    """Return the id by which the log and the history know this request."""
    return str(request.scope.get("request_id", ""))
