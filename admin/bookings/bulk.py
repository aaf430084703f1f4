"""The page on which staff change many bookings at once: choose, preview, apply."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from types import SimpleNamespace
from typing import Unpack

from markupsafe import Markup
from sqlalchemy import String, bindparam, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger, DateTime
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from admin.framework.context import context_of, request_id_of
from admin.framework.custom_page import CustomPage
from admin.framework.formatting import format_local_time, format_status
from admin.framework.list_pages import list_view_of
from admin.framework.middleware import read_form
from admin.framework.page_state import page_state
from admin.framework.parsing import parse_id, parse_ids
from admin.framework.permissions import require_permission
from admin.framework.reason_field import reason_error
from admin.framework.transactions import ActorAndTime, run_act
from bookit import refusals as no
from bookit.bookings import availability, bulk, claims
from bookit.bookings.bulk import BulkAction, BulkChange, Outcome
from bookit.bookings.visitors import CUSTOMER
from bookit.db.search import sort_key
from bookit.db.session import Session
from bookit.db.statements import Row
from bookit.policy import times
from bookit.schema.tables import Booking, Resource, Service, User, table_of
from bookit.schema.visible_text import normalize_line

MAX_RESOURCES = 200
BOOKINGS, USERS, SERVICES, RESOURCES = (table_of(table).c for table in (Booking, User, Service, Resource))
BOOKING, CUSTOMERS = table_of(Booking).alias("b"), table_of(User).alias("u")
BOOKINGS_WITH_NAMES = (
    select(
        BOOKING,
        literal_column(CUSTOMER, String).label("customer"),
        SERVICES.title.label("service"),
        literal_column(claims.RESOURCE_NAMES, String).label("resource"),
    )
    .join(CUSTOMERS, CUSTOMERS.c.id == BOOKING.c.user_id)
    .join(table_of(Service), SERVICES.id == BOOKING.c.service_id)
    .where(BOOKING.c.id == bindparam("numbers", type_=ARRAY(BigInteger)).any_())
    .order_by(BOOKING.c.start_time, BOOKING.c.id)
)
ACTIVE_RESOURCES = (
    select(RESOURCES.id, RESOURCES.name).where(RESOURCES.is_active).order_by(sort_key(RESOURCES.name), RESOURCES.id)
)
RESOURCE_NAMES = select(RESOURCES.id, RESOURCES.name).where(
    RESOURCES.id == bindparam("numbers", type_=ARRAY(BigInteger)).any_()
)
BOOKINGS_TO_COME = (
    select(BOOKINGS.id)
    .where(
        BOOKINGS.user_id == bindparam("customer_id", type_=BigInteger),
        BOOKINGS.start_time > bindparam("now", type_=DateTime(timezone=True)),
        func.is_live(BOOKINGS.status),
    )
    .order_by(BOOKINGS.start_time, BOOKINGS.id)
)
ACTION_LABELS: Mapping[BulkAction, str] = {
    BulkAction.CONFIRM: "Confirm",
    BulkAction.CANCEL: "Cancel",
    BulkAction.COMPLETE: "Complete",
    BulkAction.NO_SHOW: "Mark as no-show",
    BulkAction.SHIFT: "Move by minutes",
    BulkAction.REASSIGN: "Move to another resource",
    BulkAction.REASSIGN_TO_FREE: "Move to any free resource",
    BulkAction.SWAP: "Swap the two",
}


@dataclass
class BulkForm:
    """The fields of the page, as they were sent."""

    bulk_action: str = BulkAction.CONFIRM
    minutes: str = "15"
    direction: str = "later"
    resource: str = ""
    if_none_free: str = "leave"
    reason: str = ""
    override_reason: str = ""
    mode: str = "all"
    overlap: str = ""
    notify_customers: str = ""

    @classmethod
    def from_form(cls, form: FormData) -> "BulkForm":
        """Return the fields of a form."""
        return cls(**{field.name: normalize_line(str(form.get(field.name, ""))) for field in fields(cls)})

    @property
    def reason_errors(self) -> dict[str, str]:
        """What is wrong with the reasons, each under the name of its field."""
        errors = {name: reason_error(getattr(self, name)) for name in ("reason", "override_reason")}
        return {name: error for name, error in errors.items() if error}

    @property
    def change(self) -> BulkChange:
        """The change that these fields ask for. Raise 400 for an action that the page does not offer."""
        if self.bulk_action not in set(BulkAction):
            raise HTTPException(400, "There is no such action.")
        minutes = int(self.minutes) if re.fullmatch("[0-9]{1,5}", self.minutes) else 0
        return BulkChange(
            BulkAction(self.bulk_action),
            minutes=-minutes if self.direction == "earlier" else minutes,
            resource_id=max(parse_id(self.resource), 0),
            cancels_unassigned=self.if_none_free == "cancel",
            reason=self.reason,
            override_reason=self.override_reason or None,
            accepts_overlap=bool(self.overlap),
            is_all_or_nothing=self.mode != "works",
            notify_customers=bool(self.notify_customers),
        )


@dataclass(frozen=True)
class ResultLine:
    """One booking of a preview or of a result, in words."""

    booking_id: int
    row: Row | None
    changes: list[Markup]
    refusal: str


class BulkPage:
    """One request for the page. Its methods fill in the values of the template."""

    def __init__(self, request: Request) -> None:
        context = context_of(request)
        self.request, self.database, self.zone, self.now = request, context.database, context.zone, context.now()
        self.form = BulkForm()
        self.values: dict[str, object] = {
            "action_labels": ACTION_LABELS, "max_bookings": bulk.MAX_BOOKINGS, "max_minutes": bulk.MAX_SHIFT_MINUTES,
            "results": [], "error": "", "step": "choose", "local_time": self.format_time, "badge": format_row_status,
            "is_truncated": False, "act_url": request.url_for("admin:act", act=request_id_of(request) or "-"),
        }  # fmt: skip

    async def render(self) -> Response:
        """Return the page."""
        return await context_of(self.request).render(self.request, "bulk.html", {**self.values, "form": self.form})

    def format_time(self, time: datetime) -> Markup:
        """Return a time by the business's clock."""
        return format_local_time(self.zone, time)

    async def handle_get(self) -> None:
        """Show the bookings to choose from: the ticked ones, those of the list, of a customer, or of a resource."""
        query = self.request.query_params
        if "pks" in query:
            booking_ids = parse_ids(query["pks"].split(","))
        elif "of" in query:
            booking_ids = await self.find_bookings_on_days(query)
        elif "customer" in query:
            booking_ids = await self.find_bookings_to_come(parse_id(query["customer"]))
        else:
            view, limit = list_view_of(self.request, Booking), bulk.MAX_BOOKINGS + 1
            booking_ids = [*(await view.count_and_page_ids(self.request, size=limit, offset=0))[1]]
        self.values["is_truncated"] = len(booking_ids) > bulk.MAX_BOOKINGS
        await self.show_selection(booking_ids[: bulk.MAX_BOOKINGS])

    async def find_bookings_on_days(self, query: Mapping[str, str]) -> list[int]:
        """Return the bookings of a resource on the days that the URL names, or else today."""
        resource = await self.database.get(Resource, parse_id(query["of"]))
        if resource is None:
            raise HTTPException(404)
        today = f"{self.now.astimezone(self.zone).date()}"
        first, last = query.get("first") or today, query.get("last") or query.get("first") or today
        self.form = BulkForm(bulk_action=BulkAction.REASSIGN_TO_FREE, mode="works")
        self.values |= {"cleared_resource": resource, "first": first, "last": last}
        try:
            since = times.start_of_day(date.fromisoformat(first), self.zone)
            until = times.start_of_day(date.fromisoformat(last), self.zone, offset_days=1)
            times.require_availability_range(since, until)
        except ValueError:
            self.values["error"] = "These dates are not valid."
            return []
        except no.Refusal as refusal:
            self.values["error"] = str(refusal)
            return []
        rows = await availability.affected_bookings(
            self.database, since=since, until=until, resource_id=resource.id, now=self.now, limit=bulk.MAX_BOOKINGS + 1
        )
        return [row["id"] for row in rows]

    async def find_bookings_to_come(self, customer_id: int) -> list[int]:
        """Return the holds and the other bookings to come of a customer, and offer to cancel them."""
        self.form = BulkForm(bulk_action=BulkAction.CANCEL, mode="works")
        statement = BOOKINGS_TO_COME.limit(bulk.MAX_BOOKINGS + 1)
        rows = await self.database.fetch(statement, customer_id=customer_id, now=self.now)
        return [row["id"] for row in rows]

    async def handle_post(self) -> None:
        """Show the selection again, preview the change, or apply it, as the button says that was pressed."""
        form = await read_form(self.request)
        self.form, step = BulkForm.from_form(form), str(form.get("step", ""))
        if step == "apply":
            versions = parse_versions(str(form.get("versions", "")))
        else:
            versions = dict.fromkeys(parse_ids(str(value) for value in form.getlist("booking")))
        if self.form.reason_errors:
            page_state(self.request).refusal = no.Misshapen()
        outcomes: Sequence[Outcome] = ()
        if not self.form.reason_errors and step != "choose":
            outcomes = await self.run(versions, self.form.change, dry_run=step != "apply")
        if outcomes:
            await self.show_outcomes(outcomes, is_done=step == "apply")
        else:
            await self.show_selection([*versions][: bulk.MAX_BOOKINGS])

    async def run(self, versions: Mapping[int, int | None], change: BulkChange, *, dry_run: bool) -> Sequence[Outcome]:
        """Apply the change or preview it; where it is refused as a whole, show why."""

        async def act(session: Session, **by_and_now: Unpack[ActorAndTime]) -> Sequence[Outcome]:
            return await bulk.run(session, versions, change, **by_and_now)

        try:
            return await run_act(self.request, act, dry_run=dry_run)
        except no.Refusal as refusal:
            self.values["error"] = str(refusal)
            outcomes: Sequence[Outcome] = getattr(refusal, "outcomes", ())
            if not (dry_run and outcomes):
                page_state(self.request).refusal = refusal
            return outcomes

    async def show_selection(self, booking_ids: Sequence[int]) -> None:
        """Show these bookings, each with a box to tick, and what can be done to them."""
        rows = await self.database.fetch(BOOKINGS_WITH_NAMES, numbers=[*booking_ids])
        resources = await self.database.fetch(ACTIVE_RESOURCES.limit(MAX_RESOURCES))
        self.values |= {"step": "choose", "rows": rows, "resources": resources}

    async def show_outcomes(self, outcomes: Sequence[Outcome], *, is_done: bool) -> None:
        """Show the outcome of each booking, also where nothing was changed."""
        booking_ids = [outcome.booking_id for outcome in outcomes]
        rows = {row["id"]: row for row in await self.database.fetch(BOOKINGS_WITH_NAMES, numbers=booking_ids)}
        bookings = [booking for outcome in outcomes for booking in (outcome.before, outcome.after) if booking]
        resource_ids = sorted({one for booking in bookings for one in claims.resources_of(booking).values()})
        resources = await self.database.fetch(RESOURCE_NAMES, numbers=resource_ids)
        names = {row["id"]: row["name"] for row in resources}
        versions = {outcome.booking_id: outcome.before.version if outcome.before else 0 for outcome in outcomes}
        is_refused = any(outcome.refusal for outcome in outcomes)
        overlaps = [one.booking_id for one in outcomes if isinstance(one.refusal, no.OverlappingBooking)]
        self.values |= {
            "step": "done" if is_done and not self.values["error"] else "preview",
            "results": [self.make_line(outcome, rows.get(outcome.booking_id), names) for outcome in outcomes],
            "overlap_count": len(overlaps),
            "success_count": sum(not outcome.refusal for outcome in outcomes),
            "versions": ",".join(f"{booking_id}:{version}" for booking_id, version in versions.items()),
            "can_apply": not (self.form.change.is_all_or_nothing and is_refused),
        }

    def make_line(self, outcome: Outcome, row: Row | None, resource_names: Mapping[int, str]) -> ResultLine:
        """Return the outcome of one booking in words."""
        before, after = outcome.before, outcome.after
        changes = [*self.list_changes(before, after, resource_names)] if before and after else []
        return ResultLine(outcome.booking_id, row, changes, str(outcome.refusal or ""))

    def list_changes(self, before: Booking, after: Booking, resource_names: Mapping[int, str]) -> Iterable[Markup]:
        """Yield each change, with the old and the new value."""
        if before.start_time != after.start_time:
            yield format_change(self.format_time(before.start_time), self.format_time(after.start_time))
        resources = [[*claims.resources_of(booking).values()] for booking in (before, after)]
        if resources[0] != resources[1]:
            old, new = (claims.join_names([resource_names[one] for one in ids]) for ids in resources)
            yield format_change(old, new)
        if before.status != after.status:
            yield format_change(format_status(before, "status"), format_status(after, "status"))


def format_row_status(row: Row) -> Markup:
    """Return the status of a row that is no instance of its table."""
    return format_status(SimpleNamespace(**row), "status")


def format_change(old: str, new: str) -> Markup:
    return Markup("<del>{}</del> → <ins>{}</ins>").format(old, new)


def parse_versions(text: str) -> dict[int, int | None]:
    """Return the ids of the bookings that a preview showed, each with its version."""
    pairs = (part.partition(":") for part in text.split(","))
    versions = {parse_id(booking_id): max(parse_id(version), 0) for booking_id, _, version in pairs}
    return {booking_id: version for booking_id, version in versions.items() if booking_id > 0}


async def change_bookings(request: Request) -> Response:
    """Answer a request for the page."""
    require_permission(request, "change", Booking)
    page = BulkPage(request)
    await (page.handle_post() if request.method == "POST" else page.handle_get())
    return await page.render()


PAGE = CustomPage("/booking/bulk", "bulk", change_bookings, ("GET", "POST"), ability="change_many")
