"""The form of a booking: override reason, and the next free slots beside a refused time."""

from pydantic.fields import FieldInfo
from starlette.requests import Request
from wtforms import BooleanField, Form, HiddenField, StringField
from wtforms.validators import Optional

from admin.framework.form_values import FormValues, add_field_error, form_time
from admin.framework.formatting import next_free_text
from admin.framework.forms import make_field_validator
from admin.record_view import RecordView
from bookit import refusals as no
from bookit.bookings import availability
from bookit.bookings.availability import Visit, visit_after
from bookit.schema.fields import ReasonText
from bookit.schema.tables import Booking

OVERRIDE_HELP = "Needed only to override notice, horizon, opening hours, closures or start times. Shown in the history."
OVERLAP_HELP = "The customer has another visit at this time. Tick this if both are meant."


def build_override_field() -> StringField:
    """Return the field for the reason why the rules do not count this time."""
    html_attributes = {"class": "form-control", "maxlength": 200}
    return StringField(
        "Override reason",
        [Optional(), make_field_validator(FieldInfo.from_annotation(ReasonText))],
        description=OVERRIDE_HELP,
        render_kw=html_attributes,
    )


class OverlapField(BooleanField):  # type: ignore[misc]  # WTForms has no types
    """The box that accepts another visit of the customer at this time. It is shown when that was refused."""

    is_shown = False


def build_overlap_field() -> OverlapField:
    """Return the box that accepts another visit of the customer at this time."""
    html_attributes = {"class": "form-check-input"}
    return OverlapField("Save anyway", description=OVERLAP_HELP, render_kw=html_attributes)


class SuggestsSlots(RecordView):
    """A view of bookings whose form asks for an override reason, and suggests free slots when a time is refused."""

    async def scaffold_form(self, rules: list[str] | None = None) -> type[Form]:
        """Return the form with fields that are no columns. Made last, they come last."""
        form = await super().scaffold_form(rules)
        fields: dict[str, object] = {
            "override_reason": build_override_field(),
            "overlap": build_overlap_field(),
        }
        if rules == self.form_edit_rules:
            fields["end_seen"] = HiddenField()
        return type("BookingForm", (form,), fields)

    async def get_form_data_for_edit(self, obj: Booking) -> dict[str, object]:
        """Return the initial values, with the end by which the form tells whether it was touched."""
        return await super().get_form_data_for_edit(obj) | {"end_seen": form_time(obj.end_time, self.context.zone)}

    def prepare_values(self, values: FormValues) -> FormValues:
        """Return the values without an end that was not touched: the booking keeps its length, even a new one."""
        end, end_seen = values.get("end_time"), values.pop("end_seen", None)
        if end and form_time(end, self.context.zone) == end_seen:
            del values["end_time"]
        reason = str(values.pop("override_reason", None) or "").strip()
        values["overlap"] = bool(values.get("overlap"))
        if reason:
            values["override_reason"] = reason
        return values

    async def explain_refusal(self, request: Request, refusal: no.Refusal, values: FormValues) -> None:
        """Show the next free slots beside a refused time, and the box that accepts an overlap."""
        context = self.context
        if isinstance(refusal, no.OverlappingBooking):
            values.form["overlap"].is_shown = True
        visit, since = Visit(values.get("service_id") or 0, values.get("resource_id")), values.get("start_time")
        if "pk" in request.path_params:
            booking = await self.get_object_for_edit(request)
            touched = values.touched(booking, context.zone)
            start, end, resource_id = (touched.get(name) for name in ("start_time", "end_time", "resource_id"))
            visit = visit_after(booking, start_time=start, end_time=end, resource_id=resource_id)
            since = touched.get("start_time") or booking.start_time
        if since:
            await availability.attach_next_free(context.database, refusal, visit, since=since, now=context.now())
        if refusal.next_free:
            add_field_error(request, "start_time", next_free_text(refusal, context.zone))
