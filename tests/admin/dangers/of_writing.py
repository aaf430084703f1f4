"""Dangers of writing, and of its messages."""

from typing import Any, cast
from urllib.parse import unquote_plus

from sqlalchemy import text

from tests.admin.dangers.doors import ProbedAdmin
from tests.support.admin_client import INTERNALS_PATTERN, ParsedPage, get_page_text, post_form, submit_form
from tests.support.people import OWNER, PASSWORD

Findings = dict[str, bool]
# A new row, with every field of SQLAdmin's form.
REQUIRED_FIELDS = {"created_at": "2030-01-07 09:00:00", "version": "1", "is_active": "y"}
NEW_RESOURCE = {"name": "Lea", "capacity": "1", "timezone": "UTC", **REQUIRED_FIELDS}
SECRET = "hunter2 hunter2"
NEW_USER = {"name": "Twin", "role": "user", "password": SECRET, "password_hash": SECRET, **REQUIRED_FIELDS}

WTFORMS_ATTRIBUTES = {"meta", "data", "errors", "process", "validate", "populate_obj"}


async def d2(door: ProbedAdmin) -> Findings:
    """A link does what only a button should."""
    await door.ada.get("/admin/booking/action/cancel", params={"pks": "1"})
    booking = await door.fetch_row("bookings", 1)
    await door.ada.get("/admin/logout")
    after = await door.ada.get("/admin/resource/list")

    return {"it cancels": booking["status"] == "cancelled", "it signs out": after.status_code != 200}


async def d3(door: ProbedAdmin) -> Findings:
    """A form of another site is submitted in the user's name."""
    assert (await post_form(door.ada, "/admin/resource/create", NEW_RESOURCE)).status == 302
    foreign = {"origin": "https://shop.bookit.test", "sec-fetch-site": "same-site"}
    who = {"username": "mara@example.com", "password": PASSWORD}

    await door.ada.post(
        "/admin/resource/create", data={**NEW_RESOURCE, "name": "Evil", "save": "Save"}, headers=foreign
    )
    signed_in = await door.visitor.post("/admin/login", data=who, headers=foreign)

    return {"it writes": "Evil" in await door.fetch_names(), "it signs one in": "set-cookie" in signed_in.headers}


async def d4(door: ProbedAdmin) -> Findings:
    """Database errors are shown in full, with the values that were sent."""
    assert (await post_form(door.ada, "/admin/user/create", {**NEW_USER, "email": "twin@example.com"})).status == 302
    twice = await post_form(door.ada, "/admin/user/create", {**NEW_USER, "email": "twin@example.com"})
    assert twice.is_refused
    tom = (await door.fetch_row("bookings", 1))["user_id"]
    gone = await door.ada.delete("/admin/user/delete", params={"pks": str(tom)})

    return {
        "its statement": "[SQL" in twice.text,
        "the values that were sent": SECRET in twice.text,
        "in the address, too": "SQL" in gone.text,
    }


async def d7(door: ProbedAdmin) -> Findings:
    """An edit overwrites a concurrent change."""
    opened = ParsedPage((await door.ada.get("/admin/resource/edit/1")).text).fields
    assert (await submit_form(door.ada, "/admin/resource/edit/1", name="Max")).status == 302

    await post_form(door.ada, "/admin/resource/edit/1", {**opened, "timezone": "Europe/Berlin"})

    return {"the name is the old one": (await door.fetch_row("resources", 1))["name"] != "Max"}


async def d8(door: ProbedAdmin) -> Findings:
    """The bounds that a SQLModel class declares do not apply in its form."""
    await submit_form(door.ada, "/admin/service/edit/1", price="1.005")
    service = await door.fetch_row("services", 1)
    below = await submit_form(door.ada, "/admin/service/edit/1", price="-5")
    assert below.is_refused

    return {
        "half a cent": service["price"] != 35,
        "only the database knows of a price below zero": bool(INTERNALS_PATTERN.search(below.text)),
    }


async def d10(door: ProbedAdmin) -> Findings:
    """A hook that fails after the commit makes the page report that nothing was saved."""

    async def fail(*_: Any) -> None:
        raise RuntimeError("The mail server is down.")

    door.view("resource").after_model_change = fail

    answer = await post_form(door.ada, "/admin/resource/create", NEW_RESOURCE)

    return {"saved, but reported as not saved": answer.status != 302 and "Lea" in await door.fetch_names()}


async def d11(door: ProbedAdmin) -> Findings:
    """Imported rows bypass the hooks of a form."""
    view, hooked = door.view("resource"), []

    async def note(*args: Any) -> None:
        hooked.append(args)

    view.can_import, view.on_model_change = True, note
    view._import_prop_names = ["name", "capacity", "timezone"]
    sent = {"csvfile": ("rows.csv", b"name,capacity,timezone\nLea,1,UTC\n", "text/csv")}
    await door.ada.post("/admin/resource/import", files=sent)

    return {"past the hooks": "Lea" in await door.fetch_names() and not hooked}


async def d17(door: ProbedAdmin) -> Findings:
    """Of several rows, one is deleted and one is not, and no message says so."""
    assert (await post_form(door.ada, "/admin/user/create", {**NEW_USER, "email": "twin@example.com"})).status == 302
    ids = await door.database.fetch(text("SELECT id FROM users WHERE name IN ('Twin', 'Tom') ORDER BY id DESC"))

    answer = await door.ada.delete("/admin/user/delete", params={"pks": ",".join(str(row["id"]) for row in ids)})

    names = await door.fetch_names("users")
    next_page = get_page_text((await door.ada.get(answer.text)).text)
    assert ("Twin" in names, "Tom" in names) == (False, True)
    return {
        "an error of the database for it": bool(INTERNALS_PATTERN.search(unquote_plus(answer.text) + next_page)),
        "and not which row": f"#{ids[1]['id']}: " not in next_page,
    }


async def d18(door: ProbedAdmin) -> Findings:
    """Fields that a form does not offer can be changed, and fields that were not sent are emptied."""
    async with door.database.transaction(by=OWNER) as session:
        await session.fetch(text("UPDATE services SET horizon_days = 30 WHERE id = 1"))
    await submit_form(door.ada, "/admin/booking/edit/1", price="1")
    await submit_form(door.ada, "/admin/service/edit/1", "horizon_days", title="Cut")
    service = await door.fetch_row("services", 1)
    assert service["title"] == "Cut"

    return {
        "a read-only price": (await door.fetch_row("bookings", 1))["price"] == 1,
        "a field that was not sent": service["horizon_days"] is None,
    }


async def d19(door: ProbedAdmin) -> Findings:
    """History has the typed values, and neither the former values nor the actions."""
    await submit_form(door.ada, "/admin/resource/edit/1", name="Max")
    await post_form(door.ada, "/admin/user/create", {**NEW_USER, "email": "twin@example.com"})
    entries = await door.history()
    assert any("Max" in entry for entry in entries)
    assert any("Twin" in entry for entry in entries)
    await door.run_action(door.ada, "cancel")
    assert (await door.fetch_row("bookings", 1))["status"] == "cancelled"

    return {
        "a password": any(SECRET in entry for entry in entries),
        "not what it was": not any("Max" in entry and "Haircut" in entry for entry in entries),
        "no act": len(await door.history()) == len(entries),
    }


async def d22(door: ProbedAdmin) -> Findings:
    """A column with a name that WTForms uses itself breaks every form."""
    tables = {
        view.identity: set(cast("Any", view)._mapper.columns.keys())
        for view in door.site.views
        if hasattr(view, "model")
    }
    assert len(tables) >= 4
    answers = [(await door.ada.post(f"/admin/{identity}/create")).status_code for identity in tables]

    return {
        "there is such a column": bool(set().union(*tables.values()) & WTFORMS_ATTRIBUTES),
        "a form is a bug": 500 in answers,
    }
