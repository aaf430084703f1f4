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

from admin.framework.custom_page import OwnPage
from admin.framework.formatting import badge, local_time
from admin.framework.middleware import sent_form
from admin.framework.parsing import number, numbers_in
from admin.framework.reason_field import wrong_with
from bookit import refusals as no
from bookit.bookings import availability, bulk
from bookit.bookings.bulk import Change, Outcome, What
from bookit.db.errors import retrying
from bookit.db.pool import Database
from bookit.db.statements import Row
from bookit.policy import permissions, times
from bookit.schema.tables import Booking, Resource, Service, User, home

MOST_NAMES = 200
BOOKINGS, PEOPLE, SERVICES, RESOURCES = (home(table).c for table in (Booking, User, Service, Resource))
NAMED = (
    select(
        home(Booking), PEOPLE.name.label("customer"), SERVICES.title.label("service"), RESOURCES.name.label("resource")
    )
    .join(home(User), PEOPLE.id == BOOKINGS.user_id)
    .join(home(Service), SERVICES.id == BOOKINGS.service_id)
    .join(home(Resource), RESOURCES.id == BOOKINGS.resource_id)
    .where(BOOKINGS.id == bindparam("numbers", type_=ARRAY(BigInteger)).any_())
    .order_by(BOOKINGS.start_time, BOOKINGS.id)
)
CHOICE = select(RESOURCES.id, RESOURCES.name).where(RESOURCES.is_active).order_by(RESOURCES.name, RESOURCES.id)
NAMES = select(RESOURCES.id, RESOURCES.name).where(RESOURCES.id == bindparam("numbers", type_=ARRAY(BigInteger)).any_())
WORDS: Mapping[What, str] = {
    What.CONFIRM: "Confirm",
    What.CANCEL: "Cancel",
    What.COMPLETE: "Complete",
    What.NO_SHOW: "Mark as no-show",
    What.SHIFT: "Move by minutes",
    What.REASSIGN: "Give to another resource",
    What.ELSEWHERE: "Give to whoever else is free",
    What.SWAP: "Swap these two",
}


@dataclass
class Typed:
    """What was chosen and typed, as it stands on the page."""

    what: str = What.CONFIRM
    minutes: str = "15"
    direction: str = "later"
    resource: str = ""
    left_over: str = "leave"
    reason: str = ""
    why_anyway: str = ""
    mode: str = "all"
    tell: str = ""

    @classmethod
    def of(cls, form: FormData) -> "Typed":
        """Read a form."""
        return cls(**{field.name: str(form.get(field.name, "")).strip() for field in fields(cls)})

    @property
    def wrong(self) -> dict[str, str]:
        """What is wrong with the reasons, each under the name of its field."""
        found = {name: wrong_with(getattr(self, name)) for name in ("reason", "why_anyway")}
        return {name: sentence for name, sentence in found.items() if sentence}

    @property
    def change(self) -> Change:
        """What that asks for. Refuses what no page of ours sends."""
        if self.what not in set(What):
            raise HTTPException(400, "There is no such act.")
        minutes = int(self.minutes) if re.fullmatch("[0-9]{1,5}", self.minutes) else 0
        return Change(
            What(self.what),
            minutes=-minutes if self.direction == "earlier" else minutes,
            resource_id=max(number(self.resource), 0),
            cancels_left_over=self.left_over == "cancel",
            reason=self.reason,
            override_reason=self.why_anyway or None,
            is_all_or_nothing=self.mode != "works",
            tells_customers=bool(self.tell),
        )


@dataclass(frozen=True)
class Line:
    """One booking of a preview or of a result, in words."""

    number: int
    row: Row | None
    changes: list[Markup]
    refusal: str


class BulkPage:
    """One visit to the page."""

    def __init__(self, request: Request, database: Database, view: Any, *, zone: ZoneInfo, now: datetime) -> None:
        self.request, self.database, self.view, self.zone, self.now = request, database, view, zone, now
        self.told: dict[str, Any] = {
            "what_words": WORDS, "most": bulk.MOST, "most_minutes": bulk.MOST_MINUTES, "lines": [], "error": "",
            "step": "choose", "typed": Typed(tell="y"), "local_time": self.time, "badge": of_row, "is_cut": False,
            "act": request.url_for("admin:act", act=request.scope.get("request_id", "-")),
        }  # fmt: skip

    def time(self, moment: datetime) -> Markup:
        """Show a time by the business's clock."""
        return local_time(self.zone, moment)

    async def open(self) -> None:
        """Show what was ticked, what the list shows, or whose day is to be freed, to choose from."""
        asked = self.request.query_params
        if "pks" in asked:
            chosen = numbers_in(asked["pks"].split(","))
        elif "of" in asked:
            chosen = await self.of_days(asked)
        else:
            _, found = await self.view.which_rows(self.request, size=bulk.MOST + 1, offset=0)
            chosen = [*found]
        self.told["is_cut"] = len(chosen) > bulk.MOST
        await self.show_choice(chosen[: bulk.MOST])

    async def of_days(self, asked: Mapping[str, str]) -> list[int]:
        """Give the visits of a resource on these days; today where none are said."""
        resource = await self.database.get(Resource, number(asked["of"]))
        if resource is None:
            raise HTTPException(404)
        today = f"{self.now.astimezone(self.zone).date()}"
        first, last = asked.get("first") or today, asked.get("last") or asked.get("first") or today
        typed = Typed(what=What.ELSEWHERE, mode="works", tell="y")
        self.told |= {"of": resource, "first": first, "last": last, "typed": typed}
        try:
            since = times.midnight(date.fromisoformat(first), self.zone)
            until = times.midnight(date.fromisoformat(last), self.zone, days_on=1)
            times.require_range(since, until)
        except ValueError:
            self.told["error"] = "These days cannot be read."
            return []
        except no.Refusal as refusal:
            self.told["error"] = str(refusal)
            return []
        rows = await availability.touched(
            self.database, since=since, until=until, resource_id=resource.id, now=self.now, limit=bulk.MOST + 1
        )
        return [row["id"] for row in rows]

    async def sent(self) -> None:
        """Show the choice again, rehearse it, or do it, as the button says that was pressed."""
        form = await sent_form(self.request)
        typed, step = Typed.of(form), str(form.get("step", ""))
        self.told["typed"] = typed
        if step == "do":
            chosen = versions_in(str(form.get("seen", "")))
        else:
            chosen = dict.fromkeys(numbers_in(str(value) for value in form.getlist("booking")))
        if typed.wrong:
            self.request.state.refusal = no.Misshapen()
        if typed.wrong or step == "choose":
            await self.show_choice([*chosen][: bulk.MOST])
            return
        outcomes = await self.run(chosen, typed.change, keep=step == "do")
        if outcomes:
            await self.show_outcomes(outcomes, is_done=step == "do")
        else:
            await self.show_choice([*chosen][: bulk.MOST])

    async def run(self, chosen: Mapping[int, int | None], change: Change, *, keep: bool) -> Sequence[Outcome]:
        """Do it in this person's name, or rehearse it; what is refused as a whole is said on the page."""
        by, asked = self.request.state.actor, self.request.scope.get("request_id", "")

        async def once() -> Sequence[Outcome]:
            async with self.database.transaction(by=by, now=self.now, request_id=asked, keep=keep) as session:
                return await bulk.run(session, chosen, change, by=by, now=self.now)

        try:
            return await retrying(once)
        except no.Refusal as refusal:
            self.told["error"] = str(refusal)
            outcomes: Sequence[Outcome] = getattr(refusal, "outcomes", ())
            if keep or not outcomes:
                self.request.state.refusal = refusal
            return outcomes

    async def show_choice(self, chosen: Sequence[int]) -> None:
        """Show these bookings, to be ticked, and what can be done to them."""
        rows = await self.database.fetch(NAMED, numbers=[*chosen])
        choice = await self.database.fetch(CHOICE.limit(MOST_NAMES))
        self.told |= {"step": "choose", "rows": rows, "resources": choice}

    async def show_outcomes(self, outcomes: Sequence[Outcome], *, is_done: bool) -> None:
        """Show what comes of each booking, and what would have if nothing was changed."""
        rows = {
            row["id"]: row for row in await self.database.fetch(NAMED, numbers=[one.booking_id for one in outcomes])
        }
        places = {row.resource_id for one in outcomes for row in (one.before, one.after) if row}
        found = await self.database.fetch(NAMES, numbers=sorted(places))
        names = {row["id"]: row["name"] for row in found}
        is_kept = is_done and not self.told["error"]
        self.told |= {
            "step": "done" if is_kept else "preview",
            "lines": [self.line(one, rows.get(one.booking_id), names) for one in outcomes],
            "works": sum(not one.refusal for one in outcomes),
            "seen": ",".join(f"{one.booking_id}:{one.before.version if one.before else 0}" for one in outcomes),
            "may_do": not (self.told["typed"].change.is_all_or_nothing and any(one.refusal for one in outcomes)),
        }

    def line(self, one: Outcome, row: Row | None, names: Mapping[int, str]) -> Line:
        """Say what comes of one booking."""
        changes = [*self.differences(one.before, one.after, names)] if one.before and one.after else []
        return Line(one.booking_id, row, changes, str(one.refusal or ""))

    def differences(self, before: Booking, after: Booking, names: Mapping[int, str]) -> Iterable[Markup]:
        """Give what changed, as it was and as it became."""
        if before.start_time != after.start_time:
            yield changed(self.time(before.start_time), self.time(after.start_time))
        if before.resource_id != after.resource_id:
            yield changed(names[before.resource_id], names[after.resource_id])
        if before.status != after.status:
            yield changed(badge(before, "status"), badge(after, "status"))


def of_row(row: Row) -> Markup:
    """Show the status of a row that was read plainly."""
    return badge(SimpleNamespace(**row), "status")


def changed(was: str, became: str) -> Markup:
    return Markup("<del>{}</del> → <ins>{}</ins>").format(was, became)


def versions_in(sent: str) -> dict[int, int | None]:
    """Read the bookings that a preview showed, each with its version."""
    pairs = (part.partition(":") for part in sent.split(","))
    return {found: max(number(version), 0) for one, _, version in pairs if (found := number(one)) > 0}


async def change_many(
    request: Request, database: Database, templates: Any, view: Any, *, zone: ZoneInfo, now: datetime
) -> Response:
    """Show the page, or what came of it."""
    if not permissions.may(request.state.actor, "change", Booking):
        raise HTTPException(403)
    page = BulkPage(request, database, view, zone=zone, now=now)
    await (page.sent() if request.method == "POST" else page.open())
    answer: Response = await templates.TemplateResponse(request, "sqladmin/bulk.html", page.told)
    return answer


PAGE = OwnPage("/booking/bulk", "bulk", change_many, ("GET", "POST"))
