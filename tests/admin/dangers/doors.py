"""Two admin panels on the same tables: BookIt's own, and SQLAdmin set up by its documentation."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from sqladmin import Admin, BaseView, Flash, ModelView, action, expose
from sqladmin.audit import AuditBackend, AuditEntry
from sqladmin.authentication import AuthenticationBackend
from sqladmin.filters import ForeignKeyFilter
from sqlalchemy import Integer, String, text
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from wtforms.validators import Length

from bookit.db.pool import Database
from bookit.db.statements import Row
from bookit.people import passwords
from bookit.schema.revisions import engine_options
from bookit.schema.tables import Booking, Resource, Service, User
from tests.support.admin_client import sign_in

BASE_URL = "https://bookit.test"


@dataclass
class ProbedAdmin:
    """An admin panel, with Mara and Ada signed in, and a visitor who is not."""

    app: Starlette
    site: Admin
    database: Database
    minimal_app: Starlette  # the same kind of panel, with the fewest settings it needs
    app_resources: Sequence[object]  # the connections of the rest of the application
    history: Callable[[], Awaitable[list[str]]]
    forbid_bookings: Callable[[], None]  # removes Mara's right to every booking
    mara: httpx2.AsyncClient
    ada: httpx2.AsyncClient
    visitor: httpx2.AsyncClient

    def view(self, identity: str) -> Any:
        """Return the view of a table."""
        return next(view for view in self.site.views if view.identity == identity)

    async def fetch_row(self, table: str, number: int) -> Row:
        """Return a row from the database."""
        rows = await self.database.fetch(text(f"SELECT * FROM {table} WHERE id = :id"), id=number)
        return rows[0]

    async def fetch_names(self, table: str = "resources") -> list[str]:
        """Return the names of a table's rows."""
        return [row["name"] for row in await self.database.fetch(text(f"SELECT name FROM {table} ORDER BY id"))]

    async def run_action(self, client: httpx2.AsyncClient, action_name: str, number: int = 1) -> httpx2.Response:
        """Run an action on a booking as the panel's own button does."""
        path = f"/admin/booking/action/{action_name}"
        answer = await client.post(path, data={"pks": str(number)})
        return await client.get(path, params={"pks": str(number)}) if answer.status_code == 405 else answer


def make_browser(app: Starlette) -> httpx2.AsyncClient:
    """Create a browser with its own cookies, which shows an exception as a page with status 500."""
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url=BASE_URL, headers={"origin": BASE_URL})


@asynccontextmanager
async def open_browsers(app: Starlette) -> AsyncIterator[dict[str, httpx2.AsyncClient]]:
    """Sign in Mara and Ada, and open a browser for a visitor."""
    async with make_browser(app) as mara, make_browser(app) as ada, make_browser(app) as visitor:
        for client, email in ((mara, "mara@example.com"), (ada, "ada@example.com")):
            answer = await sign_in(client, email)
            assert answer.status_code in {302, 303}, answer.text
        yield {"mara": mara, "ada": ada, "visitor": visitor}


class StockAuthentication(AuthenticationBackend):
    """The example of SQLAdmin's chapter "Authentication", with a password check."""

    def __init__(self, secret_key: str, database: Database) -> None:
        super().__init__(secret_key=secret_key)
        self.database = database

    async def login(self, request: Request) -> bool:
        """Store the user in the session."""
        form = await request.form()
        statement = text("SELECT id, password_hash FROM users WHERE email = :email")
        for user in await self.database.fetch(statement, email=str(form["username"])):
            if passwords.CRYPT_CONTEXT.verify(str(form["password"]), user["password_hash"]):
                request.session.update({"token": str(user["id"])})
                return True
        return False

    async def logout(self, request: Request) -> bool:
        """Clear the session."""
        request.session.clear()
        return True

    async def authenticate(self, request: Request) -> bool:
        """Look for the token in the session."""
        return "token" in request.session


class MemoryAudit(AuditBackend):
    """Stores what SQLAdmin passes to the audit hook that its documentation describes."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    async def log(self, entry: AuditEntry, request: Request) -> None:
        """Store an entry."""
        del request
        self.entries.append(str(entry))


class StockUser(ModelView, model=User):
    """The view of users."""

    column_list = ["id", "name", "email"]
    column_searchable_list = ["name"]


class StockService(ModelView, model=Service):
    """The view of services."""

    column_list = ["id", "title", "price"]


class StockResource(ModelView, model=Resource):
    """The view of resources, whose create form sets a length for the name."""

    column_list = ["id", "name", "capacity", "timezone"]
    form_args = {"name": {"validators": [Length(max=200)]}}


class StockBooking(ModelView, model=Booking):
    """The view of bookings, with an action, its own page, and a price that is read-only as issue 178 advises."""

    column_list = ["id", "start_time", "status"]
    column_searchable_list = ["status"]
    column_filters = [ForeignKeyFilter("service_id", "title", Service)]
    form_widget_args = {"price": {"readonly": True}}

    @action(name="cancel", label="Cancel", confirmation_message="Are you sure?")
    async def cancel(self, request: Request) -> Response:
        """Cancel the selected bookings."""
        async with self.session_maker() as session:
            for number in request.query_params.get("pks", "").split(","):
                booking = await session.get(Booking, int(number))
                booking.status = "cancelled"
            await session.commit()
        Flash.success(request, "Cancelled.")
        return RedirectResponse(request.url_for("admin:list", identity=self.identity))

    @expose("/takings", methods=["GET"])
    async def takings(self, request: Request) -> Response:
        """Return the revenue of the bookings."""
        del request
        return PlainTextResponse("35.00")


class Base(DeclarativeBase):
    """The base of tables that BookIt does not have."""


class Remark(Base):
    """A table with a column name that WTForms uses itself; SQLAdmin fails before it queries the database."""

    __tablename__ = "remarks"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    meta: Mapped[str] = mapped_column(String)


class StockRemark(ModelView, model=Remark):
    """The view of remarks."""


STOCK_VIEWS: tuple[type[ModelView | BaseView], ...] = (
    StockUser,
    StockService,
    StockResource,
    StockBooking,
    StockRemark,
)


@asynccontextmanager
async def open_stock_admin(database: Database) -> AsyncIterator[ProbedAdmin]:
    """Open SQLAdmin with its documented setup."""
    engine = create_async_engine(**engine_options(database.url))
    maker, audit, app, least = async_sessionmaker(engine), MemoryAudit(), Starlette(), Starlette()
    sign_in = StockAuthentication("a secret that is long enough", database)
    Admin(least, engine).add_view(StockUser)
    site = Admin(app, session_maker=maker, authentication_backend=sign_in, audit_backend=audit)
    for view in STOCK_VIEWS:
        site.add_view(view)

    async def history() -> list[str]:
        return list(audit.entries)

    async def never(request: Request, model: Any) -> bool:
        del request, model
        return False

    def forbid() -> None:
        for check in ("check_can_edit", "check_can_delete", "check_can_view_details"):
            setattr(door.view("booking"), check, never)

    async with open_browsers(app) as people:
        door = ProbedAdmin(app, site, database, least, [maker], history, forbid, **people)
        yield door
    await engine.dispose()
