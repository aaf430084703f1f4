"""A name is something that people can see, at both doors; and people are found however it is typed."""

from typing import Any

from bookit import refusals as no
from bookit.schema.tables import Service
from tests.support.doors import AT_BOTH_DOORS, DoorClient
from tests.support.people import Person
from tests.support.refusal_assertions import RefusalOutcome

MASSAGE: dict[str, Any] = {"title": "Massage", "price": 60, "duration_minutes": 50}


@AT_BOTH_DOORS
async def test_a_name_that_nobody_sees_is_refused(door: DoorClient, tom: Person) -> None:
    for name in ("\u200b", "\u3164", "\u202eeve", "Eve\x1b", "...", "E\u0334\u0335\u0336\u0337\u0338ve", "Eve\ue000"):
        assert await door.change_user(tom, name=name) == RefusalOutcome(no.Misshapen, "name"), name
        assert await door.add(Service, **MASSAGE | {"title": name}) == RefusalOutcome(no.Misshapen, "title"), name


@AT_BOTH_DOORS
async def test_a_name_is_stored_as_people_see_it(door: DoorClient, tom: Person) -> None:
    typed = {
        "  Anna \u00a0 Meier\t": "Anna Meier",
        "Mu\u0308ller\r\nBcc: eve": "Müller Bcc: eve",
        "Sio\u200bbhán": "Siobhán",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467 Meier": "\U0001f468\u200d\U0001f469\u200d\U0001f467 Meier",
    }
    for name, stored in typed.items():
        assert (await door.change_user(tom, name=name))["name"] == stored


@AT_BOTH_DOORS
async def test_the_length_of_a_name_is_measured_as_it_is_stored(door: DoorClient, tom: Person) -> None:
    assert (await door.change_user(tom, name=" " + "u\u0308" * 100 + " "))["name"] == "ü" * 100
    assert await door.change_user(tom, name="ü" * 101) == RefusalOutcome(no.Misshapen, "name")


@AT_BOTH_DOORS
async def test_a_description_keeps_its_lines(door: DoorClient) -> None:
    text = " Soft.  \r\n\r\n\r\n\r\nVery\tsoft \u200b\n"

    row = await door.add(Service, **MASSAGE | {"description": text})

    assert row["description"] == "Soft.\n\nVery soft"


@AT_BOTH_DOORS
async def test_an_unchanged_name_is_no_change(door: DoorClient, tom: Person) -> None:
    row = await door.change_user(tom, name=f" {tom.user.name} ")

    assert (row["name"], row["version"]) == (tom.user.name, tom.user.version)
