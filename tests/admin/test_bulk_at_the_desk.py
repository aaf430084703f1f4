"""The page for bulk changes at the desk: it previews the outcome, and then does exactly that."""

from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from bookit.bookings import bulk
from bookit.bookings.bulk import BulkAction
from bookit.db.pool import Database
from bookit.policy import permissions
from bookit.schema.tables import Booking, Role, Status
from tests.support import bulk_scenario
from tests.support.admin_client import AdminDesk, ParsedPage, get_page_text
from tests.support.bulk_scenario import (
    HALF_HOUR,
    LEA,
    MAX,
    NAILS,
    TEN,
    ZOE,
    create_booking,
    fetch_snapshot,
    fetch_starts,
)
from tests.support.people import Person

BULK = "/admin/booking/bulk"
DAY = {"first": "2030-01-08", "last": "2030-01-08"}


@pytest.fixture
async def business(database: Database, tom: Person, eve: Person, desk: AdminDesk) -> Database:
    """Create the business, with Tom (1), Eve (2), and Mara and Ada at the desk."""
    await bulk_scenario.create_business(database)
    return database


async def send_form(client: httpx2.AsyncClient, step: str, **fields: Any) -> httpx2.Response:
    """Send the form with these fields, as its button does."""
    return await client.post(BULK, data={"mode": "all", "notify_customers": "y", **fields, "step": step})


def button_fields(page: httpx2.Response) -> dict[str, Any]:
    """Return what the button of a preview would send."""
    fields = ParsedPage(page.text.partition('class="bk-bulk-buttons"')[2].partition("</form>")[0]).fields
    assert "versions" in fields, get_page_text(page.text)
    return fields


async def test_the_list_offers_its_bookings_for_a_bulk_change(desk: AdminDesk, business: Database) -> None:
    await bulk_scenario.fill_afternoon(business, 3)
    await create_booking(business, TEN, resource=MAX, user=2)

    listed = await desk.mara.get("/admin/booking/list", params={"resource_id": "1"})
    assert "/admin/booking/bulk?resource_id=1" in listed.text
    page = await desk.mara.get(BULK, params={"resource_id": "1"})

    assert [f'value="{number}" checked' in page.text for number in (1, 2, 3, 4)] == [True, True, True, False]
    ticked = await desk.mara.get(BULK, params={"pks": "4,2,nope,4,-1"})
    assert [f'value="{number}" checked' in ticked.text for number in (1, 2, 3, 4)] == [False, True, False, True]


async def test_all_visits_of_a_customer_are_cancelled_in_one_act(desk: AdminDesk, business: Database) -> None:
    """Also holds, and nobody else's; what is over or cancelled is not offered. The act can be undone."""
    numbers = await bulk_scenario.fill_afternoon(business, 3)
    other = await create_booking(business, TEN, resource=MAX, user=2)
    details = await desk.mara.get("/admin/user/details/1")
    assert f"{BULK}?customer=1" in details.text

    page = await desk.mara.get(BULK, params={"customer": "1"})
    assert [f'value="{number}" checked' in page.text for number in (*numbers, other)] == [True, True, True, False]
    assert '<option value="cancel" selected>' in page.text
    preview = await send_form(desk.mara, "preview", booking=numbers, bulk_action="cancel", mode="works")
    done = await desk.mara.post(BULK, data={**button_fields(preview), "step": "apply"})

    assert "Changed 3 of 3." in get_page_text(done.text)
    left = await desk.mara.get(BULK, params={"customer": "1"})
    assert "No bookings to change." in get_page_text(left.text)
    assert "No bookings to change." in get_page_text((await desk.mara.get(BULK, params={"customer": "x"})).text)


async def test_a_preview_changes_nothing_and_the_run_matches_it(desk: AdminDesk, business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 3)
    before = await fetch_snapshot(business)

    shift = {"booking": numbers, "bulk_action": "shift", "minutes": "15", "reason": "The train is late"}
    preview = await send_form(desk.mara, "preview", **shift)

    assert preview.status_code == 200
    assert "3 of 3 will change. Nothing is saved yet." in get_page_text(preview.text)
    assert "Tue 08 Jan 2030, 11:00 → Tue 08 Jan 2030, 11:15" in get_page_text(preview.text)
    assert await fetch_snapshot(business) == before

    done = await send_form(desk.mara, "apply", **button_fields(preview))

    assert done.status_code == 200
    assert "Changed 3 of 3." in get_page_text(done.text)
    assert await fetch_starts(business) == {one: (TEN + HALF_HOUR * (one - 1) + HALF_HOUR / 2, LEA) for one in numbers}
    (event, *_) = await bulk_scenario.fetch_events(business, 2)
    assert (event["reason"], event["door"], event["notify_customer"]) == ("The train is late", "admin", True)


async def test_the_preview_asks_about_visits_that_overlap(business: Database, desk: AdminDesk) -> None:
    """Nothing is saved before the answer, and the answer is for this change only."""
    await create_booking(business, TEN)
    await create_booking(business, TEN, resource=MAX, user=2)
    await business.fetch(text("UPDATE bookings SET status = 'cancelled'"))
    await create_booking(business, TEN, resource=ZOE, service=NAILS)
    before = await fetch_snapshot(business)

    asked = await send_form(desk.mara, "preview", booking=[1, 2], bulk_action="confirm", reason="Mistake")
    question = asked.text.partition('class="bk-bulk-overlap"')[2].partition("</form>")[0]
    fields = {**ParsedPage(question).fields, "booking": ["1", "2"]}
    preview = await send_form(desk.mara, "preview", **fields)

    assert "Tom already has another visit then: Nails at 10:00 on Tue 8 Jan with Zoe (booking 3)." in get_page_text(
        asked.text
    )
    assert "The customer of one booking has another visit at the time. Are both meant?" in get_page_text(question)
    assert "2 of 2 will change. Nothing is saved yet." in get_page_text(preview.text)
    assert 'class="bk-bulk-overlap"' not in preview.text
    assert await fetch_snapshot(business) == before
    chosen = await send_form(desk.mara, "choose", **fields)
    assert 'name="overlap"' not in chosen.text
    done = await send_form(desk.mara, "apply", **button_fields(preview))
    assert "Changed 2 of 2." in get_page_text(done.text)
    rows = await business.fetch(text("SELECT status FROM bookings WHERE id < 3"))
    assert [row["status"] for row in rows] == ["confirmed", "confirmed"]


async def test_history_records_the_reason_and_the_override_reason(desk: AdminDesk, business: Database) -> None:
    await create_booking(business, TEN)

    await send_form(
        desk.mara,
        "apply",
        bulk_action="shift",
        minutes="15",
        reason="The train is late.",
        override_reason="Tom agreed.",
        versions="1:1",
    )

    (event, *_) = await bulk_scenario.fetch_events(business, 1)
    assert event["reason"] == "The train is late. Tom agreed."


async def test_a_preview_is_run_only_once(desk: AdminDesk, business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 2)
    preview = await send_form(desk.mara, "preview", booking=numbers, bulk_action="shift", minutes="15")

    await send_form(desk.mara, "apply", **button_fields(preview))
    after = await fetch_snapshot(business)
    again = await send_form(desk.mara, "apply", **button_fields(preview))

    assert again.status_code == 409
    assert "Nothing was changed: 2 of 2 bookings could not be changed." in get_page_text(again.text)
    assert "Someone changed this while you were editing." in get_page_text(again.text)
    assert await fetch_snapshot(business) == after


async def test_all_or_nothing_offers_no_button_if_one_is_refused(desk: AdminDesk, business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 2)
    await bulk_scenario.set_status(business, 2, Status.CONFIRMED)

    torn = await send_form(desk.mara, "preview", booking=numbers, bulk_action="confirm")
    assert torn.status_code == 200
    assert "1 of 2 could change. Nothing was saved." in get_page_text(torn.text)
    assert "This booking is already confirmed." in get_page_text(torn.text)
    assert 'value="apply"' not in torn.text

    works = await send_form(desk.mara, "preview", booking=numbers, bulk_action="confirm", mode="works")
    done = await send_form(desk.mara, "apply", **button_fields(works))
    assert "Changed 1 of 2." in get_page_text(done.text)
    assert (await bulk_scenario.fetch_bookings(business))[1]["status"] == "confirmed"


async def test_a_sick_colleagues_day_is_reassigned_from_her_page(desk: AdminDesk, business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 2)
    await create_booking(business, TEN, resource=MAX, user=2)
    assert f"{BULK}?of=1" in (await desk.mara.get("/admin/resource/details/1")).text

    page = await desk.mara.get(BULK, params={"of": "1", **DAY})
    assert "Clear a day for Lea" in get_page_text(page.text)
    preview = await send_form(
        desk.mara, "preview", booking=numbers, bulk_action="elsewhere", mode="works", if_none_free="cancel"
    )
    assert "Lea → Max" in get_page_text(preview.text)
    assert "Pending → Cancelled" in get_page_text(preview.text)
    await send_form(desk.mara, "apply", **button_fields(preview))

    assert {
        number: (row["status"], row["resource_id"])
        for number, row in (await bulk_scenario.fetch_bookings(business)).items()
    } == {
        1: ("cancelled", LEA),
        2: ("pending", MAX),
        3: ("pending", MAX),
    }
    left = await desk.mara.get(BULK, params={"of": "1", **DAY})
    assert "No bookings to change." in get_page_text(left.text)


@pytest.mark.parametrize(
    ("days", "sentence"),
    [
        ({"first": "nope", "last": "2030-01-08"}, "These dates are not valid."),
        ({"first": "2030-01-08\0", "last": ""}, "These dates are not valid."),
        ({"first": "2030-01-08", "last": "2030-01-07"}, "The end of the range must be after its start."),
        ({"first": "2030-01-08", "last": "2031-01-08"}, "Choose at most 62 days."),
        ({"first": "9999-12-31", "last": "9999-12-31"}, "Choose a date between the years 2000 and 2999."),
    ],
)
async def test_an_invalid_day_is_reported(
    desk: AdminDesk, business: Database, days: dict[str, str], sentence: str
) -> None:
    page = await desk.mara.get(BULK, params={"of": "1", **days})

    assert page.status_code == 200
    assert sentence in get_page_text(page.text)


@pytest.mark.parametrize(
    ("fields", "status", "sentence"),
    [
        ({"bulk_action": "cancel"}, 400, "Choose at least one booking."),
        ({"bulk_action": "cancel", "booking": ["nope", "-1", "\0", "9" * 30]}, 400, "Choose at least one booking."),
        (
            {"bulk_action": "cancel", "booking": [str(n) for n in range(1, 502)]},
            400,
            "At most 500 bookings can be changed",
        ),
        ({"bulk_action": "swap", "booking": ["1"]}, 400, "Choose two bookings to swap."),
        ({"bulk_action": "shift", "booking": ["1"], "minutes": "0"}, 422, "Move bookings by 1 to 1440 minutes"),
        ({"bulk_action": "shift", "booking": ["1"], "minutes": "99999999999999"}, 422, "Move bookings by 1 to"),
        ({"bulk_action": "shift", "booking": ["1"], "minutes": "ten"}, 422, "Move bookings by 1 to 1440 minutes"),
        ({"bulk_action": "vanish", "booking": ["1"]}, 400, "There is no such action."),
        ({"bulk_action": "reassign", "booking": ["1"], "resource": "9" * 30}, 200, "There is no such resource."),
        ({"bulk_action": "cancel", "booking": ["1", "999"]}, 200, "There is no such booking."),
    ],
)
async def test_invalid_bulk_input_is_refused_in_a_sentence(
    desk: AdminDesk, business: Database, fields: dict[str, Any], status: int, sentence: str
) -> None:
    await create_booking(business, TEN)
    before = await fetch_snapshot(business)

    answer = await send_form(desk.mara, "preview", **fields)

    assert (answer.status_code, sentence in get_page_text(answer.text)) == (status, True), get_page_text(answer.text)
    assert await fetch_snapshot(business) == before


@pytest.mark.parametrize("seen", ["", "1", "1:", "1:99", "nope:1", "1:1:1", "\0", "9" * 40 + ":1", "999:1"])
async def test_a_crafted_preview_changes_nothing(desk: AdminDesk, business: Database, seen: str) -> None:
    await create_booking(business, TEN)
    before = await fetch_snapshot(business)

    answer = await send_form(desk.mara, "apply", bulk_action="cancel", versions=seen)

    assert answer.status_code in {400, 409}
    assert await fetch_snapshot(business) == before


async def test_a_selection_over_the_limit_is_cut_with_a_notice(
    desk: AdminDesk, business: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MAX_BOOKINGS", 2)
    await bulk_scenario.fill_afternoon(business, 3)

    page = await desk.mara.get(BULK)

    assert "Only the first 2 are listed. You can change at most 2 at once." in get_page_text(page.text)
    assert page.text.count('name="booking"') == 2


async def test_bulk_changes_need_the_right_to_change_bookings(
    desk: AdminDesk, business: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create_booking(business, TEN)
    monkeypatch.setattr(
        permissions,
        "PERMISSIONS_BY_ROLE",
        {**permissions.PERMISSIONS_BY_ROLE, Role.STAFF: {Booking: permissions.READ_ONLY}},
    )

    assert (await desk.mara.get(BULK)).status_code == 403
    assert (await send_form(desk.mara, "apply", bulk_action="cancel", versions="1:1")).status_code == 403
    assert (await desk.mara.post("/admin/booking/1/undo", data={"event": "1"})).status_code == 403
    assert (await desk.mara.post("/admin/act/an-act")).status_code == 403
    assert BULK not in (await desk.mara.get("/admin/booking/list")).text
    assert (await desk.visitor.get(BULK)).status_code == 302
    assert (await desk.mara.get(BULK, params={"of": "999"})).status_code == 403
    assert (await desk.ada.get(BULK, params={"of": "999"})).status_code == 404


@pytest.mark.parametrize("step", ["preview", "apply"])
@pytest.mark.parametrize("name", ["reason", "override_reason"])
@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("x" * 201, "Use at most 200 characters."),
        ("late\0bus", "Type this again without the hidden sign U+0000."),
    ],
)
async def test_an_invalid_reason_is_refused_and_stays_in_the_form(
    desk: AdminDesk, business: Database, step: str, name: str, typed: str, sentence: str
) -> None:
    await create_booking(business, TEN)
    before = await fetch_snapshot(business)

    fields = {"bulk_action": "shift", "minutes": "15", name: typed, "booking": ["1"], "versions": "1:1"}
    answer = await send_form(desk.mara, step, **fields)

    assert (answer.status_code, sentence in get_page_text(answer.text)) == (422, True), get_page_text(answer.text)
    field = answer.text.partition(f'id="{name}"')[2].partition(">")[0]
    assert f'value="{typed}"' in field
    assert 'aria-invalid="true"' in field
    assert f"{name}-error" in field
    assert 'value="1" checked' in answer.text
    assert await fetch_snapshot(business) == before
    preview = await send_form(desk.mara, "preview", **{**fields, name: "x" * 200})
    assert (preview.status_code, "1 of 1 will change." in get_page_text(preview.text)) == (200, True)


async def test_choosing_another_action_keeps_the_input(desk: AdminDesk, business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 2)
    typed = {"bulk_action": "shift", "minutes": "20", "direction": "earlier", "reason": "Early bird", "mode": "works"}

    page = await send_form(desk.mara, "choose", booking=numbers, **typed)

    fields = ParsedPage(page.text).fields
    assert (fields["minutes"], fields["reason"]) == ("20", "Early bird")
    assert '<option value="earlier" selected>' in page.text
    assert '<option value="works" selected>' in page.text
    assert f'<option value="{BulkAction.SHIFT}" selected>' in page.text


# Changes made together.


async def test_a_bulk_change_is_one_history_entry_and_undone_as_one(desk: AdminDesk, business: Database) -> None:
    numbers = await bulk_scenario.fill_afternoon(business, 3)
    before = await fetch_starts(business)
    preview = await send_form(desk.mara, "preview", booking=numbers, bulk_action="shift", minutes="15")
    done = await send_form(desk.mara, "apply", **button_fields(preview))
    act = (await bulk_scenario.fetch_events(business, 1))[0]["request_id"]
    assert f"/admin/act/{act}" in done.text

    for path, sentence in (
        ("/admin/booking/details/1", "2 other changes made together"),
        ("/admin/event/list", "Moved 3 bookings 15 minutes later"),
    ):
        page = await desk.ada.get(path)
        assert sentence in get_page_text(page.text)
        assert f"/admin/act/{act}" in page.text
    event = (await bulk_scenario.fetch_events(business, 1))[0]["id"]
    assert "2 other changes made together" in get_page_text((await desk.ada.get(f"/admin/event/details/{event}")).text)
    page = await desk.mara.get(f"/admin/act/{act}")
    assert "Undo all" in get_page_text(page.text)
    assert page.text.count("11:15") >= 1

    undone = await desk.mara.post(f"/admin/act/{act}", data={"notify_customer": "y"})

    assert undone.status_code == 303
    assert "3 bookings are as they were before." in get_page_text(
        (await desk.mara.get(undone.headers["location"])).text
    )
    assert await fetch_starts(business) == before
    again = await desk.mara.post(f"/admin/act/{act}", data={})
    assert again.status_code == 409
    assert "This has changed since, so it cannot be undone." in get_page_text(again.text)


@pytest.mark.parametrize("act", ["nope", "a b", "x" * 65, "%00", "..", "'"])
async def test_an_unknown_act_is_not_found(desk: AdminDesk, business: Database, act: str) -> None:
    assert (await desk.mara.get(f"/admin/act/{act}")).status_code in {404, 307}
