"""API and desk offer all inputs of the rules, and the same acts; exceptions are listed here with a reason.

Tests of each subject check with one body at both doors that these inputs obey the rules.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sqlmodel import SQLModel
from starlette.routing import Route

from admin.bookings.form import OTHER_FIELDS
from admin.record_view import RecordView
from admin.views import VIEWS
from api.bookings import ChangedBooking
from api.routes import ENDPOINTS
from bookit.bookings import acts
from bookit.records import RULES, default_create
from bookit.schema.tables import (
    Booking,
    Business,
    CalendarException,
    Event,
    OpeningHours,
    Payment,
    Resource,
    Review,
    Service,
    Status,
    User,
    table_of,
)
from tests.support.admin_client import AdminDesk
from tests.support.doors import API_PATHS

Reasons = Mapping[tuple[type[SQLModel], str], Mapping[str, str]]
CALLED: Mapping[str, str] = {
    "password_hash": "password"
}  # Field names in forms and bodies, and the names of the same inputs in rules.
BY_ITSELF = {"id", "created_at", "version", "is_demo"}  # Columns that the database or the seed fills in.
TABLES: list[type[SQLModel]] = [*RULES, OpeningHours, CalendarException]

# Inputs of a rule that a door does not offer, and why.
UNDECIDED = "a hold is for customers who have not decided; at the desk a visit is agreed at once"
NO_MESSAGES = "BookIt sends no messages yet, so the desk does not ask whether to notify the customer"
IN_THE_DIALOG = "the booking dialog of the calendar sets it; the form asks for a reason"
BY_THE_BUSINESS = "the desk types times by the clock of the business"
NOT_IN_FORMS: Reasons = {
    (CalendarException, "create"): {"timezone": BY_THE_BUSINESS},
    (CalendarException, "change"): {"timezone": BY_THE_BUSINESS},
    (Booking, "create"): {
        "hold": UNDECIDED,
        "notify_customer": NO_MESSAGES,
        "for_desk": IN_THE_DIALOG,
    },
    (Booking, "change"): {
        "hold": UNDECIDED,
        "notify_customer": NO_MESSAGES,
        "status": "it moves by the buttons of its acts, never by a field",
    },
}
THEY_KNOW = "whether staff notify the customer; through the API customers act themselves"
NOT_IN_JSON: Reasons = {
    (Booking, "create"): {
        "user_id": "everybody books for themselves; for a customer, staff book at the desk",
        "notify_customer": THEY_KNOW,
        "for_desk": IN_THE_DIALOG,
    },
    (Booking, "change"): {"notify_customer": THEY_KNOW},
    (User, "create"): {"role": "users may not change their own role", "resource_id": "an owner says who works here"},
    (User, "change"): {
        "role": "as above",
        "resource_id": "as above",
        "is_active": "users may not deactivate themselves",
    },
    (Review, "change"): {"booking_id": "a review stays with its visit"},
}
# At both doors, beside what the rule takes: these prove whose account it is.
PROOFS: Mapping[tuple[type[SQLModel], str], set[str]] = {(User, "change"): {"current_password"}}
ONLY_IN_JSON: Reasons = {
    (Service, "change"): {"accepts_stranded": "at the desk, the page that names the visits has a button"},
}

OWN_ACCOUNT = "at the API an account is one's own, and stays for the history of its visits"
NO_ADDRESS = "customers see services, not what stands behind them"
BY_CUSTOMERS = "a review is written by its customer, not at the desk"
ONE_ROW = "a new database has it, and it stays"
NO_DOOR = ""
ONE_DOOR: Mapping[tuple[type[SQLModel], str], tuple[str, str]] = {
    (Business, "create"): (NO_DOOR, ONE_ROW),
    (Business, "change"): ("admin", "an owner sets up the business at the desk"),
    (Business, "remove"): (NO_DOOR, ONE_ROW),
    (Review, "create"): ("api", BY_CUSTOMERS),
    (Review, "change"): ("api", BY_CUSTOMERS),
    (User, "remove"): ("admin", OWN_ACCOUNT),
    **{
        (table, verb): ("admin", NO_ADDRESS)
        for table in (Resource, OpeningHours, CalendarException)
        for verb in ("create", "change", "remove")
    },
}


def offered_at(door: str) -> list[tuple[type[SQLModel], str]]:
    """Return what can be created or changed at a door, by a form or by a body."""
    pairs = [(table, verb) for table in TABLES for verb in ("create", "change")]
    return [pair for pair in pairs if ONE_DOOR.get(pair, (door, ""))[0] == door]


def columns(table: type[SQLModel]) -> set[str]:
    """Return the columns that can be written."""
    return {column.name for column in table_of(table).columns} - BY_ITSELF


def inputs_of(act: Callable[..., Any], table: type[SQLModel]) -> set[str]:
    """Return the keyword arguments of a rule; with ``**facts``, also the columns of the table."""
    parameters = inspect.signature(act).parameters.values()
    keywords = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    named = keywords - {"by", "now", "is_demo"}  # Only the seed marks people of the demo.
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return named | columns(table) if takes_any else named


def rule(table: type[SQLModel], verb: str) -> Callable[..., Any]:
    act: Callable[..., Any] = getattr(RULES[table], verb) if table in RULES else default_create
    return act


def external_names(facts: set[str]) -> set[str]:
    return {CALLED.get(name, name) for name in facts}


def view_of(desk: AdminDesk, table: type[SQLModel]) -> RecordView:
    return next(view for view in desk.site.views if isinstance(view, RecordView) and view.model is table)


def address(table: type[SQLModel], verb: str) -> tuple[str, str]:
    """Return the method and the path of a verb at the API."""
    if table is User and verb == "change":
        return "PATCH", "/me"
    path = API_PATHS.get(table, f"/{table_of(table).name}")
    return ("POST", path) if verb == "create" else ({"change": "PATCH", "remove": "DELETE"}[verb], f"{path}/{{id}}")


def doors_of(desk: AdminDesk, table: type[SQLModel], verb: str) -> set[str]:
    """Return the doors at which rows of a table can be created, changed or removed."""
    view: Any = view_of(desk, table)
    able = {"create": view.can_create, "change": view.can_edit, "remove": view.can_delete}[verb]
    offered = address(table, verb) in {(endpoint.method, endpoint.path) for endpoint in ENDPOINTS}
    return ({"admin"} if able else set()) | ({"api"} if offered else set())


# Forms and bodies.


def as_fact(view: RecordView, field: str) -> str:
    """Return the input that a form field provides: a form names relations, a rule takes ids."""
    if field in OTHER_FIELDS:
        return "resources"
    if field in view.many_relations:
        return f"{field.removesuffix('s')}_ids"
    return f"{field}_id" if f"{field}_id" in columns(view.model) else field


@pytest.mark.parametrize(("table", "verb"), offered_at("admin"))
async def test_forms_offer_exactly_what_the_rule_takes(desk: AdminDesk, table: type[SQLModel], verb: str) -> None:
    view, taken = view_of(desk, table), external_names(inputs_of(rule(table, verb), table))
    form = await view.scaffold_form(view._form_create_rules if verb == "create" else view._form_edit_rules)

    offered = {as_fact(view, name) for name in form()._fields} - {"version", "end_seen", "form_key"}

    left_out = NOT_IN_FORMS.get((table, verb), {}).keys()
    assert offered == (taken - left_out) | PROOFS.get((table, verb), set())
    assert left_out <= taken


@pytest.mark.parametrize(("table", "verb"), offered_at("api"))
def test_bodies_offer_exactly_what_the_rule_takes(table: type[SQLModel], verb: str) -> None:
    taken, where = external_names(inputs_of(rule(table, verb), table)), address(table, verb)
    endpoint = next(endpoint for endpoint in ENDPOINTS if (endpoint.method, endpoint.path) == where)

    offered = set(endpoint.inputs["body"].model_fields)

    left_out = NOT_IN_JSON.get((table, verb), {}).keys()
    added = ONLY_IN_JSON.get((table, verb), {}).keys() | PROOFS.get((table, verb), set())
    assert offered == (taken - left_out) | added
    assert left_out <= taken


async def test_every_edit_sends_the_version_it_started_from(desk: AdminDesk) -> None:
    tables = [view for view in desk.site.views if isinstance(view, RecordView)]
    assert len(tables) == len(VIEWS)
    for view in tables:
        if view.can_edit:
            assert "version" in (await view.scaffold_form(view._form_edit_rules))()._fields


# Acts.


async def test_both_doors_offer_the_same_acts(desk: AdminDesk) -> None:
    buttons = {
        (view.identity, str(vars(member)["_slug"]))
        for view in VIEWS
        for _, member in inspect.getmembers(view, lambda member: hasattr(member, "_action"))
    }
    act_names = {("booking", act.__name__.replace("_", "-")) for act in acts.STATUS_ACTS.values()}
    routes = {
        (route.name.split("-")[1], route.name.split("-", 2)[2]): route.methods
        for route in desk.site.admin.router.routes
        if isinstance(route, Route) and route.name.startswith("action-")
    }
    in_json = {Status(word) for word in ChangedBooking.model_json_schema()["$defs"]["Status"]["enum"]}

    assert buttons == act_names
    assert routes == {act: {"POST"} for act in act_names}
    assert in_json == set(Status) == set(acts.STATUS_ACTS)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("verb", ["create", "change", "remove"])
async def test_every_rule_is_available_at_both_doors_or_has_a_reason(
    desk: AdminDesk, table: type[SQLModel], verb: str
) -> None:
    only, _ = ONE_DOOR.get((table, verb), ("both", ""))

    assert doors_of(desk, table, verb) == ({"api", "admin"} if only == "both" else {only} - {NO_DOOR})


async def test_history_cannot_be_written(desk: AdminDesk) -> None:
    """The desk only shows it. A trigger writes it."""
    assert {view.model for view in VIEWS} - set(TABLES) == {Event, Payment}
    for table in (Event, Payment):  # The page of a booking takes payments.
        assert [doors_of(desk, table, verb) for verb in ("create", "change", "remove")] == [set()] * 3
