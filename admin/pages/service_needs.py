"""What else the visits of a service need: a part of its form, and a list on its page."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from sqlalchemy import or_, select
from starlette.requests import Request
from wtforms import Field, Form, ValidationError
from wtforms.widgets import html_params

from admin.framework.context import context_of
from admin.framework.formatting import RESOURCE_ROLE_LABELS
from admin.framework.number_fields import WholeNumberField
from admin.framework.parsing import parse_id
from admin.record_view import RecordView
from bookit import needs
from bookit import refusals as no
from bookit.needs import FIRST_POSITION, Need
from bookit.schema.fields import MINUTES_PER_LONGEST_VISIT
from bookit.schema.tables import MAX_PARTY, MAX_ROLES, Resource, ResourceRole, ServiceNeed, table_of

LoadResources = Callable[[Collection[int]], Any]
MAX_OFFERED = 1_000  # resources in the list of a need
NUMBER_FIELDS = ("seats", "free_from_minutes", "free_until_minutes")
LIMITS: Mapping[str, tuple[int, int]] = {
    "seats": (1, MAX_PARTY),
    "free_from_minutes": (0, MINUTES_PER_LONGEST_VISIT),
    "free_until_minutes": (1, MINUTES_PER_LONGEST_VISIT),
}
NEEDS_HELP = (
    "What each visit takes beside the resource that serves it, such as a room. Choose all that would do: BookIt takes"
    " the first that is free. Choose none if nothing more is needed."
)


@dataclass
class NeedRow:
    """One need as it stands in the form: texts, so that a wrong number comes back as it was typed."""

    role: str = ResourceRole.WITH
    resource_ids: Sequence[int] = ()
    seats: str = "1"
    free_from_minutes: str = ""
    free_until_minutes: str = ""


class NeedsField(Field):  # type: ignore[misc]  # WTForms has no types
    """The needs of a service, one group of boxes for each. A group without a resource is no need."""

    def __init__(self, *args: Any, load_resources: LoadResources, **kwargs: Any) -> None:
        kwargs["widget"] = NeedsWidget()
        super().__init__(*args, **kwargs)
        self.load_resources, self.rows = load_resources, [NeedRow()] * (MAX_ROLES - 1)

    def process(self, formdata: Any, data: object = None, extra_filters: object = None) -> None:
        """Read the needs of the row, or those that were sent."""
        del extra_filters
        self.process_errors, self.errors, self.raw_data = [], (), []
        self.data: list[Need] = list(data) if isinstance(data, Sequence) else []
        rows = [to_row(need) for need in self.data]
        if formdata is not None and self.name in formdata:
            rows = [self.read_row(formdata, position) for position in range(FIRST_POSITION, MAX_ROLES + 1)]
            self.raw_data = [str(row) for row in rows]
            self.data = []
            for row in rows:
                try:
                    self.data += to_needs(row)
                except ValueError as error:
                    self.process_errors.append(error.args[0])
        self.rows = [*rows, *[NeedRow()] * (MAX_ROLES - 1)][: MAX_ROLES - 1]

    def read_row(self, formdata: Any, position: int) -> NeedRow:
        """Return what was sent of one need."""
        texts = {
            name: (formdata.getlist(f"{self.name}-{position}-{name}") or [""])[0].strip()
            for name in ("role", *NUMBER_FIELDS)
        }
        chosen = formdata.getlist(f"{self.name}-{position}-resources")
        return NeedRow(resource_ids=sorted({parse_id(value) for value in chosen} - {0}), **texts)

    def pre_validate(self, form: Form) -> None:
        """Refuse a resource that does not exist any more."""
        del form
        if any(resource_id < 1 for need in self.data for resource_id in need.resource_ids):
            raise ValidationError(no.UnknownResource.__doc__)


def to_row(need: Need) -> NeedRow:
    """Return a need as the form shows it."""
    numbers = {name: getattr(need, name) for name in NUMBER_FIELDS}
    texts = {name: "" if number is None else str(number) for name, number in numbers.items()}
    return NeedRow(str(need.role), need.resource_ids, **texts)


def to_needs(row: NeedRow) -> list[Need]:
    """Return the need of a group of boxes, or nothing if no resource is chosen. Raise ValueError for a wrong number."""
    if not row.resource_ids:
        return []
    if row.role not in RESOURCE_ROLE_LABELS:
        raise ValueError(no.UnknownResourceRole.__doc__)
    numbers = {name: read_number(name, getattr(row, name)) for name in NUMBER_FIELDS}
    numbers["seats"] = 1 if numbers["seats"] is None else numbers["seats"]
    return [Need(tuple(row.resource_ids), ResourceRole(row.role), **numbers)]  # type: ignore[arg-type]  # seats is a number


def read_number(name: str, text: str) -> int | None:
    """Return a number that was typed, or None for an empty box. Raise ValueError if it is not within its limits."""
    if not text:
        return None
    number = WholeNumberField.parse(text)
    low, high = LIMITS[name]
    if not low <= number <= high:
        title = ServiceNeed.model_fields[name].title
        message = f"{title}: enter a number from {low} to {high}."
        raise ValueError(message)
    return number


class NeedsWidget:
    """A group of boxes for each need. It needs no script."""

    async def __call__(self, field: NeedsField, **kwargs: object) -> Markup:
        """Return its HTML."""
        chosen = {resource_id for row in field.rows for resource_id in row.resource_ids}
        resources = await field.load_resources(chosen)
        groups = Markup().join(
            render_group(f"{field.name}-{position}", position, row, resources)
            for position, row in enumerate(field.rows, start=FIRST_POSITION)
        )
        described_by = html_params(**{name: value for name, value in kwargs.items() if name == "aria-describedby"})
        return Markup('<div class="bk-needs" role="group" aria-labelledby="{}-label" id="{}" {}>{}{}</div>').format(
            field.id,
            field.id,
            Markup(described_by),  # noqa: S704 -- WTForms escaped it
            Markup('<input type="hidden" name="{}" value="1">').format(field.name),
            groups,
        )


def render_group(name: str, position: int, row: NeedRow, resources: Sequence[tuple[int, str]]) -> Markup:
    """Return the boxes of one need. Those that are not used are folded away."""
    roles = Markup().join(
        render_option(role, label, is_selected=row.role == role) for role, label in RESOURCE_ROLE_LABELS.items()
    )
    options = Markup().join(
        render_option(number, label, is_selected=number in row.resource_ids) for number, label in resources
    )
    number = position - FIRST_POSITION + 1
    boxes = Markup().join(
        [
            Markup(
                '<p><label for="{0}-role">Role</label><select class="form-select" id="{0}-role" name="{0}-role">{1}'
            ).format(name, roles)
            + Markup("</select></p>"),
            Markup(
                '<p><label for="{0}-resources">Any of</label><select class="form-select" multiple size="5"'
                ' id="{0}-resources" name="{0}-resources">{1}</select></p>'
            ).format(name, options),
            *(render_number(name, column, getattr(row, column)) for column in NUMBER_FIELDS),
        ]
    )
    is_used = bool(row.resource_ids)
    return Markup('<details class="bk-need"{}><summary>Need {}</summary>{}</details>').format(
        Markup(" open") if is_used or number == 1 else "", number, boxes
    )


def render_option(value: object, label: str, *, is_selected: bool) -> Markup:
    return Markup('<option value="{}"{}>{}</option>').format(value, Markup(" selected") if is_selected else "", label)


def render_number(name: str, column: str, text: str) -> Markup:
    """Return the box of a number with its label and its help."""
    field, (low, high) = ServiceNeed.model_fields[column], LIMITS[column]
    return Markup(
        '<p><label for="{0}-{1}">{2}</label><input class="form-control" type="number" id="{0}-{1}" name="{0}-{1}"'
        ' value="{3}" min="{4}" max="{5}" step="1" aria-describedby="{0}-{1}-help">'
        '<small class="form-hint" id="{0}-{1}-help">{6}</small></p>'
    ).format(name, column, field.title, text, low, high, field.description)


class EditsNeeds(RecordView):
    """The view of services: their needs are in the form, and on the page in words."""

    async def scaffold_form(self, rules: list[str] | None = None) -> type[Form]:
        """Return the form with the needs, which are rows of another table."""
        form = await super().scaffold_form(rules)
        field = NeedsField("Also needs", description=NEEDS_HELP, load_resources=self.load_resources)
        return type("ServiceForm", (form,), {"needs": field})

    async def load_resources(self, chosen: Collection[int]) -> list[tuple[int, str]]:
        """Return id and name of the resources that can be chosen: the active ones, and those that are chosen."""
        columns = table_of(Resource).c
        statement = select(columns.id, columns.name).where(or_(columns.is_active, columns.id.in_(chosen)))
        rows = await self.context.fetch_rows(statement.order_by(columns.name, columns.id).limit(MAX_OFFERED))
        return [(row.id, row.name) for row in rows]

    async def get_form_data_for_edit(self, obj: Any) -> dict[str, object]:
        """Return the initial values with the needs."""
        values = await super().get_form_data_for_edit(obj)
        return {**values, "needs": await needs.get_needs(self.context.database, obj.id)}

    async def details_context(self, request: Request) -> dict[str, object]:
        """Add what else a visit needs, in words."""
        values, service_id = await super().details_context(request), int(request.path_params["pk"])
        rows = await needs.get_needs_with_names(context_of(request).database, service_id)
        return {**values, "needs": [describe_need(row) for row in rows]}


def describe_need(row: Mapping[str, Any]) -> str:
    """Return a need as a sentence: "In Room 1 or Room 2: 2 seats, pause from minute 20 until minute 40"."""
    names = " or ".join(row["names"]) or "–"
    details = [f"{row['seats']} seats"] if row["seats"] > 1 else []
    since, until = row["free_from_minutes"], row["free_until_minutes"]
    if since is not None:
        details.append(f"pause from minute {since} " + (f"until minute {until}" if until is not None else "to the end"))
    return f"{row['role'].capitalize()} {names}" + (f": {', '.join(details)}" if details else "")
