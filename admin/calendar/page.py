"""The calendar's page, and what there is to choose from on it."""

from typing import Any

from sqladmin import BaseView, expose
from starlette.requests import Request
from starlette.responses import Response

from admin.calendar import wall_clock
from admin.framework.context import context_of
from admin.framework.permissions import require_permission
from bookit.policy import permissions
from bookit.reports import calendar
from bookit.schema.tables import Booking, User


class CalendarPage(BaseView):
    """The calendar's page; its place in the menu comes first."""

    category, icon, name = "Desk", "fa-solid fa-calendar-days", "Calendar"

    def is_accessible(self, request: Request) -> bool:
        """Show it to whoever may see bookings."""
        return permissions.has_permission(request.state.actor, "see", Booking)

    is_visible = is_accessible

    @expose("/calendar", methods=["GET"], identity="calendar")
    async def page(self, request: Request) -> Response:
        """Show the page; its script asks for what is in it."""
        answer: Response = await show(request, self.templates)
        return answer


async def show(request: Request, templates: Any) -> Response:
    """Give the page, with what there is to choose from."""
    require_permission(request, "see", Booking)
    context = context_of(request)
    database, zone, now = context.database, context.zone, context.now()
    told = {
        "places": await calendar.resources(database),
        "offers": await calendar.services(database),
        "zone": zone.key,
        "now": wall_clock.to_wall_clock(now, zone),
        "offset": wall_clock.utc_offset(now, zone),
        "may_book": permissions.has_permission(request.state.actor, "create", Booking),
        "may_change": permissions.has_permission(request.state.actor, "change", Booking),
        "may_add_people": permissions.has_permission(request.state.actor, "create", User),
    }
    answer: Response = await templates.TemplateResponse(request, "sqladmin/calendar.html", told)
    return answer
