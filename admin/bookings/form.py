"""What the desk is told of times: the next free slots beside a refusal, and the visits that a closure falls upon."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from pydantic.fields import FieldInfo
from starlette.requests import Request
from wtforms import BooleanField, HiddenField, StringField
from wtforms.validators import Optional

from admin.framework.formatting import next_free_text
from admin.framework.forms import TIME_FORMATS, add_field_error, drop_unchanged_times, make_field_validator
from bookit import refusals as no
from bookit.bookings import availability
from bookit.bookings.availability import Visit, visit_after
from bookit.schema.fields import ReasonText

OVERRIDE_HELP = "Only where notice, horizon, opening hours or a closure stand in the way. History keeps it."


PAST_VISIT_HELP = "Nobody is told of a visit that is over."


def build_override_field() -> StringField:
    """Make the field in which staff say why the rules do not count this time."""
    drawn = {"class": "form-control", "maxlength": 200}
    return StringField(
        "Why anyway",
        [Optional(), make_field_validator(FieldInfo.from_annotation(ReasonText))],
        description=OVERRIDE_HELP,
        render_kw=drawn,
    )


def build_notify_field(description: str) -> BooleanField:
    """Make the box that says whether the customer is to be told; ticked, unless the visit is over."""
    drawn = {"class": "form-check-input"}
    return BooleanField("Tell the customer", default=True, description=description, render_kw=drawn)


def format_form_time(moment: datetime, zone: ZoneInfo) -> str:
    """Write a time as a form shows it."""
    return moment.astimezone(zone).strftime(TIME_FORMATS[0])


class SuggestsSlots:
    """Has a page of bookings tell the next free slots when a time is refused."""

    async def scaffold_form(self, rules: list[str] | None = None) -> Any:
        """Ask too why the rules do not count this time, if they do not."""
        page: Any = super()
        ours: Any = self
        of_new = PAST_VISIT_HELP if rules == ours.form_create_rules else ""
        form = await page.scaffold_form(rules)
        # Made last, they come last.
        asked: dict[str, Any] = {
            "override_reason": build_override_field(),
            "notify_customer": build_notify_field(of_new),
        }
        if rules == ours.form_edit_rules:
            asked["end_seen"] = HiddenField()
        return type("BookingForm", (form,), asked)

    async def get_form_data_for_edit(self, obj: Any) -> dict[str, Any]:
        """Tell the customer unless the visit is over."""
        page: Any = super()
        found: dict[str, Any] = await page.get_form_data_for_edit(obj)
        clock: Any = self
        return found | {
            "notify_customer": obj.start_time > clock.context.now(),
            "end_seen": format_form_time(obj.end_time, clock.context.zone),
        }

    def to_record_values(self, data: dict[str, Any]) -> dict[str, Any]:
        """Give what the form says, and why anyway if that was said."""
        page: Any = super()
        facts: dict[str, Any] = page.to_record_values(data)
        view: Any = self
        end = facts.get("end_time")
        if end and format_form_time(end, view.context.zone) == data.get("end_seen"):
            del facts["end_time"]  # Nobody touched it: the visit keeps its length, whatever others made of it since.
        reason = str(data.get("override_reason") or "").strip()
        told = {"notify_customer": bool(data.get("notify_customer"))}
        return facts | told | ({"override_reason": reason} if reason else {})

    async def insert_model(self, request: Request, data: dict[str, Any]) -> Any:
        """Book, or say when that would be free."""
        page: Any = self
        facts = page.to_record_values(data)
        visit = Visit(facts.get("service_id") or 0, facts.get("resource_id"))
        insert = super().insert_model(request, data)  # type: ignore[misc]  # the page's own
        return await self.run_with_suggestions(request, visit, facts.get("start_time"), insert)

    async def update_model(self, request: Request, pk: str, data: dict[str, Any]) -> Any:
        """Move a booking or give it another length, or say when that could be."""
        page: Any = self
        booking, facts = await page.get_object_for_edit(request), page.to_record_values(data)
        facts = drop_unchanged_times(facts, booking, page.context.zone)
        visit = visit_after(booking, **{name: facts.get(name) for name in ("start_time", "end_time", "resource_id")})
        since = facts.get("start_time") or booking.start_time
        return await self.run_with_suggestions(request, visit, since, super().update_model(request, pk, data))  # type: ignore[misc]  # as above

    async def run_with_suggestions(self, request: Request, visit: Visit, search_from: datetime | None, act: Any) -> Any:
        """Run an act; beside a refusal of its time, tell the next free slots."""
        del request
        page: Any = self
        try:
            return await act
        except no.Refusal as refusal:
            if search_from:
                await availability.attach_next_free(
                    page.context.database, refusal, visit, since=search_from, now=page.context.now()
                )
            if refusal.next_free:
                add_field_error("start_time", next_free_text(refusal, page.context.zone))
            raise
