"""One rule, two doors: the same verbs, asked of the API in JSON and of the staff door in its own forms and buttons.

What becomes of a verb compares with ``==``, whichever door it was asked at: the row as the database then holds it,
``None`` when it is gone, or ``Refused``. A door asks as whoever asks there: a customer books for themselves at the
API and is booked for at the desk. A refusal leaves the database as it was; each verb sees to that.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from datetime import datetime, time
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlmodel import SQLModel

from admin.views import VIEWS
from api.auth import create_access_token
from api.problems import iter_refusals, status_of
from bookit.bookings import acts
from bookit.refusals import Misshapen, Missing
from bookit.schema.tables import Booking, Review, Service, Status, User, table_of
from tests.support.admin_client import AdminDesk, ParsedPage
from tests.support.people import PASSWORD, Person
from tests.support.refusal_assertions import (
    PageMessages,
    RefusalOutcome,
    form_field_names,
    is_message_of,
    refusal_from_form,
    refusal_from_status,
    refusal_with_message,
)
from tests.support.request_helpers import count_rows

AT_BOTH_DOORS = pytest.mark.parametrize("door", ["api", "admin"], indirect=True)
AT_THE_ADMIN_ONLY = pytest.mark.parametrize(
    "door", ["admin"], indirect=True
)  # For what the API does not offer; say why.
API_PATHS: Mapping[type[SQLModel], str] = {
    Booking: "/bookings", Service: "/services", Review: "/reviews", User: "/auth/register",
}  # fmt: skip
# How the desk tells that a button's act is done, where it is not the status itself.
STATUS_MESSAGES: Mapping[Status, str] = {Status.PENDING: "reopened", Status.NO_SHOW: "marked as no-show"}


class DoorClient(ABC):
    """What can be asked at a door. Of a row its number counts, and for a change the version that was seen."""

    def __init__(self, desk: AdminDesk, mara: Person, ada: Person) -> None:
        self.desk, self.mara, self.ada = desk, mara, ada

    async def book(self, person: Person, service: object, start: datetime, **more: Any) -> Any:
        """Book a service for somebody."""
        facts = {"user_id": person.id, "service_id": get_int(service, "id"), "start_time": start, **more}
        return await self.require_unchanged_if_refused(
            self.create(Booking, by=self.requester_for(person, self.mara), **facts)
        )

    async def reschedule(self, booking: object, **to: Any) -> Any:
        """Move a booking in time, or to another resource."""
        return await self.require_unchanged_if_refused(self.edit(Booking, booking, by=self.mara, **to))

    async def set_status(self, booking: object, status: Status) -> Any:
        """Lead a booking to a status."""
        return await self.require_unchanged_if_refused(self.send_status(get_int(booking, "id"), status, by=self.mara))

    async def register(self, **facts: Any) -> Any:
        """Give somebody an account."""
        return await self.require_unchanged_if_refused(self.create(User, by=self.mara, **facts))

    async def change_user(self, person: Person, **facts: Any) -> Any:
        """Change somebody's account, as somebody who may."""
        seen = await self.desk.fetch_row("users", person.id)
        return await self.require_unchanged_if_refused(
            self.edit(User, seen, by=self.requester_for(person, self.ada), **facts)
        )

    async def add(self, table: type[SQLModel], *, by: Person | None = None, **facts: Any) -> Any:
        """Add a row, as the admin unless it is said who asks."""
        return await self.require_unchanged_if_refused(self.create(table, by=by or self.ada, **facts))

    async def change(self, table: type[SQLModel], seen_row: object, *, by: Person | None = None, **facts: Any) -> Any:
        """Change a row as it was seen."""
        return await self.require_unchanged_if_refused(self.edit(table, seen_row, by=by or self.ada, **facts))

    async def remove(self, table: type[SQLModel], row: object, *, by: Person | None = None) -> Any:
        """Take a row away."""
        return await self.require_unchanged_if_refused(self.delete(table, get_int(row, "id"), by=by or self.ada))

    async def require_unchanged_if_refused(self, awaitable: Awaitable[Any]) -> Any:
        """Give what came of it; a refusal has written nothing, not even history."""
        before = await count_rows(self.desk.database)
        outcome = await awaitable
        if isinstance(outcome, RefusalOutcome):
            assert await count_rows(self.desk.database) == before
        return outcome

    async def fetch_row(self, table: type[SQLModel], number: int) -> dict[str, Any] | None:
        """Give a row as the database holds it, but for the hash of a password, which no two doors make alike."""
        found = await self.desk.fetch_row(table_of(table).name, number)
        return {name: value for name, value in found.items() if name != "password_hash"} if found else None

    @abstractmethod
    def requester_for(self, person: Person, staff: Person) -> Person:
        """Give who asks at this door for what is somebody's own."""

    @abstractmethod
    async def create(self, table: type[SQLModel], *, by: Person, **facts: Any) -> Any:
        """Ask for a new row."""

    @abstractmethod
    async def edit(self, table: type[SQLModel], seen_row: object, *, by: Person, **facts: Any) -> Any:
        """Ask for a change of a row."""

    @abstractmethod
    async def send_status(self, number: int, status: Status, *, by: Person) -> Any:
        """Ask for another status."""

    @abstractmethod
    async def delete(self, table: type[SQLModel], number: int, *, by: Person) -> Any:
        """Ask that a row goes."""


class ApiDoor(DoorClient):
    """JSON, in the name of whoever asks."""

    def requester_for(self, person: Person, staff: Person) -> Person:
        """Let everybody ask for themselves."""
        del staff
        return person

    async def create(self, table: type[SQLModel], *, by: Person, **facts: Any) -> Any:
        """Post."""
        if facts.pop("user_id", by.id) != by.id:
            raise AssertionError("At the API everybody books for themselves.")
        answer = await self.request(by, "POST", API_PATHS[table], json=to_json(facts))
        return await self.read_response(answer, table, answer.json().get("id"))

    async def edit(self, table: type[SQLModel], seen_row: object, *, by: Person, **facts: Any) -> Any:
        """Patch the version that was seen; an account is one's own, and has none."""
        number = get_int(seen_row, "id")
        if table is User:
            proof = {"current_password": PASSWORD} if "password" in facts else {}
            answer = await self.request(by, "PATCH", "/me", json=to_json(facts) | proof)
        else:
            version = {"If-Match": f'"{get_int(seen_row, "version")}"'}
            answer = await self.request(by, "PATCH", f"{API_PATHS[table]}/{number}", version, json=to_json(facts))
        return await self.read_response(answer, table, number)

    async def send_status(self, number: int, status: Status, *, by: Person) -> Any:
        """Patch the status."""
        answer = await self.request(by, "PATCH", f"/bookings/{number}", json={"status": status})
        return await self.read_response(answer, Booking, number)

    async def delete(self, table: type[SQLModel], number: int, *, by: Person) -> Any:
        """Delete."""
        return await self.read_response(await self.request(by, "DELETE", f"{API_PATHS[table]}/{number}"), table, number)

    async def request(
        self, by: Person, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx2.Response:
        """Send a request as this person."""
        state = self.desk.app.state
        token = create_access_token(by.user, state.settings, now=state.clock())
        sent = {"Authorization": f"Bearer {token}", **(headers or {})}
        return await self.desk.visitor.request(method, path, headers=sent, **more)

    async def read_response(self, answer: httpx2.Response, table: type[SQLModel], number: int) -> Any:
        """Read an answer: the row, or a refusal with its code, its status and its sentence."""
        if answer.is_success:
            return await self.fetch_row(table, number)
        problem = answer.json()
        why = next(refusal for refusal in iter_refusals() if refusal.code() == problem["code"])
        assert answer.status_code == status_of(why)
        assert issubclass(why, Misshapen) or is_message_of(problem["detail"], why)
        return RefusalOutcome(why, problem.get("field"))


class AdminDoor(DoorClient):
    """Forms as they are opened, filled and sent, and buttons as they are pressed."""

    def requester_for(self, person: Person, staff: Person) -> Person:
        """Have staff ask for everybody."""
        del person
        return staff

    async def create(self, table: type[SQLModel], *, by: Person, **facts: Any) -> Any:
        """Fill in a new row's form."""
        return await self.submit_form(table, "create", by, facts) or await self.fetch_newest_row(table)

    async def edit(self, table: type[SQLModel], seen_row: object, *, by: Person, **facts: Any) -> Any:
        """Fill in a row's form, opened when the row was seen."""
        number = get_int(seen_row, "id")
        refusal = await self.submit_form(
            table, f"edit/{number}", by, {**facts, "version": get_int(seen_row, "version")}
        )
        return refusal or await self.fetch_row(table, number)

    async def send_status(self, number: int, status: Status, *, by: Person) -> Any:
        """Press the button of the act that leads there."""
        button = acts.STATUS_ACTS[status].__name__.replace("_", "-")
        answer = await self.browser_of(by).post(f"/admin/booking/action/{button}", data={"pks": str(number)})
        done = f"Booking #{number} is {STATUS_MESSAGES.get(status, status)}."
        return await self.read_action_result(by, answer, Booking, number, done)

    async def delete(self, table: type[SQLModel], number: int, *, by: Person) -> Any:
        """Press the button that deletes."""
        answer = await self.browser_of(by).delete(f"/admin/{view_identity(table)}/delete", params={"pks": str(number)})
        return await self.read_action_result(by, answer, table, number)

    def browser_of(self, by: Person) -> httpx2.AsyncClient:
        """Give the browser of somebody who works here."""
        return {self.mara.id: self.desk.mara, self.ada.id: self.desk.ada}[by.id]

    async def fetch_newest_row(self, table: type[SQLModel]) -> dict[str, Any] | None:
        """Give the row that was made last."""
        found = await self.desk.database.fetch(text(f"SELECT max(id) AS id FROM {table_of(table).name}"))
        return await self.fetch_row(table, found[0]["id"])

    async def submit_form(
        self, table: type[SQLModel], form: str, by: Person, facts: dict[str, Any]
    ) -> RefusalOutcome | None:
        """Open a form, fill it in as its fields are called, and send it; give why it came back."""
        client, path = self.browser_of(by), f"/admin/{view_identity(table)}/{form}"
        opened = await client.get(path)
        if opened.status_code != httpx2.codes.OK:
            return refusal_from_status(opened)
        fields = ParsedPage(opened.text).fields
        for name, value in facts.items():
            field = next((field for field in form_field_names(name) if f'name="{field}"' in opened.text), None)
            assert field, f"There is no field for {name}."
            fields.pop(field, None)
            if value is not False:  # A box that is not ticked is not sent.
                fields[field] = self.format_value(value)
        answer = await client.post(path, data={**fields, "save": "Save"})
        return None if answer.is_redirect else refusal_from_form(answer, table)

    def format_value(self, value: object) -> str:
        """Give a value as somebody types it; a time by the business's clock."""
        if isinstance(value, datetime):
            zone = self.desk.app.state.settings.zone
            return f"{value.astimezone(zone) if value.tzinfo else value:%Y-%m-%dT%H:%M}"
        if isinstance(value, time):
            return f"{value:%H:%M}"
        return "" if value is None else "y" if value is True else str(value)

    async def read_action_result(
        self, by: Person, answer: httpx2.Response, table: type[SQLModel], number: int, *done: str
    ) -> Any:
        """Read what the next page says of a button, and what became of the row."""
        if answer.is_client_error:
            return refusal_from_status(answer)
        following = answer.headers["location"] if answer.is_redirect else answer.text
        told = PageMessages((await self.browser_of(by).get(following)).text)
        if not told.alerts:
            assert told.successes == [*done]
            return await self.fetch_row(table, number)
        assert not told.successes
        (alert,) = told.alerts
        assert alert.startswith(f"#{number}: ")
        sentence = alert.removeprefix(f"#{number}: ")
        return RefusalOutcome(
            Missing if is_message_of(sentence, Missing) else refusal_with_message(sentence)
        )  # A button is about its row alone.


def get_int(row: Any, name: str) -> int:
    """Give the number or the version of a row."""
    assert not isinstance(row, RefusalOutcome), row
    return int(row[name] if isinstance(row, dict) else getattr(row, name))


def view_identity(table: type[SQLModel]) -> str:
    return next(str(view.identity) for view in VIEWS if view.model is table)


def to_json(facts: Mapping[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        return float(value) if isinstance(value, Decimal) else value

    return {name: plain(value) for name, value in facts.items()}
