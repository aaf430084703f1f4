"""The view of each table, a short class each: columns, their order, what is searched and filtered. No rules."""

from sqladmin import Flash
from sqlalchemy import select
from starlette.requests import Request
from wtforms import Form, PasswordField

from admin.bookings.actions import BookingActions, describe_new_booking, warn_of_past
from admin.bookings.form import SuggestsSlots
from admin.bookings.payments import ShowsAmounts, ShowsMoney
from admin.bookings.resources import ShowsResources, format_resources
from admin.framework import list_pages
from admin.framework.context import context_of
from admin.framework.export_columns import ExportSelection
from admin.framework.filters import ChoiceFilter, DayFilter, RowFilter, TakenResourceFilter, YesNoFilter, takes
from admin.framework.form_values import FormValues, form_values, show_refusal
from admin.framework.formatting import (
    WEEKDAYS,
    format_enum,
    format_language,
    format_minor_units,
    format_phone_of,
    format_status,
    format_weekday,
)
from admin.framework.list_pages import Sorting, any_of, array_of, matches
from admin.framework.lookups import RESOURCE_LOOKUP, SERVICE_LOOKUP, USER_LOOKUP
from admin.framework.page_state import page_state, signed_in_user
from admin.framework.parsing import parse_id
from admin.framework.types import Statement, Values
from admin.history.event_list import DETAIL_FORMATTERS, LIST_FORMATTERS, EventListView
from admin.pages.business import EditsBusiness
from admin.pages.closures import ListsAffectedBookings, ShowsClosureTimes
from admin.pages.missing_hours import WarnsOfMissingHours, format_name
from admin.pages.notes import build_notes_box
from admin.pages.service_needs import EditsNeeds
from admin.record_view import RecordView
from bookit import refusals as no
from bookit.bookings import ranges
from bookit.bookings.visitors import name_customer
from bookit.db.search import is_phone
from bookit.people import data_export, erasure, passwords, sign_in
from bookit.policy import permissions
from bookit.schema.tables import (
    Booking,
    Business,
    CalendarException,
    Event,
    OpeningHours,
    Payment,
    PaymentMethod,
    Resource,
    Review,
    Role,
    Service,
    SignIn,
    Status,
    User,
    table_of,
)

BOOKINGS, SERVICES, RESOURCES, EXCEPTIONS, USERS, PAYMENTS = (
    table_of(table).c for table in (Booking, Service, Resource, CalendarException, User, Payment)
)
NEW_HELP = "Only for a person who signs in."
CHOOSE_HELP = "Use at least 8 characters, and not the person's name or a common password."
CURRENT_HELP = "Only to change your own password or e-mail address."
KEEP_EMPTY_HELP = "Leave empty to keep the password. A new one signs the person out everywhere."
MAX_MATCHED_PEOPLE = 5_000  # whose bookings are counted, and sorted if they are few


def format_customer(booking: Booking, column: str) -> str:
    """Return the customer of a booking, and who comes."""
    del column
    return name_customer(str(booking.user), booking.visitor_name)


class BookingView(ShowsMoney, ShowsResources, BookingActions, SuggestsSlots, model=Booking):
    """The desk's bookings."""

    category, icon, name, name_plural = "Front desk", "fa-solid fa-calendar-check", "Booking", "Bookings"
    empty_text = "No visits are booked from today on."
    column_list = ["id", "start_time", "user", "service", "resource", "status", "price"]
    column_details_list = [
        *column_list,
        "visitor_name",
        "seats",
        "end_time",
        "expires_at",
        "deleted_by_customer_at",
        "created_at",
    ]
    column_formatters = {"status": format_status, "resource": format_resources, "user": format_customer}
    column_formatters_detail = column_formatters
    column_sortable_list = ["start_time"]  # By number, an index serves no filter.
    column_default_sort = ("start_time", True)
    column_searchable_list = ["id"]
    day_filter = DayFilter(
        BOOKINGS.start_time,
        "Day",
        end_column=BOOKINGS.end_time,
        meets=ranges.meets,
        ends_after=ranges.ends_after,
        hides_past_by_default=True,
    )
    list_filters = [
        day_filter,
        ChoiceFilter(BOOKINGS.status, "Status", Status),
        RowFilter(BOOKINGS.service_id, "Service", Service, "title"),
        TakenResourceFilter(BOOKINGS.resource_id, "Resource", Resource, "name"),
    ]
    column_export_list = [
        "id", "user", "service", "resource", "start_time", "end_time", "status", "price", "other_resource_ids", "seats",
        "visitor_name",
    ]  # fmt: skip
    form_columns = ["user", "visitor_name", "service", "resource", "start_time", "end_time", "version"]
    form_create_rules = ["user", "visitor_name", "service", "resource", "start_time"]
    form_edit_rules = ["resource", "start_time", "end_time", "visitor_name", "version"]
    form_ajax_refs = {"user": USER_LOOKUP, "service": SERVICE_LOOKUP, "resource": RESOURCE_LOOKUP}
    optional_relations = {"resource": "Leave empty for any free resource."}

    def list_query(self, request: Request) -> Statement:
        """Return the bookings that the user sees, from today on unless the URL asks for other days or searches."""
        statement = self.within_scope(request, super().list_query(request))
        if not self.day_filter.hides_past(request):
            return statement
        return self.day_filter.apply(statement, self.day_filter.value(request), self.context)

    def details_query(self, request: Request) -> Statement:
        """Read a booking that the user sees."""
        return self.within_scope(request, super().details_query(request))

    def within_scope(self, request: Request, statement: Statement) -> Statement:
        """Return the statement without bookings that the user does not see: those that do not take their resource."""
        own = permissions.own_resource(page_state(request).actor)
        return statement if own is None else statement.where(takes(own))

    def get_sorting(self, request: Request) -> Sorting:
        """Return the order: of some days the earliest first, of all days the latest first."""
        if self.day_filter.value(request) and not request.query_params.get("sortBy"):
            return [("start_time", False), ("id", False)]
        return super().get_sorting(request)

    async def details_context(self, request: Request) -> dict[str, object]:
        """Add the notes on the booking, and the pinned ones on its customer."""
        values, row_id = await super().details_context(request), int(request.path_params["pk"])
        return {**values, "notes_box": await build_notes_box(request, booking_id=row_id)}

    async def insert_model(self, request: Request, data: Values) -> Booking:
        """Book and say with whom. Warn if that lies in the past: staff may do so, but rarely mean it."""
        booking: Booking = await super().insert_model(request, data)
        if not page_state(request).is_repeat:
            Flash.success(request, await describe_new_booking(self.context, booking))
        return warn_of_past(request, booking, now=self.context.now())

    async def update_model(self, request: Request, pk: str, data: Values) -> Booking:
        """Change a booking, and warn if it was moved into the past."""
        start_time = (await self.get_object_for_edit(request)).start_time
        booking: Booking = await super().update_model(request, pk, data)
        is_moved = booking.start_time != start_time
        return warn_of_past(request, booking, now=self.context.now()) if is_moved else booking

    def search_placeholder(self) -> str:
        """Return what can be searched."""
        return "number, customer, phone or e-mail"

    async def apply_search(self, request: Request, statement: Statement, term: str) -> tuple[Statement, int]:
        """Find bookings by id, or by customer: first the people that match, then their bookings.

        Six digits or more, and digits after a 0, are a part of a phone number. With a # they are an id.

        Where these are more than are counted, the page is read along the order, which soon finds as many. Where too
        many people match, each booking along the order is checked for one of them. Users who may not see people find
        bookings by id alone.
        """
        booking_id = parse_id(term.removeprefix("#"))
        may_see_people = permissions.has_permission(page_state(request).actor, "see", User)
        if not may_see_people or (booking_id > 0 and not is_phone(term)):
            return statement.where(BOOKINGS.id == booking_id), 1
        is_match = matches(term, USERS.name, USERS.email, USERS.phone)
        matched = select(USERS.id).where(is_match).limit(MAX_MATCHED_PEOPLE + 1)
        (people,) = await self.context.fetch_scalars(select(array_of(matched)))
        if len(people) <= MAX_MATCHED_PEOPLE:
            return statement.where(any_of(BOOKINGS.user_id, people)), list_pages.MAX_SEARCH_HITS
        of_match = select(is_match).where(USERS.id == BOOKINGS.user_id).correlate(table_of(Booking)).scalar_subquery()
        return statement.where(of_match), list_pages.MAX_SCANNED


class ReviewView(RecordView, model=Review):
    """What customers say."""

    category, icon, name, name_plural = "Front desk", "fa-solid fa-star", "Review", "Reviews"
    can_create = False
    empty_text = "No reviews yet. Customers can write one when their visit is completed."
    column_list = ["id", "rating", "comment", "booking", "created_at"]
    column_details_list = column_list
    column_sortable_list = ["id"]
    column_default_sort = ("id", True)
    column_searchable_list = ["comment"]
    can_edit = False
    form_columns = []


class PaymentView(ShowsAmounts, model=Payment):
    """What was taken at the desk. The page of a booking takes money and gives it back."""

    category, icon, name, name_plural = "Front desk", "fa-solid fa-coins", "Payment", "Payments"
    can_create = can_edit = can_delete = False
    column_list = ["id", "settled_at", "booking", "amount", "method", "refunded", "recorded_by"]
    column_details_list = [*column_list, "currency", "created_at"]
    column_formatters = column_formatters_detail = {
        "amount": format_minor_units,
        "refunded": format_minor_units,
        "method": format_enum,
    }
    column_sortable_list = ["id", "settled_at"]
    column_default_sort = ("settled_at", True)
    list_filters = [DayFilter(PAYMENTS.settled_at, "Day"), ChoiceFilter(PAYMENTS.method, "Method", PaymentMethod)]
    column_export_list = ["id", "settled_at", "booking", "amount", "currency", "method", "refunded", "recorded_by"]
    form_columns = []


class ServiceView(EditsNeeds, WarnsOfMissingHours, model=Service):
    """What can be booked."""

    category, icon, name, name_plural = "Set-up", "fa-solid fa-scissors", "Service", "Services"
    empty_text = "No services yet. A service is what customers book, such as a haircut or a lesson."
    column_list = ["id", "title", "price", "duration_minutes", "is_active"]
    column_formatters = {"title": format_name}
    column_details_list = [
        *column_list, "price_is_per_person", "max_party", "role", "resources", "free_from_minutes",
        "free_until_minutes", "description", "setup_minutes", "cleanup_minutes", "slot_step_minutes",
        "min_notice_minutes", "horizon_days", "cancel_notice_minutes", "binds_hours_at_ends", "created_at",
    ]  # fmt: skip
    column_formatters_detail = {"role": format_enum}
    column_sortable_list = ["id", "title", "price", "duration_minutes"]
    column_searchable_list = ["title", "description"]
    list_filters = [YesNoFilter(SERVICES.is_active, "Active")]
    form_columns = [
        "title", "description", "price", "price_is_per_person", "max_party", "duration_minutes", "resources", "role",
        "free_from_minutes", "free_until_minutes", "setup_minutes", "cleanup_minutes", "binds_hours_at_ends",
        "slot_step_minutes", "min_notice_minutes", "horizon_days", "cancel_notice_minutes", "is_active", "version",
    ]  # fmt: skip
    form_ajax_refs = {"resources": RESOURCE_LOOKUP}
    many_relations = {"resources": ("Served by", "Leave empty to create a resource for this service alone.")}


class ResourceView(WarnsOfMissingHours, model=Resource):
    """What can be busy."""

    category, icon, name, name_plural = "Set-up", "fa-solid fa-chair", "Resource", "Resources"
    menu_name = "Team & rooms"
    empty_text = "Nobody can be booked yet. Add the people who work here, and rooms or things that are booked."
    column_list = ["id", "name", "capacity", "timezone", "is_active"]
    column_formatters = {"name": format_name}
    column_details_list = [*column_list, "services", "created_at"]
    many_relations = {"services": ("Serves", "")}
    column_sortable_list = ["id", "name", "capacity"]
    column_searchable_list = ["name"]
    list_filters = [YesNoFilter(RESOURCES.is_active, "Active")]
    form_columns = ["name", "capacity", "timezone", "is_active", "version"]

    async def details_context(self, request: Request) -> dict[str, object]:
        """Add links to the resource's week, and to freeing a day of it."""
        values, row_id = await super().details_context(request), request.path_params["pk"]
        free_url = request.url_for("admin:bulk").include_query_params(of=row_id)
        may_free = permissions.has_permission(page_state(request).actor, "change", Booking)
        week_url = request.url_for("admin:week", pk=row_id)
        return {**values, "week_url": week_url, "clear_day_url": free_url if may_free else None}


class OpeningHoursView(RecordView, model=OpeningHours):
    """When resources work."""

    category, icon, name, name_plural = "Set-up", "fa-solid fa-clock", "Opening hours", "Opening hours"
    empty_text = "No opening hours yet. They say when each of the team and each room can be booked."
    column_list = ["id", "resource", "weekday", "opens", "closes", "valid_from", "valid_until"]
    column_details_list = column_list
    column_formatters = column_formatters_detail = {"weekday": format_weekday}
    column_sortable_list = ["id", "weekday"]
    form_columns = ["resource", "weekday", "opens", "closes", "valid_from", "valid_until", "version"]
    form_ajax_refs = {"resource": RESOURCE_LOOKUP}

    def add_export_column(self, selection: ExportSelection, name: str, request: Request | None) -> None:
        """Add a column to the export: weekdays by name, and beside a resource the zone of its clock."""
        del request
        words = WEEKDAYS if name == "weekday" else None
        selection.add(name, related_fields=("name", "timezone") if name == "resource" else None, words=words)


class ExceptionView(ShowsClosureTimes, ListsAffectedBookings, model=CalendarException):
    """Holidays, leaves and extra openings."""

    category, icon, name, name_plural = "Set-up", "fa-solid fa-umbrella-beach", "Closure", "Closures"
    empty_text = "No closures yet. In a closure, such as a holiday or a leave, nobody can book."
    column_list = ["id", "resource", "start_time", "end_time", "timezone", "is_open", "reason"]
    column_details_list = column_list
    column_sortable_list = ["id", "start_time"]
    column_default_sort = ("start_time", True)
    column_searchable_list = ["reason"]
    list_filters = [DayFilter(EXCEPTIONS.start_time, "Day", end_column=EXCEPTIONS.end_time)]
    form_columns = ["resource", "start_time", "end_time", "is_open", "reason", "version"]
    form_ajax_refs = {"resource": RESOURCE_LOOKUP}

    def derive_columns(self, values: Values) -> Values:
        """Return the zone by whose clock the times were typed: each resource has them by its own."""
        return {"timezone": self.context.zone.key} if values.keys() & {"start_time", "end_time"} else {}


class BusinessView(EditsBusiness, model=Business):
    """The business itself."""

    category, icon, name, name_plural = "Set-up", "fa-solid fa-store", "Business", "Business"
    column_list = ["name", "address", "phone", "timezone", "currency", "locale"]
    column_details_list = column_list
    form_columns = ["name", "address", "phone", "timezone", "currency", "locale", "version"]


class UserView(RecordView, model=User):
    """Customers, and who works here."""

    category, icon, name, name_plural = "People", "fa-solid fa-user", "Person", "People"
    empty_text = "No people yet. Add customers, and those who work here."
    column_list = ["id", "name", "phone", "email", "role", "is_active", "created_at"]
    column_details_list = [
        "id", "name", "phone", "email", "birthday", "language", "role", "resource", "is_active", "created_at",
    ]  # fmt: skip
    column_formatters = column_formatters_detail = {
        "role": format_enum,
        "phone": format_phone_of,
        "language": format_language,
    }
    column_sortable_list = ["id", "name"]
    column_default_sort = ("id", True)
    column_searchable_list = ["name", "email", "phone"]
    list_filters = [ChoiceFilter(USERS.role, "Role", Role), YesNoFilter(USERS.is_active, "Active")]
    column_export_list = ["id", "name", "email", "phone", "birthday", "language", "role", "is_active", "created_at"]
    form_columns = ["name", "phone", "email", "role", "resource", "is_active", "birthday", "language", "version"]
    form_create_rules = ["name", "phone", "email", "role", "resource", "birthday", "language"]
    fields_under_more = frozenset({"birthday", "language"})
    form_ajax_refs = {"resource": RESOURCE_LOOKUP}

    async def scaffold_form(self, rules: list[str] | None = None) -> type[Form]:
        """Return the form with a password, which is no column and is never shown again."""
        form = await super().scaffold_form(rules)
        is_new = rules == self._form_create_rules
        field = PasswordField(
            "Password",
            description=f"{NEW_HELP} {CHOOSE_HELP}" if is_new else f"{CHOOSE_HELP} {KEEP_EMPTY_HELP}",
            render_kw={"class": "form-control", "autocomplete": "new-password"},
        )
        if is_new:
            return type("PersonForm", (form,), {"password": field})
        current = PasswordField(
            "Your current password",
            description=CURRENT_HELP,
            render_kw={"class": "form-control", "autocomplete": "current-password"},
        )
        under_more = self.fields_under_more | {"password", "current_password"}
        return type("PersonForm", (form,), {"password": field, "current_password": current, "under_more": under_more})

    async def insert_model(self, request: Request, data: Values) -> User:
        """Create a person. A customer needs no password."""
        is_required = form_values(request, data).get("role") != Role.USER
        user: User = await super().insert_model(
            request, await hash_typed_password(request, data, is_required=is_required)
        )
        return user

    async def update_model(self, request: Request, pk: str, data: Values) -> User:
        """Change an account, and its password only if one was typed.

        Somebody's own e-mail address or password needs the current password.
        """
        current = str(data.pop("current_password", "") or "")
        if int(pk) == page_state(request).actor.id:
            await require_own_password(request, data, current)
        values = await hash_typed_password(request, data, is_required=False)
        user: User = await super().update_model(request, pk, values)
        return user

    async def details_context(self, request: Request) -> dict[str, object]:
        """Add links: to sign-ins and data of a person; to the erasure and all visits to come of a customer."""
        values = await super().details_context(request)
        user, actor = await self.get_object_for_details(request), page_state(request).actor
        values["notes_box"] = await build_notes_box(request, user_id=user.id)
        if data_export.may_export(actor, user):
            values["export_url"] = request.url_for("admin:data", pk=user.id)
        if permissions.has_permission(actor, "erase", User) and erasure.refusal_for_erasure(user) is None:
            values["erase_url"] = request.url_for("admin:erase", pk=user.id)
        if permissions.has_permission(actor, "see", SignIn):
            values["sign_ins_url"] = request.url_for("admin:sign-ins-of-person", pk=user.id)
        if permissions.has_ability(actor, "give_roles") and user.role != Role.USER and user.id != actor.id:
            values["second_factor_url"] = request.url_for("admin:reset-second-factor", pk=user.id)
        if permissions.has_permission(actor, "change", Booking):
            cancel_url = request.url_for("admin:bulk").include_query_params(customer=user.id)
            values["cancel_all_url"] = cancel_url
        return values


async def require_own_password(request: Request, data: Values, current: str) -> None:
    """Raise a refusal, and show it, if a form changes one's own e-mail address or password without the current one."""
    values, user, context = form_values(request, data), signed_in_user(request), context_of(request)
    if not values.get("password") and values.get("email", user.email) == user.email:
        return
    try:
        await sign_in.require_current_password(context.database, user, current, now=context.now())
    except no.Refusal as refusal:
        show_refusal(request, refusal)
        raise


async def hash_typed_password(request: Request, data: Values, *, is_required: bool) -> FormValues:
    """Return a form's values with the hash of the password that was typed instead of the password."""
    values = form_values(request, data)
    password = str(values.pop("password", "") or "")
    if password or is_required:
        try:
            name, email = str(values.get("name") or ""), str(values.get("email") or "")
            values["password_hash"] = await passwords.hash_new_password(password, name=name, email=email)
        except no.Refusal as refusal:
            show_refusal(request, refusal)
            raise
    return values


class EventView(EventListView, RecordView, model=Event):
    """What happened, to whom it may concern."""

    category, icon, name, name_plural = "History", "fa-solid fa-clock-rotate-left", "Event", "History"
    can_create = can_edit = can_delete = False
    column_list = ["id", "at", "actor", "door", "action", "row_id", "changes"]
    column_details_list = [*column_list, "reason", "request_id"]
    column_formatters, column_formatters_detail = LIST_FORMATTERS, DETAIL_FORMATTERS
    column_export_list = [
        "id",
        "at",
        "actor",
        "actor_id",
        "door",
        "action",
        "table_name",
        "row_id",
        "changes",
        "reason",
    ]
    column_sortable_list = ["id"]
    column_default_sort = ("id", True)
    form_columns = []


VIEWS = [
    BookingView,
    ReviewView,
    PaymentView,
    ServiceView,
    ResourceView,
    OpeningHoursView,
    ExceptionView,
    BusinessView,
    UserView,
    EventView,
]
