"""The form of a booking: a resource for each role, override reason, and the next free slots beside a refused time."""

from collections import Counter
from collections.abc import Mapping

from pydantic.fields import FieldInfo
from starlette.requests import Request
from wtforms import BooleanField, Form, HiddenField, StringField
from wtforms.validators import Optional

from admin.framework.form_values import FormValues, add_field_error, form_time, form_values
from admin.framework.formatting import next_free_text
from admin.framework.forms import make_field_validator
from admin.framework.lookups import LookupField
from admin.framework.number_fields import WholeNumberField
from admin.framework.types import Values
from admin.record_view import RecordView
from bookit import needs
from bookit import refusals as no
from bookit.bookings import availability
from bookit.bookings.availability import Visit, visit_after
from bookit.needs import FIRST_POSITION
from bookit.schema.fields import ReasonText
from bookit.schema.tables import MAX_PARTY, Booking, ResourceRole

OVERRIDE_HELP = "Needed only to override notice, horizon, opening hours, closures or start times. Shown in the history."
OVERLAP_HELP = "The customer has another visit at this time. Tick this if both are meant."

ANY_HELP = "Leave empty for the first one that is free."
OTHER_HELP = f"Only if the service needs more than one resource. {ANY_HELP}"

# The fields for the resources in the positions after the first, from 2 on. Until somebody has chosen a service, their
# labels have a number alone.
OTHER_FIELDS = ("second_resource", "third_resource", "fourth_resource", "fifth_resource")
OTHER_LABEL = "Also needs ({})"
ROLE_LABELS: Mapping[str, str] = {
    ResourceRole.WITH: "With whom",
    ResourceRole.IN: "In which room",
    ResourceRole.USING: "Using what",
}


def label_fields(roles: Mapping[int, str]) -> dict[str, str]:
    """Return the label of the field of each position after the first: "In which room".

    ``roles`` are those of all positions. The second one in a role has its number: "With whom (2)".
    """
    labels, seen = {}, Counter([roles.get(1)])
    for position, name in enumerate(OTHER_FIELDS, start=FIRST_POSITION):
        if role := roles.get(position):
            seen[role] += 1
            labels[name] = ROLE_LABELS[role] + (f" ({seen[role]})" if seen[role] > 1 else "")
    return labels


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


class OtherResourceField(LookupField):
    """The resource in a position after the first. The page shows it for a visit that can have this position."""

    is_shown = False

    def show(self, label: str) -> None:
        """Show the field with this label."""
        self.is_shown, self.label.text = True, label

    def pre_validate(self, form: Form) -> None:
        """Refuse an empty field of a booking that has this position."""
        if self.raw_data:
            super().pre_validate(form)


def build_seats_field(*, is_new: bool) -> WholeNumberField:
    """Return the field for the number of seats; a form without it leaves them as they are."""
    return WholeNumberField(
        Booking.model_fields["seats"].title,
        [Optional(), make_field_validator(Booking.model_fields["seats"])],
        description=Booking.model_fields["seats"].description,
        default=1 if is_new else None,
        render_kw={"class": "form-control", "min": 1, "max": MAX_PARTY},
    )


class SuggestsSlots(RecordView):
    """A view of bookings whose form asks for an override reason, and suggests free slots when a time is refused."""

    def __init__(self) -> None:
        """Look up resources for each field: a look-up is asked for by the name of its field."""
        super().__init__()
        self._form_ajax_refs |= dict.fromkeys(OTHER_FIELDS, self._form_ajax_refs["resource"])

    async def scaffold_form(self, rules: list[str] | None = None) -> type[Form]:
        """Return the form with fields that are no columns. Made last, they come last."""
        form = await super().scaffold_form(rules)
        is_new = rules != self.form_edit_rules
        loader = self._form_ajax_refs["resource"]
        options = {"allow_blank": True, "description": OTHER_HELP} if is_new else {}
        fields: dict[str, object] = {name: OtherResourceField(loader, **options) for name in OTHER_FIELDS}
        fields |= {
            "seats": build_seats_field(is_new=is_new),
            "override_reason": build_override_field(),
            "overlap": build_overlap_field(),
        }
        if not is_new:
            fields["end_seen"] = HiddenField()
        return type("BookingForm", (form,), fields)

    async def create_context(self, request: Request) -> dict[str, object]:
        """Add the labels of the fields for further resources, and by service, for the page to show those of one."""
        roles = await needs.get_roles_by_service(self.context.database)
        most = max(map(len, roles.values()), default=1) - 1
        labels = {name: OTHER_LABEL.format(number) for number, name in enumerate(OTHER_FIELDS[:most], start=1)}
        by_service = {service_id: label_fields(of_service) for service_id, of_service in roles.items()}
        return {**await super().create_context(request), "field_labels": labels, "labels_by_service": by_service}

    async def edit_context(self, request: Request) -> dict[str, object]:
        """Add the labels of the fields for further resources."""
        booking: Booking = await self.get_object_for_edit(request)
        roles = {}
        if booking.other_resource_ids:
            roles = await needs.get_roles(self.context.database, booking_id=booking.id)
        return {**await super().edit_context(request), "field_labels": label_fields(roles)}

    async def get_form_data_for_edit(self, obj: Booking) -> dict[str, object]:
        """Return the initial values, with the end by which the form tells whether it was touched."""
        values = await super().get_form_data_for_edit(obj)
        others = {name: str(one) for name, one in zip(OTHER_FIELDS, obj.other_resource_ids, strict=False)}
        return values | others | {"seats": obj.seats, "end_seen": form_time(obj.end_time, self.context.zone)}

    def prepare_values(self, values: FormValues) -> FormValues:
        """Return the values without an end that was not touched: the booking keeps its length, even a new one."""
        end, end_seen = values.get("end_time"), values.pop("end_seen", None)
        if end and form_time(end, self.context.zone) == end_seen:
            del values["end_time"]
        if values.get("seats") is None:
            values.pop("seats", None)
        others = {
            position: values.pop(f"{name}_id", None) for position, name in enumerate(OTHER_FIELDS, start=FIRST_POSITION)
        }
        if resources := {position: one for position, one in others.items() if one}:
            values["resources"] = resources
        reason = str(values.pop("override_reason", None) or "").strip()
        values["overlap"] = bool(values.get("overlap"))
        if reason:
            values["override_reason"] = reason
        return values

    async def update_model(self, request: Request, pk: str, data: Values) -> Booking:
        """Change a booking. A resource that stays in its position is no change."""
        booking = await self.get_object_for_edit(request)
        values = form_values(request, data)
        for name, resource_id in zip(OTHER_FIELDS, booking.other_resource_ids, strict=False):
            if values.get(f"{name}_id") == resource_id:
                del values[f"{name}_id"]
        row: Booking = await super().update_model(request, pk, values)
        return row

    async def explain_refusal(self, request: Request, refusal: no.Refusal, values: FormValues) -> None:
        """Show the next free slots beside a refused time, and the box that accepts an overlap."""
        context = self.context
        if isinstance(refusal, no.OverlappingBooking):
            values.form["overlap"].is_shown = True
        seats, others = values.get("seats"), values.get("resources")
        visit = Visit(values.get("service_id") or 0, values.get("resource_id"), seats=seats, others=others)
        since = values.get("start_time")
        if "pk" in request.path_params:
            booking = await self.get_object_for_edit(request)
            touched = values.touched(booking, context.zone)
            start, end, resource_id = (touched.get(name) for name in ("start_time", "end_time", "resource_id"))
            placed = ({1: resource_id} if resource_id else {}) | (others or {})
            visit = visit_after(booking, start_time=start, end_time=end, resources=placed, seats=seats)
            since = touched.get("start_time") or booking.start_time
        if since:
            await availability.attach_next_free(context.database, refusal, visit, since=since, now=context.now())
        if refusal.next_free:
            add_field_error(request, "start_time", next_free_text(refusal, context.zone))
