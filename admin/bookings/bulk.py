"""The page on which the desk changes many bookings at once: choose, see what would come of it, and do it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import Markup
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from admin.framework.custom_page import CustomPage
from admin.framework.formatting import format_local_time, format_status
from admin.framework.middleware import read_form
from admin.framework.parsing import parse_id, parse_ids
from admin.framework.reason_field import reason_error
from bookit import refusals as no
from bookit.bookings import availability, bulk
from bookit.bookings.bulk import BulkAction, BulkChange, Outcome
from bookit.db.errors import retry_interrupted
from bookit.db.pool import Database
from bookit.db.statements import Row
from bookit.policy import permissions, times
from bookit.schema.tables import Booking, Resource, Service, User, table_of

MAX_RESOURCES = 200
BOOKINGS, USERS, SERVICES, RESOURCES = (table_of(table).c for table in (Booking, User, Service, Resource))
BOOKINGS_WITH_NAMES = (
    select(
        table_of(Booking),
        USERS.name.label("customer"),
        SERVICES.title.label("service"),
        RESOURCES.name.label("resource"),
    )
    .join(table_of(User), USERS.id == BOOKINGS.user_id)
    .join(table_of(Service), SERVICES.id == BOOKINGS.service_id)
    .join(table_of(Resource), RESOURCES.id == BOOKINGS.resource_id)
    .where(BOOKINGS.id == bindparam("numbers", type_=ARRAY(BigInteger)).any_())
    .order_by(BOOKINGS.start_time, BOOKINGS.id)
)
ACTIVE_RESOURCES = (
    select(RESOURCES.id, RESOURCES.name).where(RESOURCES.is_active).order_by(RESOURCES.name, RESOURCES.id)
)
RESOURCE_NAMES = select(RESOURCES.id, RESOURCES.name).where(
    RESOURCES.id == bindparam("numbers", type_=ARRAY(BigInteger)).any_()
)
ACTION_LABELS: Mapping[BulkAction, str] = {
    BulkAction.CONFIRM: "Confirm",
    BulkAction.CANCEL: "Cancel",
    BulkAction.COMPLETE: "Complete",
    BulkAction.NO_SHOW: "Mark as no-show",
    BulkAction.SHIFT: "Move by minutes",
    BulkAction.REASSIGN: "Give to another resource",
    BulkAction.REASSIGN_TO_FREE: "Give to whoever else is free",
    BulkAction.SWAP: "Swap these two",
}


@dataclass
class BulkForm:
    """What was chosen and typed, as it stands on the page."""

    what: str = BulkAction.CONFIRM
    minutes: str = "15"
    direction: str = "later"
    resource: str = ""
    left_over: str = "leave"
    reason: str = ""
    why_anyway: str = ""
    mode: str = "all"
    tell: str = ""

    @classmethod
    def from_form(cls, form: FormData) -> "BulkForm":
        """Read a form."""
        return cls(**{field.name: str(form.get(field.name, "")).strip() for field in fields(cls)})

    @property
    def reason_errors(self) -> dict[str, str]:
        """What is wrong with the reasons, each under the name of its field."""
        found = {name: reason_error(getattr(self, name)) for name in ("reason", "why_anyway")}
        return {name: sentence for name, sentence in found.items() if sentence}

    @property
    def change(self) -> BulkChange:
        """What that asks for. Refuses what no page of ours sends."""
        if self.what not in set(BulkAction):
            raise HTTPException(400, "There is no such act.")
        minutes = int(self.minutes) if re.fullmatch("[0-9]{1,5}", self.minutes) else 0
        return BulkChange(
            BulkAction(self.what),
            minutes=-minutes if self.direction == "earlier" else minutes,
            resource_id=max(parse_id(self.resource), 0),
            cancels_unassigned=self.left_over == "cancel",
            reason=self.reason,
            override_reason=self.why_anyway or None,
            is_all_or_nothing=self.mode != "works",
            notify_customers=bool(self.tell),
        )


@dataclass(frozen=True)
class ResultLine:
    """One booking of a preview or of a result, in words."""

    booking_id: int
    row: Row | None
    changes: list[Markup]
    refusal: str


class BulkPage:
    """One visit to the page."""

    def __init__(self, request: Request, database: Database, view: Any, *, zone: ZoneInfo, now: datetime) -> None:
        self.request, self.database, self.view, self.zone, self.now = request, database, view, zone, now
        self.context: dict[str, Any] = {
            "what_words": ACTION_LABELS, "most": bulk.MAX_BOOKINGS, "most_minutes": bulk.MAX_SHIFT_MINUTES,
            "lines": [], "error": "", "step": "choose", "typed": BulkForm(tell="y"), "local_time": self.format_time,
            "badge": format_row_status, "is_cut": False,
            "act": request.url_for("admin:act", act=request.scope.get("request_id", "-")),
        }  # fmt: skip

    def format_time(self, moment: datetime) -> Markup:
        """Show a time by the business's clock."""
        return format_local_time(self.zone, moment)

    async def handle_get(self) -> None:
        """Show what was ticked, what the list shows, or whose day is to be freed, to choose from."""
        asked = self.request.query_params
        if "pks" in asked:
            chosen = parse_ids(asked["pks"].split(","))
        elif "of" in asked:
            chosen = await self.find_bookings_on_days(asked)
        else:
            _, found = await self.view.count_and_page_ids(self.request, size=bulk.MAX_BOOKINGS + 1, offset=0)
            chosen = [*found]
        self.context["is_cut"] = len(chosen) > bulk.MAX_BOOKINGS
        await self.show_selection(chosen[: bulk.MAX_BOOKINGS])

    async def find_bookings_on_days(self, query: Mapping[str, str]) -> list[int]:
        """Give the visits of a resource on these days; today where none are said."""
        resource = await self.database.get(Resource, parse_id(query["of"]))
        if resource is None:
            raise HTTPException(404)
        today = f"{self.now.astimezone(self.zone).date()}"
        first, last = query.get("first") or today, query.get("last") or query.get("first") or today
        typed = BulkForm(what=BulkAction.REASSIGN_TO_FREE, mode="works", tell="y")
        self.context |= {"of": resource, "first": first, "last": last, "typed": typed}
        try:
            since = times.start_of_day(date.fromisoformat(first), self.zone)
            until = times.start_of_day(date.fromisoformat(last), self.zone, offset_days=1)
            times.require_availability_range(since, until)
        except ValueError:
            self.context["error"] = "These days cannot be read."
            return []
        except no.Refusal as refusal:
            self.context["error"] = str(refusal)
            return []
        rows = await availability.affected_bookings(
            self.database, since=since, until=until, resource_id=resource.id, now=self.now, limit=bulk.MAX_BOOKINGS + 1
        )
        return [row["id"] for row in rows]

    async def handle_post(self) -> None:
        """Show the choice again, rehearse it, or do it, as the button says that was pressed."""
        form = await read_form(self.request)
        typed, step = BulkForm.from_form(form), str(form.get("step", ""))
        self.context["typed"] = typed
        if step == "do":
            chosen = parse_versions(str(form.get("seen", "")))
        else:
            chosen = dict.fromkeys(parse_ids(str(value) for value in form.getlist("booking")))
        if typed.reason_errors:
            self.request.state.refusal = no.Misshapen()
        if typed.reason_errors or step == "choose":
            await self.show_selection([*chosen][: bulk.MAX_BOOKINGS])
            return
        outcomes = await self.run(chosen, typed.change, commit=step == "do")
        if outcomes:
            await self.show_outcomes(outcomes, is_done=step == "do")
        else:
            await self.show_selection([*chosen][: bulk.MAX_BOOKINGS])

    async def run(self, versions: Mapping[int, int | None], change: BulkChange, *, commit: bool) -> Sequence[Outcome]:
        """Do it in this person's name, or rehearse it; what is refused as a whole is said on the page."""
        by, asked = self.request.state.actor, self.request.scope.get("request_id", "")

        async def once() -> Sequence[Outcome]:
            async with self.database.transaction(by=by, now=self.now, request_id=asked, dry_run=not commit) as session:
                return await bulk.run(session, versions, change, by=by, now=self.now)

        try:
            return await retry_interrupted(once)
        except no.Refusal as refusal:
            self.context["error"] = str(refusal)
            outcomes: Sequence[Outcome] = getattr(refusal, "outcomes", ())
            if commit or not outcomes:
                self.request.state.refusal = refusal
            return outcomes

    async def show_selection(self, booking_ids: Sequence[int]) -> None:
        """Show these bookings, to be ticked, and what can be done to them."""
        rows = await self.database.fetch(BOOKINGS_WITH_NAMES, numbers=[*booking_ids])
        choice = await self.database.fetch(ACTIVE_RESOURCES.limit(MAX_RESOURCES))
        self.context |= {"step": "choose", "rows": rows, "resources": choice}

    async def show_outcomes(self, outcomes: Sequence[Outcome], *, is_done: bool) -> None:
        """Show what comes of each booking, and what would have if nothing was changed."""
        rows = {
            row["id"]: row
            for row in await self.database.fetch(BOOKINGS_WITH_NAMES, numbers=[one.booking_id for one in outcomes])
        }
        places = {row.resource_id for one in outcomes for row in (one.before, one.after) if row}
        found = await self.database.fetch(RESOURCE_NAMES, numbers=sorted(places))
        names = {row["id"]: row["name"] for row in found}
        is_kept = is_done and not self.context["error"]
        self.context |= {
            "step": "done" if is_kept else "preview",
            "lines": [self.make_line(one, rows.get(one.booking_id), names) for one in outcomes],
            "works": sum(not one.refusal for one in outcomes),
            "seen": ",".join(f"{one.booking_id}:{one.before.version if one.before else 0}" for one in outcomes),
            "may_do": not (self.context["typed"].change.is_all_or_nothing and any(one.refusal for one in outcomes)),
        }

    def make_line(self, outcome: Outcome, row: Row | None, resource_names: Mapping[int, str]) -> ResultLine:
        """Say what comes of one booking."""
        changes = (
            [*self.list_changes(outcome.before, outcome.after, resource_names)]
            if outcome.before and outcome.after
            else []
        )
        return ResultLine(outcome.booking_id, row, changes, str(outcome.refusal or ""))

    def list_changes(self, before: Booking, after: Booking, resource_names: Mapping[int, str]) -> Iterable[Markup]:
        """Give what changed, as it was and as it became."""
        if before.start_time != after.start_time:
            yield format_change(self.format_time(before.start_time), self.format_time(after.start_time))
        if before.resource_id != after.resource_id:
            yield format_change(resource_names[before.resource_id], resource_names[after.resource_id])
        if before.status != after.status:
            yield format_change(format_status(before, "status"), format_status(after, "status"))


def format_row_status(row: Row) -> Markup:
    """Show the status of a row that was read plainly."""
    return format_status(SimpleNamespace(**row), "status")


def format_change(old: str, new: str) -> Markup:
    return Markup("<del>{}</del> → <ins>{}</ins>").format(old, new)


def parse_versions(text: str) -> dict[int, int | None]:
    """Read the bookings that a preview showed, each with its version."""
    pairs = (part.partition(":") for part in text.split(","))
    return {found: max(parse_id(version), 0) for one, _, version in pairs if (found := parse_id(one)) > 0}


async def change_bookings(
    request: Request, database: Database, templates: Any, view: Any, *, zone: ZoneInfo, now: datetime
) -> Response:
    """Show the page, or what came of it."""
    if not permissions.has_permission(request.state.actor, "change", Booking):
        raise HTTPException(403)
    page = BulkPage(request, database, view, zone=zone, now=now)
    await (page.handle_post() if request.method == "POST" else page.handle_get())
    answer: Response = await templates.TemplateResponse(request, "sqladmin/bulk.html", page.context)
    return answer


PAGE = CustomPage("/booking/bulk", "bulk", change_bookings, ("GET", "POST"))
