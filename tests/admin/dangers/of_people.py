"""Dangers of authentication and permissions."""

import json
from base64 import b64decode
from typing import Any

from sqlalchemy import text

from tests.admin.dangers.doors import ProbedAdmin, make_browser
from tests.support.admin_client import ParsedPage, get_page_text, post_form, sign_in
from tests.support.people import OWNER

Findings = dict[str, bool]


async def d14(door: ProbedAdmin) -> Findings:
    """A panel without authentication is open, and every user may do everything."""
    async with make_browser(door.minimal_app) as stranger:
        listed = await stranger.get("/admin/user/list")
    form = ParsedPage((await door.ada.get("/admin/service/edit/1")).text).fields

    await post_form(door.mara, "/admin/service/edit/1", {**form, "title": "Mine"})

    return {
        "open": listed.status_code == 200 and "tom@example.com" in listed.text,
        "staff do what is the admin's": (await door.fetch_row("services", 1))["title"] == "Mine",
    }


async def d15(door: ProbedAdmin) -> Findings:
    """The cookie is sent everywhere, and stays valid whatever happens to its user."""
    signed_in = await sign_in(door.visitor, "mara@example.com")
    cookie = signed_in.headers.get_list("set-cookie")[-1].lower()  # That of the device comes before the session's.
    parts = set(cookie.split("; "))
    for _ in range(2):  # No page in between: a double click, or two windows.
        await door.run_action(door.mara, "cancel")
    cookies = door.mara.cookies.jar
    sessions = [decode_session(str(cookie.value)) for cookie in cookies if not cookie.name.endswith("_device")]
    waiting = [messages for session in sessions if (messages := session.get("_messages"))]
    async with door.database.transaction(by=OWNER) as session:
        await session.fetch(text("UPDATE users SET is_active = false WHERE email = 'mara@example.com'"))

    return {
        "over plain HTTP": "secure" not in parts,
        "to every page of this host": "path=/" in parts,
        "for days": "max-age=1209600" in parts,
        "with one message at most": [len(messages) for messages in waiting] == [1],
        "for a deactivated user": (await door.mara.get("/admin/booking/list")).status_code == 200,
    }


def decode_session(cookie: str) -> dict[str, Any]:
    """Return the content of a session cookie, which is signed but not encrypted."""
    session: dict[str, Any] = json.loads(b64decode(cookie.split(".", maxsplit=1)[0] + "=="))
    return session


async def d16(door: ProbedAdmin) -> Findings:
    """Passwords can be guessed without a limit, and sign-in redirects to other sites."""
    await door.visitor.get("/admin/user/list?search=tom")
    landed = (await sign_in(door.visitor, "mara@example.com")).headers["location"]
    async with make_browser(door.app) as guesser:
        for _ in range(20):
            await sign_in(guesser, "mara@example.com", "wrong")
        guessed = await sign_in(guesser, "mara@example.com")

    return {"elsewhere": "search=tom" not in landed, "as fast as one likes": guessed.is_redirect}


async def d20(door: ProbedAdmin) -> Findings:
    """Actions and custom pages check no permission on the row."""
    door.forbid_bookings()
    assert (await door.mara.get("/admin/booking/details/1")).status_code == 403

    await door.run_action(door.mara, "cancel")
    page = await door.mara.get("/admin/booking/takings")

    return {
        "an act": (await door.fetch_row("bookings", 1))["status"] == "cancelled",
        "a page of one's own": page.status_code == 200 and "35.00" in get_page_text(page.text),
    }
