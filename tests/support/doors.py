"""One rule, two doors: the same verbs through the API in JSON, and through the desk in its forms and buttons.

Results compare with ``==``, whichever door was used: the row as stored in the database, ``None`` when it was deleted,
or a ``RefusalOutcome``. The actor fits the door: customers book for themselves at the API and are booked for at the
desk. Each verb checks that a refusal leaves the database unchanged.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlmodel import SQLModel

from admin.views import VIEWS
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
from tests.support.sign_ins import token_of

AT_BOTH_DOORS = pytest.mark.parametrize("door", ["api", "admin"], indirect=True)
AT_THE_ADMIN_ONLY = pytest.mark.parametrize(
    "door", ["admin"], indirect=True
)  # For tests of what the API does not offer; give the reason.
API_PATHS: Mapping[type[SQLModel], str] = {
    Booking: "/bookings", Service: "/services", Review: "/reviews", User: "/auth/register",
}  # fmt: skip
# The desk's word for a completed act, where it is not the status itself.
STATUS_MESSAGES: Mapping[Status, str] = {Status.PENDING: "reopened", Status.NO_SHOW: "marked as no-show"}


class DoorClient(ABC):
    """The verbs that both doors offer. A row is identified by its id, and for a change by the version that was read."""

    new_status: Status  # of a booking made at this door

    def __init__(self, desk: AdminDesk, mara: Person, ada: Person) -> None:
        self.desk, self.mara, self.ada = desk, mara, ada

    async def book(self, person: Person, service: object, start: datetime, **more: Any) -> Any:
        """Book a service for a customer."""
        facts = {"user_id": person.id, "service_id": get_int(service, "id"), "start_time": start, **more}
        return await self.require_unchanged_if_refused(
            self.create(Booking, by=self.requester_for(person, self.mara), **facts)
        )

    async def reschedule(self, booking: object, **to: Any) -> Any:
        """Move a booking in time, or to another resource."""
        return await self.require_unchanged_if_refused(self.edit(Booking, booking, by=self.mara, **to))

    async def set_status(self, booking: object, status: Status, *, overlap: bool = False) -> Any:
        """Set the status of a booking, perhaps over another visit of its customer."""
        sent = self.send_status(get_int(booking, "id"), status, by=self.mara, overlap=overlap)
        return await self.require_unchanged_if_refused(sent)

    async def register(self, **facts: Any) -> Any:
        """Create an account."""
        return await self.require_unchanged_if_refused(self.create(User, by=self.mara, **facts))

    async def change_user(self, person: Person, **facts: Any) -> Any:
        """Change an account as an authorized user."""
        seen = await self.desk.fetch_row("users", person.id)
        return await self.require_unchanged_if_refused(
            self.edit(User, seen, by=self.requester_for(person, self.ada), **facts)
        )

    async def add(self, table: type[SQLModel], *, by: Person | None = None, **facts: Any) -> Any:
        """Create a row, as the admin by default."""
        return await self.require_unchanged_if_refused(self.create(table, by=by or self.ada, **facts))

    async def change(self, table: type[SQLModel], seen_row: object, *, by: Person | None = None, **facts: Any) -> Any:
        """Change a row at the version that was read."""
        return await self.require_unchanged_if_refused(self.edit(table, seen_row, by=by or self.ada, **facts))

    async def remove(self, table: type[SQLModel], row: object, *, by: Person | None = None) -> Any:
        """Delete a row."""
        return await self.require_unchanged_if_refused(self.delete(table, get_int(row, "id"), by=by or self.ada))

    async def require_unchanged_if_refused(self, awaitable: Awaitable[Any]) -> Any:
        """Return the result; check that a refusal wrote nothing, not even history."""
        before = await count_rows(self.desk.database)
        outcome = await awaitable
        if isinstance(outcome, RefusalOutcome):
            assert await count_rows(self.desk.database) == before
        return outcome

    async def fetch_row(self, table: type[SQLModel], number: int) -> dict[str, Any] | None:
        """Return a stored row, without the salted hash of a password."""
        row = await self.desk.fetch_row(table_of(table).name, number)
        return {name: value for name, value in row.items() if name != "password_hash"} if row else None

    @abstractmethod
    async def list_bookings(self, first: str, last: str) -> list[int]:
        """Return the ids of all bookings from one day to another in the order of the list; an empty day is no limit."""

    @abstractmethod
    def requester_for(self, person: Person, staff: Person) -> Person:
        """Return the user who acts at this door for the owner of a row."""

    @abstractmethod
    async def create(self, table: type[SQLModel], *, by: Person, **facts: Any) -> Any:
        """Create a row."""

    @abstractmethod
    async def edit(self, table: type[SQLModel], seen_row: object, *, by: Person, **facts: Any) -> Any:
        """Change a row."""

    @abstractmethod
    async def send_status(self, number: int, status: Status, *, by: Person, overlap: bool = False) -> Any:
        """Set the status of a booking."""

    @abstractmethod
    async def delete(self, table: type[SQLModel], number: int, *, by: Person) -> Any:
        """Delete a row."""


class ApiDoor(DoorClient):
    """The API: JSON, sent by the actor."""

    new_status = Status.PENDING

    async def list_bookings(self, first: str, last: str) -> list[int]:
        """Get the list."""
        days = {"from_date": first, "to_date": last}
        query = {name: day for name, day in days.items() if day}
        return [row["id"] for row in (await self.request(self.mara, "GET", "/bookings", params=query)).json()]

    def requester_for(self, person: Person, staff: Person) -> Person:
        """Return the owner: users act for themselves."""
        del staff
        return person

    async def create(self, table: type[SQLModel], *, by: Person, **facts: Any) -> Any:
        """Post."""
        if facts.pop("user_id", by.id) != by.id:
            raise AssertionError("At the API everybody books for themselves.")
        answer = await self.request(by, "POST", API_PATHS[table], json=to_json(facts))
        return await self.read_response(answer, table, answer.json().get("id"))

    async def edit(self, table: type[SQLModel], seen_row: object, *, by: Person, **facts: Any) -> Any:
        """Patch the version that was read; the user's own account has none."""
        number = get_int(seen_row, "id")
        if table is User:
            proof = {"current_password": PASSWORD} if facts.keys() & {"password", "email"} else {}
            answer = await self.request(by, "PATCH", "/me", json=to_json(facts) | proof)
        else:
            version = {"If-Match": f'"{get_int(seen_row, "version")}"'}
            answer = await self.request(by, "PATCH", f"{API_PATHS[table]}/{number}", version, json=to_json(facts))
        return await self.read_response(answer, table, number)

    async def send_status(self, number: int, status: Status, *, by: Person, overlap: bool = False) -> Any:
        """Patch the status."""
        body = {"status": status} | ({"overlap": True} if overlap else {})
        answer = await self.request(by, "PATCH", f"/bookings/{number}", json=body)
        return await self.read_response(answer, Booking, number)

    async def delete(self, table: type[SQLModel], number: int, *, by: Person) -> Any:
        """Delete."""
        return await self.read_response(await self.request(by, "DELETE", f"{API_PATHS[table]}/{number}"), table, number)

    async def request(
        self, by: Person, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx2.Response:
        """Send a request as this user."""
        state = self.desk.app.state
        token = token_of(by, state.settings, now=state.clock())
        sent = {"Authorization": f"Bearer {token}", **(headers or {})}
        return await self.desk.visitor.request(method, path, headers=sent, **more)

    async def read_response(self, answer: httpx2.Response, table: type[SQLModel], number: int) -> Any:
        """Return the row of a response, or a refusal with its code, status and sentence."""
        if answer.is_success:
            return await self.fetch_row(table, number)
        problem = answer.json()
        why = next(refusal for refusal in iter_refusals() if refusal.code() == problem["code"])
        assert answer.status_code == status_of(why)
        assert issubclass(why, Misshapen) or is_message_of(problem["detail"], why)
        return RefusalOutcome(why, problem.get("field"))


class AdminDoor(DoorClient):
    """The desk: forms that are opened, filled in and sent, and buttons that are pressed."""

    new_status = Status.CONFIRMED

    async def list_bookings(self, first: str, last: str) -> list[int]:
        """Export the list."""
        days = f"{first}..{last}" if first or last else "all"
        rows = (await self.desk.ada.get("/admin/booking/export/csv", params={"start_time": days})).text.splitlines()[1:]
        return [int(row.partition(",")[0]) for row in rows]

    def requester_for(self, person: Person, staff: Person) -> Person:
        """Return a staff member: the desk acts for everyone."""
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

    async def send_status(self, number: int, status: Status, *, by: Person, overlap: bool = False) -> Any:
        """Press the button of the action that sets this status, and with ``overlap`` the one that it asks with."""
        button = acts.STATUS_ACTS[status].__name__.replace("_", "-")
        path = f"/admin/booking/action/{button}"
        answer = await self.browser_of(by).post(path, data={"pks": str(number)})
        if overlap:
            assert 'name="overlap"' in answer.text
            fields = {name: value for name, value in ParsedPage(answer.text).fields.items() if name != "q"}
            answer = await self.browser_of(by).post(path, data=fields)
        done = f"Booking #{number} is {STATUS_MESSAGES.get(status, status)}."
        return await self.read_action_result(by, answer, Booking, number, done)

    async def delete(self, table: type[SQLModel], number: int, *, by: Person) -> Any:
        """Press the button that deletes."""
        answer = await self.browser_of(by).delete(f"/admin/{view_identity(table)}/delete", params={"pks": str(number)})
        return await self.read_action_result(by, answer, table, number)

    def browser_of(self, by: Person) -> httpx2.AsyncClient:
        """Return the browser of a staff member."""
        return {self.mara.id: self.desk.mara, self.ada.id: self.desk.ada}[by.id]

    async def fetch_newest_row(self, table: type[SQLModel]) -> dict[str, Any] | None:
        """Return the newest row of a table."""
        rows = await self.desk.database.fetch(text(f"SELECT max(id) AS id FROM {table_of(table).name}"))
        return await self.fetch_row(table, rows[0]["id"])

    async def submit_form(
        self, table: type[SQLModel], form: str, by: Person, facts: dict[str, Any]
    ) -> RefusalOutcome | None:
        """Open a form, fill it in by its labels, and send it; return the refusal if it came back."""
        client, path = self.browser_of(by), f"/admin/{view_identity(table)}/{form}"
        opened = await client.get(path)
        if opened.status_code != httpx2.codes.OK:
            return refusal_from_status(opened)
        fields, facts = ParsedPage(opened.text).fields, dict(facts)
        accepts_overlap = facts.pop("overlap", False)  # Its box is shown when the overlap was refused.
        for name, value in form_facts(facts).items():
            field = next((field for field in form_field_names(name) if f'name="{field}"' in opened.text), None)
            assert field, f"There is no field for {name}."
            fields.pop(field, None)
            if value is not False:  # An unticked box is not sent.
                fields[field] = value if isinstance(value, list) else self.format_value(value)
        answer = await client.post(path, data={**fields, "save": "Save"})
        if accepts_overlap and not answer.is_redirect:
            assert 'name="overlap"' in answer.text
            answer = await client.post(path, data={**fields, "overlap": "y", "save": "Save"})
        return None if answer.is_redirect else refusal_from_form(answer, table)

    def format_value(self, value: object) -> str:
        """Return a value as typed in a form, a time by the business's clock."""
        if isinstance(value, datetime):
            zone = self.desk.app.state.business.profile.zone
            return f"{value.astimezone(zone) if value.tzinfo else value:%Y-%m-%dT%H:%M}"
        if isinstance(value, time):
            return f"{value:%H:%M}"
        return "" if value is None else "y" if value is True else str(value)

    async def read_action_result(
        self, by: Person, answer: httpx2.Response, table: type[SQLModel], number: int, *done: str
    ) -> Any:
        """Return what the next page says about an action, and the row afterwards."""
        if answer.status_code == httpx2.codes.CONFLICT:
            messages = PageMessages(answer.text)
        elif answer.is_client_error:
            return refusal_from_status(answer)
        else:
            following = answer.headers["location"] if answer.is_redirect else answer.text
            messages = PageMessages((await self.browser_of(by).get(following)).text)
        successes = [message for message in messages.successes if not message.startswith("Booked with ")]
        if not messages.alerts:
            assert successes == [*done]
            return await self.fetch_row(table, number)
        assert not successes
        (alert,) = messages.alerts
        assert alert.startswith(f"#{number}: ")
        sentence = alert.removeprefix(f"#{number}: ")
        return RefusalOutcome(
            Missing if is_message_of(sentence, Missing) else refusal_with_message(sentence)
        )  # A button acts on its row alone.


def form_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts by the names of their fields in a form: relations to many rows, and a group of fields for a need."""
    fields = {name: value for name, value in facts.items() if name not in {"resource_ids", "needs"}}
    if "resource_ids" in facts:
        fields["resources"] = list(map(str, facts["resource_ids"]))
    needs = facts.get("needs", ())
    empty = {"role": "with", "resource_ids": [], "seats": 1, "free_from_minutes": None, "free_until_minutes": None}
    for position, need in enumerate([*needs, *[empty] * (4 - len(needs))], start=2) if "needs" in facts else ():
        for name, value in need.items():
            fields[f"needs-{position}-{name.removesuffix('_ids')}{'s' if name == 'resource_ids' else ''}"] = (
                list(map(str, value)) if isinstance(value, list) else value
            )
    return fields


def get_int(row: Any, name: str) -> int:
    """Return the id or the version of a row."""
    assert not isinstance(row, RefusalOutcome), row
    return int(row[name] if isinstance(row, dict) else getattr(row, name))


def view_identity(table: type[SQLModel]) -> str:
    return next(str(view.identity) for view in VIEWS if view.model is table)


def to_json(facts: Mapping[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        if isinstance(value, date | datetime):
            return value.isoformat()
        return float(value) if isinstance(value, Decimal) else value

    return {name: plain(value) for name, value in facts.items()}
