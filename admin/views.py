"""One short class a table: its columns, their order, what is searched and filtered. No rules."""

from typing import Any

from markupsafe import Markup
from sqlalchemy import Select, select
from starlette.requests import Request
from wtforms import PasswordField

from admin.acts import StatusActs
from admin.filters import ChoiceFilter, DayFilter, YesNoFilter
from admin.forms import put_on_field
from admin.paging import among, begins, says
from admin.record_view import RecordView, number
from bookit import people, policy
from bookit import refusals as no
from bookit.tables import (
    Booking,
    CalendarException,
    Event,
    OpeningHours,
    Resource,
    Review,
    Role,
    Service,
    Status,
    User,
    home,
)

COLOURS = {
    Status.PENDING: "yellow",
    Status.CONFIRMED: "blue",
    Status.COMPLETED: "green",
    Status.CANCELLED: "red",
    Status.NO_SHOW: "orange",
}
LONG_ENOUGH = "8 characters or more. When you edit: empty leaves it as it is. A new one ends every sign-in."
MOST_PEOPLE = 5_000  # whose bookings are found before they are sorted
MOST_OF_MANY = 300  # bookings counted where more people are meant
BY_PERSON = {"fields": ("name", "email"), "order_by": "name", "where": begins(User.name, User.email)}
BY_TITLE = {"fields": ("title",), "order_by": "title"}
BY_NAME = {"fields": ("name",), "order_by": "name"}


def badge(row: Any, column: str) -> Markup:
    """Show a status in its colour, and in words for whoever sees no colour."""
    status = getattr(row, column)
    shown = policy.spoken_status(status).capitalize()
    return Markup('<span class="badge bg-{}-lt">{}</span>').format(COLOURS[Status(status)], shown)


class BookingView(StatusActs, RecordView, model=Booking):
    """The desk's bookings."""

    category, icon, name, name_plural = "Desk", "fa-solid fa-calendar-check", "Booking", "Bookings"
    column_list = ["id", "start_time", "user", "service", "resource", "status", "price"]
    column_details_list = [*column_list, "end_time", "expires_at", "created_at"]
    column_formatters = {"status": badge}
    column_formatters_detail = {"status": badge}
    column_sortable_list = ["start_time"]  # By number, an index serves no filter.
    column_default_sort = ("start_time", True)
    column_searchable_list = ["id"]
    column_filters = [ChoiceFilter(Booking.status, "Status", Status), DayFilter(Booking.start_time, "Day")]
    column_export_list = [
        "id",
        "user_id",
        "service_id",
        "resource_id",
        "start_time",
        "end_time",
        "status",
        "price",
    ]
    form_columns = ["user", "service", "resource", "start_time", "version"]
    form_edit_rules = ["resource", "start_time", "version"]
    form_ajax_refs = {"user": BY_PERSON, "service": BY_TITLE, "resource": BY_NAME}
    optional = ("resource",)

    def search_placeholder(self) -> str:
        """Say what can be searched."""
        return "number, customer or e-mail"

    async def search(self, statement: Select[Any], term: str) -> tuple[Select[Any], int]:
        """Find by number, or by who comes: these first, and then their bookings.

        Where the words are those of too many people, each booking along the order is asked whether it is of one.
        """
        bookings, people = home(Booking).c, home(User).c
        asked = number(term.removeprefix("#"))
        if asked > 0:
            return statement.where(bookings.id == asked), 1
        is_meant = says(term, people.name, people.email)
        found = await self._run_query(select(people.id).where(is_meant).limit(MOST_PEOPLE + 1))
        if len(found) <= MOST_PEOPLE:
            return statement.where(among(bookings.user_id, found)), MOST_PEOPLE * 10
        is_theirs = select(is_meant).where(people.id == bookings.user_id).correlate(home(Booking)).scalar_subquery()
        return statement.where(is_theirs), MOST_OF_MANY


class ReviewView(RecordView, model=Review):
    """What customers say."""

    category, icon, name, name_plural = "Desk", "fa-solid fa-star", "Review", "Reviews"
    can_create = False
    column_list = ["id", "rating", "comment", "booking", "created_at"]
    column_details_list = column_list
    column_sortable_list = ["id"]
    column_default_sort = ("id", True)
    column_searchable_list = ["comment"]
    can_edit = False
    form_columns = []


class ServiceView(RecordView, model=Service):
    """What can be booked."""

    category, icon, name, name_plural = "Catalogue", "fa-solid fa-scissors", "Service", "Services"
    column_list = ["id", "title", "price", "duration_minutes", "is_active"]
    column_details_list = [
        *column_list, "description", "setup_minutes", "cleanup_minutes", "slot_step_minutes", "min_notice_minutes",
        "horizon_days", "cancel_notice_minutes", "created_at",
    ]  # fmt: skip
    column_sortable_list = ["id", "title", "price", "duration_minutes"]
    column_searchable_list = ["title", "description"]
    column_filters = [YesNoFilter(Service.is_active, "Active")]
    form_columns = [
        "title", "description", "price", "duration_minutes", "setup_minutes", "cleanup_minutes", "slot_step_minutes",
        "min_notice_minutes", "horizon_days", "cancel_notice_minutes", "is_active", "version",
    ]  # fmt: skip


class ResourceView(RecordView, model=Resource):
    """What can be busy."""

    category, icon, name, name_plural = "Catalogue", "fa-solid fa-chair", "Resource", "Resources"
    column_list = ["id", "name", "capacity", "timezone", "is_active"]
    column_details_list = [*column_list, "created_at"]
    column_sortable_list = ["id", "name", "capacity"]
    column_searchable_list = ["name"]
    column_filters = [YesNoFilter(Resource.is_active, "Active")]
    form_columns = ["name", "capacity", "timezone", "is_active", "version"]


class OpeningHoursView(RecordView, model=OpeningHours):
    """When resources work."""

    category, icon, name, name_plural = "Catalogue", "fa-solid fa-clock", "Opening hours", "Opening hours"
    column_list = ["id", "resource", "weekday", "opens", "closes", "valid_from", "valid_until"]
    column_details_list = column_list
    column_sortable_list = ["id", "weekday"]
    form_columns = ["resource", "weekday", "opens", "closes", "valid_from", "valid_until", "version"]
    form_ajax_refs = {"resource": BY_NAME}


class ExceptionView(RecordView, model=CalendarException):
    """Holidays, leaves and extra openings."""

    category, icon, name, name_plural = "Catalogue", "fa-solid fa-umbrella-beach", "Exception", "Exceptions"
    column_list = ["id", "resource", "start_time", "end_time", "is_open", "reason"]
    column_details_list = column_list
    column_sortable_list = ["id", "start_time"]
    column_default_sort = ("start_time", True)
    column_searchable_list = ["reason"]
    column_filters = [DayFilter(CalendarException.start_time, "Day")]
    form_columns = ["resource", "start_time", "end_time", "is_open", "reason", "version"]
    form_ajax_refs = {"resource": BY_NAME}
    optional = ("resource",)


class UserView(RecordView, model=User):
    """Customers, and who works here."""

    category, icon, name, name_plural = "People", "fa-solid fa-user", "Person", "People"
    column_list = ["id", "name", "email", "role", "is_active", "created_at"]
    column_details_list = column_list
    column_sortable_list = ["id"]
    column_default_sort = ("id", True)
    column_searchable_list = ["name", "email"]
    column_filters = [ChoiceFilter(User.role, "Role", Role), YesNoFilter(User.is_active, "Active")]
    column_export_list = ["id", "name", "email", "role", "is_active", "created_at"]
    form_columns = ["name", "email", "role", "is_active", "version"]
    form_create_rules = ["name", "email", "role"]

    async def scaffold_form(self, rules: list[str] | None = None) -> Any:
        """Ask for a password too, which is no column and is never shown again."""
        form: Any = await super().scaffold_form(rules)
        return type("PersonForm", (form,), {"password": PasswordField("Password", description=LONG_ENOUGH)})

    async def insert_model(self, request: Request, data: dict[str, Any]) -> Any:
        """Give somebody an account."""
        return await super().insert_model(request, await self.with_password(data, is_needed=True))

    async def update_model(self, request: Request, pk: str, data: dict[str, Any]) -> Any:
        """Change an account, and its password only if one was typed."""
        return await super().update_model(request, pk, await self.with_password(data, is_needed=False))

    async def with_password(self, data: dict[str, Any], *, is_needed: bool) -> dict[str, Any]:
        """Put the hash of what was typed in its place."""
        typed = str(data.pop("password", "") or "")
        if not (typed or is_needed):
            return data
        try:
            return data | {"password_hash": await people.hash_password(typed)}
        except no.Refusal as refusal:
            put_on_field(refusal.field, str(refusal))
            raise

    def facts(self, data: dict[str, Any]) -> dict[str, Any]:
        """Give what the form says, and the password's hash, which is no field of it."""
        kept = {name: value for name, value in data.items() if name == "password_hash"}
        return super().facts(data) | kept


class EventView(RecordView, model=Event):
    """What happened, to whom it may concern."""

    category, icon, name, name_plural = "History", "fa-solid fa-clock-rotate-left", "Event", "History"
    can_create = can_edit = can_delete = False
    column_list = ["id", "at", "actor", "door", "table_name", "row_id", "action", "reason"]
    column_details_list = [*column_list, "old", "new", "request_id"]
    column_sortable_list = ["id"]
    column_default_sort = ("id", True)
    form_columns = []


VIEWS = [BookingView, ReviewView, ServiceView, ResourceView, OpeningHoursView, ExceptionView, UserView, EventView]
