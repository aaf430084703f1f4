"""The calendar's page, with the resources and services to choose from."""

from sqladmin import BaseView, expose
from starlette.requests import Request
from starlette.responses import Response

from admin.calendar import wall_clock
from admin.framework.context import context_of
from admin.framework.formatting import full_label
from admin.framework.page_state import page_state
from admin.framework.parsing import parse_id
from admin.framework.permissions import require_permission
from bookit import catalogue
from bookit.policy import permissions
from bookit.reports import calendar
from bookit.schema.tables import Booking, CalendarException, User


class CalendarPage(BaseView):
    """The calendar's page. It is a view of SQLAdmin's so that it stands in the menu among the tables."""

    category, icon, name = "Front desk", "fa-solid fa-calendar-days", "Calendar"

    def is_accessible(self, request: Request) -> bool:
        """Return whether the user may see bookings."""
        return permissions.has_permission(page_state(request).actor, "see", Booking)

    is_visible = is_accessible

    @expose("/calendar", methods=["GET"], identity="calendar")
    async def page(self, request: Request) -> Response:
        """Return the page; its script asks for the bookings."""
        return await render_calendar(request)


async def render_calendar(request: Request) -> Response:
    """Return the page, with what the user may do on it."""
    require_permission(request, "see", Booking)
    context, actor = context_of(request), page_state(request).actor
    zone, now, own = context.zone, context.now(), permissions.own_resource(actor)
    resources, services = await calendar.resources(context.database), await calendar.services(context.database)
    without_hours = await catalogue.fetch_without_hours(context.database)
    if own is not None:
        resources, without_hours = [row for row in resources if row["id"] == own], []
        offered = [(row, own in row["resource_ids"], str(own) in row["other_positions"]) for row in services]
        services = [
            {**row, "resource_ids": [own] if is_first else [], "other_positions": {}}
            for row, is_first, is_other in offered
            if is_first or is_other
        ]
    values = {
        "resources": resources,
        "services": services,
        "without_hours": without_hours,
        "may_see_closures": permissions.has_permission(actor, "see", CalendarException),
        "zone": zone.key,
        "now": wall_clock.to_wall_clock(now, zone),
        "offset": wall_clock.utc_offset(now, zone),
        "hold_minutes": context.settings.hold_minutes,
        "may_book": permissions.has_permission(actor, "create", Booking),
        "may_change": permissions.has_permission(actor, "change", Booking),
        "may_add_people": permissions.has_permission(actor, "create", User),
        "customer": await fetch_customer(request),
    }
    return await context.render(request, "calendar.html", values)


async def fetch_customer(request: Request) -> dict[str, object] | None:
    """Return the customer whom the address of the page names, as the look-up does, to book for them."""
    customer = request.query_params.get("customer")
    if not customer or not permissions.has_permission(page_state(request).actor, "see", User):
        return None
    context = context_of(request)
    user = await context.database.get(User, parse_id(customer))
    return {"id": user.id, "text": full_label(user, phone_country=context.phone_country)} if user else None
