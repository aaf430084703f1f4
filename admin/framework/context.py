"""What all pages of one application share: its database, its zone and its clock."""

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqladmin import Admin
from starlette.requests import Request
from starlette.responses import Response

from bookit.db.pool import Database
from bookit.settings import Settings


@dataclass(frozen=True)
class AdminContext:
    """The parts of one application, each read from ``app.state`` whenever a page needs it.

    So two applications in one process share nothing, and a part that is replaced in ``app.state`` counts from then on.
    A database that is put there must be another pool of the same PostgreSQL database: SQLAdmin reads through an engine
    of its own.
    """

    site: Admin

    @property
    def database(self) -> Database:
        """The database that every write goes through."""
        database: Database = self.site.app.state.database
        return database

    @property
    def settings(self) -> Settings:
        """The settings of the application."""
        settings: Settings = self.site.app.state.settings
        return settings

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the business."""
        return self.settings.zone

    @property
    def today(self) -> date:
        """The day that it is where the business is."""
        return self.now().astimezone(self.zone).date()

    def now(self) -> datetime:
        """Return the time by the application's clock."""
        now: datetime = self.site.app.state.clock()
        return now

    async def render(
        self, request: Request, template: str, context: dict[str, object], *, status_code: int = 200
    ) -> Response:
        """Return a page made from one of our templates."""
        return await self.site.templates.TemplateResponse(request, f"sqladmin/{template}", context, status_code)


def context_of(request: Request) -> AdminContext:
    """Return the context of the application that answers this request."""
    context: AdminContext = request.app.state.admin_context
    return context
