"""The private API of SQLAdmin that BookIt uses, each part with a test that fails when it changes.

The lists are complete: the names are read from the source of ``admin/``, and a new one without a test fails.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqladmin
from sqladmin import Admin, Flash, ModelView, action
from sqladmin._menu import ItemMenu
from sqladmin.fields import TimezoneAwareDateTimeField
from sqladmin.flash import get_flashed_messages
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import joinedload
from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from wtforms import Form

import admin
from admin import record_view, site, views
from admin.bookings import actions, form
from admin.calendar.page import CalendarPage
from admin.framework import filters, form_values, forms, list_pages, lookups, menu, permissions, sign_in
from admin.framework.form_values import FormValues
from admin.history import edit_conflicts, event_list, formatter
from admin.pages import closures, password
from bookit.schema.tables import Booking, Resource, table_of
from tests.support.admin_client import AdminDesk

OURS, THEIRS = (Path(str(package.__file__)).parent for package in (admin, sqladmin))
TESTED: dict[str, str] = {}
NOT_THEIRS = {"_id", "_ids"}  # suffixes of our own names
Test = Callable[..., Any]


def covers(*names: str) -> Callable[[Test], Test]:
    """Mark which of SQLAdmin's private names a test covers."""

    def note(test: Test) -> Test:
        TESTED.update(dict.fromkeys(names, test.__name__))
        return test

    return note


class Plain(ModelView, model=Booking):
    """A page as SQLAdmin creates it."""

    column_list = ("id", "start_time", "status", "user")
    column_details_list = ("id", "user", "service")
    column_searchable_list = ("status",)
    column_sortable_list = ("start_time",)
    column_default_sort = ("start_time", True)
    column_export_list = ("id", "price")  # type: ignore[assignment]  # a list to SQLAdmin, which goes through it
    column_labels = {"start_time": "Begins"}  # noqa: RUF012 -- as SQLAdmin's documentation writes it
    form_columns = ("status", "price")
    form_create_rules = ("status",)  # type: ignore[assignment]  # as above

    @action(name="Wave-Hand", confirmation_message="Sure?")
    async def wave(self, request: Request) -> Response:
        """Do nothing."""
        del request
        return PlainTextResponse("")


@pytest.fixture
def plain(desk: AdminDesk) -> Plain:
    """Return a page of plain SQLAdmin on this test's rows."""
    Admin(Starlette(), desk.site.engine).add_view(Plain)
    return Plain()


def make_request(**path: str) -> Request:
    return Request({"type": "http", "query_string": b"", "path_params": path, "headers": [], "session": {}})


def private_names(path: Path) -> Iterator[str]:
    """Yield every private name that a file accesses, defines or contains as a string."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Attribute(attr=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.Constant(value=str(name)):
                yield name


def test_every_private_name_that_we_use_has_a_test() -> None:
    used = {name for path in OURS.rglob("*.py") for name in private_names(path)}
    used |= {name for path in OURS.rglob("*.html") for name in re.findall(r"\.(_\w+)", path.read_text("utf-8"))}

    assert {name for name in used if re.fullmatch(r"_[a-z][a-z_]*", name)} - NOT_THEIRS == TESTED.keys()


@covers("_handle_action_decorated_func", "_action", "_slug")
def test_each_action_becomes_a_route_under_this_name() -> None:
    seen = []

    class Noting(Admin):
        def _handle_action_decorated_func(self, func: Any, view: Any, view_instance: Any) -> None:
            if hasattr(func, "_action"):
                seen.append((vars(func.__func__)["_slug"], view, view_instance.identity))
            super()._handle_action_decorated_func(func, view, view_instance)

    door = Noting(Starlette(), create_async_engine("postgresql+psycopg://"))
    door.add_view(Plain)

    assert seen == [("wave-hand", Plain, "booking")]
    route = next(
        route for route in door.admin.router.routes if getattr(route, "name", "") == "action-booking-wave-hand"
    )
    assert route.methods == {"GET", "HEAD"}  # type: ignore[attr-defined]  # a Route, which only_post replaces


@covers("_stmt_by_identifier")
async def test_single_rows_are_loaded_by_this_statement(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(plain._stmt_by_identifier("1"), Select)

    def refuse(identifier: str) -> Any:
        raise HTTPException(404, identifier)

    monkeypatch.setattr(plain, "_stmt_by_identifier", refuse)
    for look_up in (plain.get_object_for_details, plain.get_object_for_edit):
        with pytest.raises(HTTPException, match="abc"):
            await look_up(make_request(pk="abc"))
    for find in (plain.get_object_for_delete, lambda number: plain.get_object_filepath(number, "status")):
        with pytest.raises(HTTPException, match="abc"):
            await find("abc")


@covers("_menu")
async def test_the_menu_shows_our_own_entries(desk: AdminDesk) -> None:
    first, second, *_ = desk.site._menu.items

    assert (first.display_name, second.display_name, first.children) == ("Today", "Reports", [])
    assert isinstance(first, ItemMenu)
    page = (await desk.ada.get("/admin/password")).text
    assert re.findall(r'class="nav-link-title">([^<]+)', page)[:5] == [
        "Today", "Reports", "Day closing", "Calendar", "Bookings",
    ]  # fmt: skip


@covers("_mapper", "_column_labels", "_export_prop_names", "_form_create_rules")
async def test_a_view_stores_its_settings_under_these_names(plain: Plain) -> None:
    assert plain._mapper.relationships["user"].mapper.class_.__name__ == "User"
    assert plain._column_labels == {"start_time": "Begins"}
    assert plain._export_prop_names == ["id", "price"]
    assert plain._form_prop_names == ["status", "price"]
    assert tuple(plain._form_create_rules) == ("status",)


@covers("_search_fields", "_sort_fields", "_get_default_sort", "_get_prop_name")
async def test_a_view_stores_search_and_sort_columns_by_name(plain: Plain) -> None:
    assert plain._search_fields == ["status"]
    assert plain._sort_fields == ["start_time"]
    assert [(plain._get_prop_name(by), is_down) for by, is_down in plain._get_default_sort()] == [("start_time", True)]
    assert plain._get_prop_name("id") == "id"


@covers("_list_relations", "_details_relations")
async def test_a_view_stores_the_relations_of_its_pages(
    plain: Plain, visit: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [relation.key for relation in plain._list_relations] == ["user"]
    assert [relation.key for relation in plain._details_relations] == ["user", "service"]
    joined = select(Booking).options(joinedload(*plain._details_relations[:1]))
    monkeypatch.setattr(plain, "details_query", lambda _: joined)

    assert (await plain.get_object_for_details(make_request(pk="1"))).user.name == "Tom"


@covers("_form_ajax_refs")
async def test_look_ups_are_stored_by_relation(
    desk: AdminDesk, visit: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    view: Any = desk.site._find_model_view("booking")
    seen = []

    class Noting:
        fields = ("name",)

        async def get_list(self, *args: Any) -> list[Any]:
            seen.append(args[-1])
            return []

    monkeypatch.setitem(view._form_ajax_refs, "user", Noting())
    answer = await desk.mara.get("/admin/booking/ajax/lookup", params={"name": "user", "term": "tom"})

    assert (answer.json(), seen) == ({"results": []}, ["tom"])


@covers("_admin_ref")
async def test_view_and_site_reference_each_other(desk: AdminDesk) -> None:
    for view in desk.site.views:
        assert view._admin_ref is desk.site
    assert [view for view in map(type, desk.site.views) if view is not CalendarPage] == views.VIEWS


@covers("_build_url_for", "_url_for_delete", "_identity_for_object")
async def test_pages_build_row_urls_with_these_methods(desk: AdminDesk, visit: Booking) -> None:
    """A list calls this for each row, and for each row that it references."""
    theirs, ours = Plain(), desk.site._find_model_view("booking")
    request = make_request()
    request.scope.update(router=desk.app.router, server=("bookit.test", 80), scheme="http", root_path="")

    for row in (visit, visit):
        for name in ("admin:details", "admin:edit"):
            assert str(ours._build_url_for(name, request, row)) == str(theirs._build_url_for(name, request, row))
        assert ours._url_for_delete(request, row) == theirs._url_for_delete(request, row)
    assert theirs._identity_for_object(visit) == ours._identity_for_object(visit) == "booking"
    pages = [(THEIRS / "templates/sqladmin" / name).read_text("utf-8") for name in ("list.html", "details.html")]
    for page in pages:
        assert "model_view._build_url_for('admin:edit', request, " in page
        assert "model_view._url_for_delete(request, " in page


@covers("_find_model_view")
async def test_a_site_looks_up_a_view_by_identity(desk: AdminDesk) -> None:
    assert desk.site._find_model_view("opening-hours").identity == "opening-hours"
    with pytest.raises(HTTPException):
        desk.site._find_model_view("nope")


@covers("_delete")
async def test_the_right_to_delete_is_checked_for_each_row_first(
    desk: AdminDesk, visit: Booking, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    async def never(request: Request, model: Any) -> bool:
        del request
        seen.append(model.id)
        return False

    monkeypatch.setattr(desk.site._find_model_view("booking"), "check_can_delete", never)
    answer = await desk.ada.delete("/admin/booking/delete", params={"pks": "1"})

    assert (answer.status_code, seen) == (403, [1])
    assert await desk.fetch_row("bookings", 1) is not None


@covers("_localize")
def test_times_are_localized_here_and_errors_belong_to_the_field() -> None:
    class Skipped(TimezoneAwareDateTimeField):
        def _localize(self, value: Any) -> Any:
            raise ValueError(f"The clocks skip {value:%H:%M}.")

    class Times(Form):  # type: ignore[misc]  # WTForms has no types
        at = Skipped(format=forms.TIME_FORMATS)

    form = Times(FormData(at="2030-03-31T02:30"))

    assert not form.validate()
    assert form.at.errors == ["The clocks skip 02:30."]


@covers("_messages")
def test_messages_are_stored_in_the_session_under_this_name() -> None:
    request = make_request()

    Flash.error(request, "No.")
    waiting = list(request.session["_messages"])

    assert [(message["category"], message["message"]) for message in waiting] == [("danger", "No.")]
    assert get_flashed_messages(request) == waiting
    assert request.session == {}


async def test_a_view_receives_values_with_their_form(desk: AdminDesk) -> None:
    """SQLAdmin copies ``form.data`` for its own renames, and passes that to the view."""
    form = (await desk.site._find_model_view("resource").scaffold_form())(FormData(name="Chair", capacity="2"))

    values = desk.site._denormalize_wtform_data(form.data, Resource)

    assert isinstance(values, FormValues)
    assert values.form is form
    assert {name: values[name] for name in ("name", "capacity")} == {"name": "Chair", "capacity": 2}


async def test_a_list_counts_its_own_statement_wrapped_once(plain: Plain, visit: Booking) -> None:
    seen: list[Any] = []

    async def count(request: Request, stmt: Any = None) -> int:
        del request
        seen.append(stmt)
        return 0

    plain.count = count  # type: ignore[method-assign]  # one that notes
    await plain.list(make_request())

    (statement,) = seen
    rows = statement.get_final_froms()[0].element
    assert isinstance(rows, Select)
    assert rows.get_final_froms() == [table_of(Booking)]


async def test_a_filter_receives_statement_value_and_model(plain: Plain, visit: Booking) -> None:
    class Narrow:
        parameter_name, has_operator = "status", False
        seen: list[Any] = []  # noqa: RUF012 -- one for this test

        async def get_filtered_query(self, *args: Any) -> Any:
            self.seen.append(args)
            return args[0].where(table_of(Booking).c.id < 0)

    plain.get_filters = lambda: [Narrow()]  # type: ignore[list-item,method-assign]  # as much as list() asks
    request = make_request()
    request.scope["query_string"] = b"status=pending"

    page = await plain.list(request)

    assert page.rows == []
    ((statement, *others),) = Narrow.seen
    assert (isinstance(statement, Select), others) == (True, ["pending", Booking])


@pytest.mark.parametrize("page", ["create", "edit/1"])
async def test_a_form_is_created_with_the_rules_of_its_page(
    desk: AdminDesk, visit: Booking, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    view: Any = desk.site._find_model_view("resource")
    seen, real = [], view.scaffold_form

    async def scaffold_form(rules: Any = None) -> Any:
        seen.append(rules)
        return await real(rules)

    monkeypatch.setattr(view, "scaffold_form", scaffold_form)
    assert (await desk.ada.get(f"/admin/resource/{page}")).status_code == 200

    assert seen == [view._form_create_rules if page == "create" else view._form_edit_rules]
    assert view._form_create_rules != view._form_edit_rules


def overriding_methods() -> list[tuple[type, type, str]]:
    """Yield every method of ours that overrides one of SQLAdmin's."""
    modules = (
        actions, closures, edit_conflicts, event_list, filters, form, form_values, forms, formatter, lookups,
        list_pages, menu, password, permissions, record_view, sign_in, site, views,
    )  # fmt: skip
    classes = [member for module in modules for member in vars(module).values()]
    return sorted(
        {
            (ours, theirs, name)
            for ours in classes
            if inspect.isclass(ours) and ours.__module__.startswith("admin.")
            for theirs in ours.__mro__
            if theirs.__module__.startswith("sqladmin.")
            for name, method in vars(ours).items()
            if inspect.isfunction(method) and name != "__init__" and inspect.isfunction(vars(theirs).get(name))
        },
        key=str,
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "name"), overriding_methods(), ids=lambda part: getattr(part, "__name__", part)
)
def test_overriding_methods_keep_sqladmins_signature(ours: type, theirs: type, name: str) -> None:
    took, takes = (list(inspect.signature(getattr(owner, name)).parameters) for owner in (theirs, ours))

    assert takes == took
    assert inspect.iscoroutinefunction(getattr(ours, name)) == inspect.iscoroutinefunction(getattr(theirs, name))


def test_routes_have_the_names_that_we_disable_or_restrict() -> None:
    door = Admin(Starlette(), create_async_engine("postgresql+psycopg://"))

    names = {getattr(route, "name", None) for route in door.admin.router.routes}

    assert names == site.DISABLED_ROUTES | {
        "statics", "index", "list", "details", "delete", "create", "edit", "export", "ajax_lookup", "login", "logout",
    }  # fmt: skip
    assert HTTPException in door.admin.exception_handlers
