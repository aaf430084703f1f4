"""What each role may do at each door, against one expected table; and that a business keeps an owner."""

from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlmodel import SQLModel

from admin.site import CUSTOM_PAGES
from api.routes import ENDPOINTS
from bookit.db.pool import Database
from bookit.policy import permissions
from bookit.policy.permissions import ROLE_LABELS, Actor
from bookit.schema.tables import (
    Booking,
    CalendarException,
    Event,
    OpeningHours,
    Payment,
    Refund,
    Resource,
    Review,
    Role,
    Service,
    SignIn,
    User,
)
from bookit.settings import Settings
from tests.support.admin_client import (
    ALL_VIEWS,
    AdminDesk,
    BuildApp,
    ParsedPage,
    get_page_text,
    post_form,
)
from tests.support.people import MakeClient, Person
from tests.support.races import outcome_of, run_at_once
from tests.support.roles import NAMES, Team, join_as, open_team

# Of each table: what a customer, a person with their own calendar, the desk, a manager and an owner may do.
# s: see, c: create, h: change, r: remove, e: erase, x: export.
EXPECTED: Mapping[type[SQLModel], tuple[str, str, str, str, str]] = {
    User: ("ch", "h", "sch", "schrex", "schrex"),
    Booking: ("schr", "sh", "schr", "schrx", "schrex"),
    Review: ("schr", "", "sch", "schrx", "schrex"),
    Payment: ("", "", "sc", "scx", "schrex"),
    Refund: ("", "", "sc", "scx", "schrex"),
    Service: ("", "", "sx", "schrx", "schrex"),
    Resource: ("", "", "sx", "schrx", "schrex"),
    OpeningHours: ("", "", "schrx", "schrx", "schrex"),
    CalendarException: ("", "", "schrx", "schrx", "schrex"),
    Event: ("", "", "", "sx", "schrex"),
    SignIn: ("", "", "", "", "schrex"),
}
VERBS: Mapping[str, permissions.Verb] = {
    "s": "see", "c": "create", "h": "change", "r": "remove", "e": "erase", "x": "export",
}  # fmt: skip
STAFF = [*NAMES]
ALL, DESK_UP, MANAGERS, OWNERS, NOBODY = set(STAFF), {*STAFF[1:]}, {*STAFF[2:]}, {*STAFF[3:]}, set[Role]()
# Who may open the pages of each view: list and details, create, edit, export. The others get 403.
PAGES: Mapping[str, tuple[set[Role], set[Role], set[Role], set[Role]]] = {
    "booking": (ALL, DESK_UP, ALL, MANAGERS),
    "review": (DESK_UP, NOBODY, NOBODY, MANAGERS),
    "payment": (DESK_UP, NOBODY, NOBODY, MANAGERS),
    "service": (DESK_UP, MANAGERS, MANAGERS, DESK_UP),
    "resource": (DESK_UP, MANAGERS, MANAGERS, DESK_UP),
    "opening-hours": (DESK_UP, DESK_UP, DESK_UP, DESK_UP),
    "calendar-exception": (DESK_UP, DESK_UP, DESK_UP, DESK_UP),
    "user": (DESK_UP, DESK_UP, DESK_UP, MANAGERS),
    "event": (MANAGERS, NOBODY, NOBODY, MANAGERS),
}
# Who may open each page of our own.
OWN_PAGES: Mapping[str, set[Role]] = {
    "": ALL, "today": ALL, "calendar": ALL, "search?q=1": ALL, "password": ALL, "sign-ins": ALL,
    "signing-in": ALL, "user/{customer}/second-factor": OWNERS,
    "calendar/feed?start=2030-01-08&end=2030-01-09": ALL, "calendar/visit/1": ALL,
    **{f"calendar/{page}?service_id=1&day=2030-01-08": DESK_UP for page in ("free-times", "why-none")},
    "reports": MANAGERS, "day-closing": DESK_UP, "booking/bulk": DESK_UP, "act/{act}": DESK_UP,
    "user/{customer}/sign-ins": OWNERS,
    "user/{customer}/data": MANAGERS, "user/{customer}/erase": MANAGERS, "resource/1/week": DESK_UP,
    "opening-hours/confirm-deletion": DESK_UP,
    "booking/ajax/lookup?name=resource&term=a": ALL, "booking/ajax/lookup?name=user&term=a": DESK_UP,
    "user/ajax/lookup?name=resource&term=a": DESK_UP,
}  # fmt: skip
# Who may use each endpoint of the API that asks for more than a sign-in. The others get 403.
API_ACCESS: Mapping[tuple[str, str], set[Role]] = {
    ("POST", "/bookings"): DESK_UP | {Role.USER},
    ("PATCH", "/bookings/{id}"): ALL | {Role.USER},
    ("DELETE", "/bookings/{id}"): DESK_UP | {Role.USER},
    ("POST", "/reviews"): DESK_UP | {Role.USER},
    ("PATCH", "/reviews/{id}"): DESK_UP | {Role.USER},
    ("DELETE", "/reviews/{id}"): MANAGERS | {Role.USER},
    **dict.fromkeys((("POST", "/services"), ("PATCH", "/services/{id}"), ("DELETE", "/services/{id}")), MANAGERS),
    **dict.fromkeys((("GET", "/users/{id}/sign-ins"), ("DELETE", "/users/{id}/sign-ins"),
                     ("DELETE", "/users/{id}/sign-ins/{sign_in_id}")), OWNERS),
    **{("GET", f"/reports/{name}"): MANAGERS for name in ("revenue", "utilisation", "no-shows", "repeat-customers")},
}  # fmt: skip


@pytest.fixture
async def team(
    open_door: BuildApp, staff_settings: Settings, shared: Service, database: Database, client_of: MakeClient,
    tom: Person,
) -> AsyncIterator[Team]:  # fmt: skip
    """Return everyone who works here, signed in at both doors."""
    async with open_team(open_door(staff_settings), database, client_of, tom) as team:
        yield team


@pytest.mark.parametrize("table", EXPECTED)
def test_each_role_may_do_what_the_table_says(table: type[SQLModel]) -> None:
    may = tuple(
        {verb for verb in VERBS.values() if permissions.has_permission(Actor("admin", 1, role), verb, table)}
        for role in Role
    )

    assert may == tuple({VERBS[letter] for letter in letters} for letters in EXPECTED[table])


def test_every_role_has_a_label_and_a_scope() -> None:
    assert [*ROLE_LABELS] == [*Role]
    assert permissions.SCOPE_BY_ROLE.keys() == set(Role)
    assert {permissions.own_resource(Actor("api", 1, role, resource_id=7)) for role in Role} == {None, 7}
    assert permissions.own_resource(Actor("api", 1, Role.OWN_CALENDAR)) == 0  # which no resource has


@pytest.mark.parametrize("role", STAFF)
async def test_each_role_opens_the_pages_of_its_table(team: Team, role: Role) -> None:
    async with team.database.transaction(by=Actor("seed", role=Role.ADMIN)) as session:
        await session.fetch(
            text("INSERT INTO opening_hours (resource_id, weekday, opens, closes) VALUES (1, 1, '09:00', '17:00')")
        )
        await session.fetch(
            text(
                "INSERT INTO calendar_exceptions (resource_id, start_time, end_time)"
                " VALUES (1, '2030-02-01Z', '2030-02-02Z')"
            )
        )
        await session.fetch(
            text(
                "INSERT INTO bookings (user_id, service_id, resource_id, start_time, end_time,"
                " blocks_from, blocks_until, status, price) SELECT user_id, service_id, resource_id,"
                " start_time - interval '9 d', end_time - interval '9 d', blocks_from - interval '9 d',"
                " blocks_until - interval '9 d', 'completed', price FROM bookings WHERE id = 1"
            )
        )
        await session.fetch(text("INSERT INTO reviews (booking_id, rating, comment) VALUES (3, 5, 'Good')"))
        await session.fetch(
            text(
                "INSERT INTO payments (booking_id, amount, currency, method, state, settled_at)"
                " VALUES (3, 100, 'EUR', 'cash', 'succeeded', now())"
            )
        )
    browser, wrong = team.browsers[role], {}

    for view, (seers, creators, editors, exporters) in PAGES.items():
        expected = {"list": seers, "details/1": seers, "create": creators, "edit/1": editors, "export/csv": exporters}
        for page, roles in expected.items():
            answer = await browser.get(f"/admin/{view}/{page}")
            if answer.status_code != (200 if role in roles else 403):
                wrong[f"{view}/{page}"] = answer.status_code
    assert wrong == {}


@pytest.mark.parametrize("role", STAFF)
async def test_each_role_opens_its_own_pages(team: Team, tom: Person, role: Role) -> None:
    changed = await team.browsers[Role.ADMIN].post("/admin/booking/action/confirm", data={"pks": "1"})
    assert changed.is_redirect
    (event,) = await team.database.fetch(text("SELECT request_id FROM events WHERE action = 'changed' LIMIT 1"))
    addresses = {
        path: path.format(act=event["request_id"], customer=tom.id) if "{" in path else path for path in OWN_PAGES
    }

    statuses = {path: (await team.browsers[role].get(f"/admin/{addresses[path]}")).status_code for path in OWN_PAGES}

    opens = {path for path, status in statuses.items() if status in {200, 303}}
    assert {path for path, roles in OWN_PAGES.items() if role in roles} == opens
    assert {status for path, status in statuses.items() if path not in opens} <= {403}


def test_every_page_is_walked() -> None:
    walked = {page.split("?")[0].replace("/1", "/{pk}").replace("{customer}", "{pk}") for page in OWN_PAGES}
    signing_in = {"login/second-step", "login/passkey"}  # Visitors open these.
    changing = {
        *{"booking/{pk}/undo", "calendar/book", "calendar/stream"},
        *{f"calendar/{act}/{{pk}}" for act in ("move", "act", "undo")},
        *{"notes", "notes/{pk}", "booking/{pk}/take-payment", "payment/{pk}/give-back"},
    }  # test_own_calendar, test_notes and test_payments send these
    pages = {page.path.removeprefix("/").replace("{identity}", "opening-hours") for page in CUSTOM_PAGES}

    assert pages - walked - signing_in == changing
    assert PAGES.keys() == set(ALL_VIEWS)


@pytest.mark.parametrize("role", [Role.USER, *STAFF])
async def test_each_role_uses_its_endpoints(team: Team, tom: Person, role: Role) -> None:
    client, refused = (tom if role == Role.USER else team.people[role]).client, set()
    for endpoint in ENDPOINTS:
        if endpoint.path.startswith("/auth/") or not endpoint.access.is_auth_required:
            continue
        path = endpoint.path.replace("{id}", "999999").replace("{sign_in_id}", "1")
        answer = await client.request(endpoint.method, path, json={} if endpoint.body else None)
        if answer.status_code == 403:
            refused.add((endpoint.method, endpoint.path))

    assert refused == {where for where, roles in API_ACCESS.items() if role not in roles}


def test_every_endpoint_with_a_permission_is_in_the_table() -> None:
    narrowed = {(one.method, one.path) for one in ENDPOINTS if one.access.verb or one.access.ability}

    assert narrowed == API_ACCESS.keys()


async def test_a_refused_page_says_who_may(team: Team) -> None:
    desk, lea = team.browsers[Role.STAFF], team.leas_browser

    texts = [get_page_text((await browser.get(f"/admin/{path}")).text)
             for browser, path in ((desk, "reports"), (desk, "user/export/csv"), (lea, "user/list"))]  # fmt: skip

    for page, who in zip(texts, ("This is for the roles Manager and Owner.", "This is for the roles Manager and Owner.",
                                 "This is for the roles Desk, Manager and Owner."), strict=True):  # fmt: skip
        assert f"You do not have permission to do this. {who}" in page


async def test_figures_are_for_managers_and_owners(team: Team) -> None:
    pages = {role: (await browser.get("/admin/")).text for role, browser in team.browsers.items()}

    assert {role for role, page in pages.items() if "Revenue" in page} == MANAGERS
    assert {role for role, page in pages.items() if 'href="/admin/reports"' in page or '/admin/reports"' in page} == (
        MANAGERS
    )


# Only an owner gives roles, and one remains.


@pytest.mark.parametrize("role", [Role.OWN_CALENDAR, Role.STAFF, Role.MANAGER])
async def test_only_an_owner_gives_roles(team: Team, tom: Person, role: Role) -> None:
    browser, database = team.browsers[role], team.database
    fields = {"name": "New", "email": "new@example.com", "password": "a long password", "role": "staff"}
    tries = [
        await post_form(browser, "/admin/user/create", fields),
        await post_form(browser, "/admin/user/create", {**fields, "role": "user", "resource": "1"}),
    ]
    for person in (tom, team.people[role], team.people[Role.ADMIN]):
        same = {"name": person.user.name, "email": person.user.email, "version": "1", "role": person.user.role}
        tries += [
            await post_form(browser, f"/admin/user/edit/{person.id}", same | changed)
            for changed in ({"role": "admin"}, {"resource": "2"})
        ]

    assert [answer.status for answer in tries] == [403] * len(tries)
    (rows,) = await database.fetch(text("SELECT count(*) AS count FROM users WHERE version > 1 OR name = 'New'"))
    assert rows["count"] == 0


async def test_a_manager_looks_after_customers_and_not_after_colleagues(team: Team, tom: Person) -> None:
    browser = team.browsers[Role.MANAGER]
    tom_now = {"name": "Thomas", "email": tom.user.email, "version": "1", "role": "user", "password": "a new password"}
    assert (await post_form(browser, f"/admin/user/edit/{tom.id}", tom_now)).status == 302  # not active any more
    row = await team.database.get(User, tom.id)
    assert row
    assert (row.name, row.is_active) == ("Thomas", False)

    for role in (Role.OWN_CALENDAR, Role.STAFF, Role.ADMIN):
        person = team.people[role]
        fields = {"name": "Mine", "email": person.user.email, "version": "1", "role": str(role), "is_active": "y"}
        assert (await post_form(browser, f"/admin/user/edit/{person.id}", fields)).status == 403
        await browser.delete("/admin/user/delete", params={"pks": str(person.id)})
        assert await team.database.get(User, person.id)


async def test_an_owner_ties_a_person_to_a_resource(team: Team) -> None:
    browser, mara = team.browsers[Role.ADMIN], team.people[Role.STAFF]
    fields = ParsedPage((await browser.get(f"/admin/user/edit/{mara.id}")).text).fields

    without = await post_form(browser, f"/admin/user/edit/{mara.id}", fields | {"role": "own_calendar"})
    tied = await post_form(browser, f"/admin/user/edit/{mara.id}", fields | {"role": "own_calendar", "resource": "2"})

    assert (without.status, "Choose the resource whose calendar this person sees." in without.text) == (422, True)
    assert tied.status == 302
    row = await team.database.get(User, mara.id)
    assert row
    assert (row.role, row.resource_id) == (Role.OWN_CALENDAR, 2)


LAST_OWNER = "This is the only active owner. Make someone else an owner first."


@pytest.mark.parametrize("changed", [{"role": "manager"}, {"is_active": None}])
async def test_the_last_owner_stays_one(desk: AdminDesk, ada: Person, changed: dict[str, Any]) -> None:
    path = f"/admin/user/edit/{ada.id}"
    fields = ParsedPage((await desk.ada.get(path)).text).fields | changed

    answer = await post_form(desk.ada, path, {name: value for name, value in fields.items() if value is not None})

    assert (answer.status, LAST_OWNER in answer.text) == (409, True)
    row = await desk.database.get(User, ada.id)
    assert row
    assert (row.role, row.is_active) == (Role.ADMIN, True)


async def test_one_of_two_owners_may_go(
    desk: AdminDesk, ada: Person, database: Database, client_of: MakeClient
) -> None:
    await join_as(database, client_of, Role.ADMIN, "Olga")
    path = f"/admin/user/edit/{ada.id}"

    answer = await post_form(desk.ada, path, ParsedPage((await desk.ada.get(path)).text).fields | {"role": "staff"})

    assert answer.status == 302


@pytest.mark.race
@pytest.mark.parametrize("change", ["role = 'manager'", "is_active = false"])
def test_two_owners_who_demote_each_other_leave_one(empty: str, change: str) -> None:
    with psycopg.connect(empty, autocommit=True) as console:
        console.execute(
            "INSERT INTO users (name, email, password_hash, role)"
            " SELECT 'Owner', n || '@example.com', 'x', 'admin' FROM generate_series(1, 2) n"
        )
        for _ in range(10):
            console.execute("UPDATE users SET role = 'admin', is_active = true")
            with ExitStack() as stack:
                two = [stack.enter_context(psycopg.connect(empty, autocommit=True)) for _ in range(2)]
                statements = [f"UPDATE users SET {change} WHERE email = '{n}@example.com'" for n in (1, 2)]
                outcomes = run_at_once(
                    [partial(outcome_of, one, statement) for one, statement in zip(two, statements, strict=True)]
                )
            (owners,) = console.execute("SELECT count(*) FROM users WHERE role = 'admin' AND is_active").fetchall()
            assert (sorted(outcomes), owners) == (["23514", "done"], (1,))


@pytest.mark.race
def test_a_transaction_that_cannot_see_the_other_changes_no_owner(empty: str) -> None:
    with psycopg.connect(empty, autocommit=True) as console:
        console.execute(
            "INSERT INTO users (name, email, password_hash, role)"
            " SELECT 'Owner', n || '@example.com', 'x', 'admin' FROM generate_series(1, 2) n"
        )
        console.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert outcome_of(console, "UPDATE users SET role = 'user' WHERE email = '1@example.com'") == "0A000"


# Exports are in history.


async def fetch_exports(database: Database) -> list[dict[str, Any]]:
    return await database.fetch(
        text("SELECT actor_id, table_name, row_id, new FROM events WHERE action = 'exported' ORDER BY id")
    )


async def test_exports_are_in_history_without_the_data(team: Team, tom: Person) -> None:
    browser, nadia = team.browsers[Role.MANAGER], team.people[Role.MANAGER]
    for path in ("booking/export/csv?status=pending&resource_id=1&start_time=2030-01-01..&search=tom",
                 "user/export/xlsx?role=user&is_active=yes&resource_id=5", "reports?as=csv&report=no-shows",
                 f"user/{tom.id}/data"):  # fmt: skip
        assert (await browser.get(f"/admin/{path}")).status_code == 200

    exports = await fetch_exports(team.database)

    assert {row["actor_id"] for row in exports} == {nadia.id}
    assert [(row["table_name"], row["row_id"], row["new"]) for row in exports] == [
        ("bookings", 0, {"rows": 1, "file": "CSV with commas",
                         "filter": "Day: 2030-01-01..; Status: Pending; Resource: Lea; a search"}),
        ("users", 0, {"rows": 1, "file": "Excel (XLSX)", "filter": "Role: Customer; Active: Yes"}),
        ("reports", 0, {"rows": exports[2]["new"]["rows"], "file": "CSV with commas",
                        "filter": "No-shows: 2029-12-09 to 2030-01-07, by week"}),
        ("users", tom.id, {"rows": 1, "file": "Personal data (JSON)", "filter": "one person"}),
    ]  # fmt: skip
    page = get_page_text((await team.browsers[Role.ADMIN].get("/admin/event/list")).text)
    assert "Nadia (manager) at the desk exported Bookings file: CSV with commas" in page
    assert "Reports" in page


async def test_a_refused_export_is_not_in_history(team: Team) -> None:
    answer = await team.browsers[Role.STAFF].get("/admin/booking/export/csv")

    assert answer.status_code == 403
    assert await fetch_exports(team.database) == []
