"""One person of each role, at both doors, and a booking of each of two resources."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from starlette.applications import Starlette

from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Role, User
from tests.support.admin_client import make_browser, sign_in
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.people import OWNER, PASSWORD_HASH, MakeClient, Person

NAMES: Mapping[Role, str] = {
    Role.OWN_CALENDAR: "Lea",
    Role.STAFF: "Mara",
    Role.MANAGER: "Nadia",
    Role.ADMIN: "Ada",
}
LEAS_RESOURCE, MAXS_RESOURCE = 1, 2


@dataclass(frozen=True)
class Team:
    """The people who work here by their role, each with a client of the API and a browser; and two bookings of Tom's.

    Lea has the calendar of resource 1, where ``own`` is. ``foreign`` is of resource 2, at another time.
    """

    database: Database
    people: Mapping[Role, Person]
    browsers: Mapping[Role, httpx2.AsyncClient]
    own: Booking
    foreign: Booking

    @property
    def lea(self) -> httpx2.AsyncClient:
        """The client of the API of the person with her own calendar."""
        return self.people[Role.OWN_CALENDAR].client

    @property
    def leas_browser(self) -> httpx2.AsyncClient:
        """Her browser, in the staff panel."""
        return self.browsers[Role.OWN_CALENDAR]

    async def status_of(self, booking: Booking) -> str:
        """Return the status that a booking has now."""
        row = await self.database.get(Booking, booking.id)
        assert row
        return str(row.status)


async def join_as(database: Database, client_of: MakeClient, role: Role, name: str = "", **more: Any) -> Person:
    """Return a new person of this role; Lea works as the first resource."""
    name = name or NAMES[role]
    resource = {"resource_id": LEAS_RESOURCE} if role == Role.OWN_CALENDAR else {}
    facts: dict[str, Any] = {"name": name, "email": f"{name.lower()}@example.com", "role": role, **resource, **more}
    async with database.transaction(by=OWNER) as session:
        user = await records.create(session, User, by=OWNER, now=NOW, password_hash=PASSWORD_HASH, **facts)
    return Person(user, client_of(user))


@asynccontextmanager
async def open_team(app: Starlette, database: Database, client_of: MakeClient, tom: Person) -> AsyncIterator[Team]:
    """Create and sign in everyone; service 1 is served by resource 1, Lea, and resource 2, Max."""
    people = {role: await join_as(database, client_of, role) for role in NAMES}
    bookings = []
    async with database.transaction(by=OWNER) as session:
        for resource_id in (LEAS_RESOURCE, MAXS_RESOURCE):
            facts: dict[str, Any] = {
                "user_id": tom.id,
                "service_id": 1,
                "start_time": TOMORROW_AT_TEN.replace(hour=8 + 2 * resource_id),
                "resource_id": resource_id,
            }
            bookings.append(await records.create(session, Booking, by=OWNER, now=NOW, **facts))
    async with AsyncExitStack() as on_leaving:
        browsers = {role: await on_leaving.enter_async_context(make_browser(app)) for role in people}
        for role, browser in browsers.items():
            answer = await sign_in(browser, people[role].user.email or "")
            assert answer.status_code == 303, answer.text
        yield Team(database, people, browsers, *bookings)
