"""Accounts: registration, and who may change what. Signing in is in ``test_accounts.py``."""

import os
import sys
from typing import Any

import httpx2
import pytest

from bookit import records
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.people import passwords
from bookit.policy.permissions import Actor
from bookit.schema.tables import Role, Service, User
from tests.support.clock import NOW, TOMORROW_AT_TEN
from tests.support.doors import AT_BOTH_DOORS, AT_THE_ADMIN_ONLY, DoorClient
from tests.support.people import PASSWORD, Person
from tests.support.refusal_assertions import RefusalOutcome
from tests.support.request_helpers import status_and_code

NIA = {"name": "Nia", "email": "nia@example.com", "password": PASSWORD}
NOT_EMAILS = ["", "nia", "nia@localhost", "nia@@example.com", "n ia@example.com", "@example.com", "n" * 250 + "@e.com"]
WRONG = [
    *(("email", value) for value in NOT_EMAILS),
    ("name", ""),
    ("name", "  "),
    ("name", "x" * 101),
    ("password", "7 chars"),
    ("password", "äöü" * 13),
]


async def can_sign_in(client: httpx2.AsyncClient, email: str, password: str) -> int:
    return (await client.post("/auth/login", json={"email": email, "password": password})).status_code


# At the API and at the desk.


@AT_BOTH_DOORS
async def test_a_new_account_is_a_customer(door: DoorClient, visitor: httpx2.AsyncClient) -> None:
    nia = await door.register(**NIA)

    assert nia == {
        "id": 3,
        "name": "Nia",
        "email": "nia@example.com",
        "phone": None,
        "role": "user",
        "resource_id": None,
        "is_active": True,
        "is_demo": False,
        "birthday": None,
        "language": None,
        "created_at": NOW,
        "version": 1,
    }
    assert await can_sign_in(visitor, "nia@example.com", PASSWORD) == 200


@AT_BOTH_DOORS
async def test_an_email_is_unique_regardless_of_case(door: DoorClient) -> None:
    await door.register(**NIA)

    assert await door.register(**NIA | {"email": "NIA@Example.com"}) == RefusalOutcome(no.EmailTaken)


@AT_BOTH_DOORS
@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda text: f"{text:.9}")
async def test_registration_requires_name_email_and_password(door: DoorClient, field: str, value: str) -> None:
    assert await door.register(**NIA | {field: value}) == RefusalOutcome(no.Misshapen, field)


@AT_BOTH_DOORS
@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda text: f"{text:.9}")
async def test_an_account_cannot_lose_name_email_or_password(
    door: DoorClient, tom: Person, field: str, value: str
) -> None:
    assert await door.change_user(tom, **{field: value}) == RefusalOutcome(no.Misshapen, field)


@AT_BOTH_DOORS
@pytest.mark.parametrize("password", ["8 chars!", "äöü" * 12])
async def test_a_password_has_8_characters_and_at_most_72_bytes(
    door: DoorClient, visitor: httpx2.AsyncClient, password: str
) -> None:
    await door.register(**NIA | {"password": password})

    assert await can_sign_in(visitor, "nia@example.com", password) == 200
    assert await can_sign_in(visitor, "nia@example.com", password[:-1]) == 401


@AT_BOTH_DOORS
async def test_a_profile_change_leaves_other_fields_unchanged(door: DoorClient, tom: Person) -> None:
    before = await door.fetch_row(User, tom.id)
    assert before

    after = await door.change_user(tom, name="Thomas", email="thomas@example.com")

    assert after == before | {"name": "Thomas", "email": "thomas@example.com", "version": 2}


@AT_BOTH_DOORS
async def test_a_change_to_the_same_values_changes_nothing(door: DoorClient, tom: Person) -> None:
    before = await door.fetch_row(User, tom.id)

    assert await door.change_user(tom, name="Tom") == before


@AT_BOTH_DOORS
async def test_another_users_email_is_refused(door: DoorClient, tom: Person, eve: Person) -> None:
    assert await door.change_user(tom, email="EVE@example.com") == RefusalOutcome(no.EmailTaken)


@AT_BOTH_DOORS
async def test_a_new_password_revokes_all_tokens(door: DoorClient, tom: Person, visitor: httpx2.AsyncClient) -> None:
    sign_in = (await visitor.post("/auth/login", json={"email": "tom@example.com", "password": PASSWORD})).json()

    await door.change_user(tom, password="a new secret")

    ended = [
        await visitor.post("/auth/refresh", json={"refresh_token": sign_in["refresh_token"]}),
        await visitor.get("/me", headers={"Authorization": f"Bearer {sign_in['access_token']}"}),
    ]
    assert [status_and_code(answer) for answer in ended] == [(401, "sign-in-ended")] * 2
    assert await can_sign_in(visitor, "tom@example.com", PASSWORD) == 401
    assert await can_sign_in(visitor, "tom@example.com", "a new secret") == 200


# At the API only: a user's own account.


async def test_a_user_cannot_change_their_own_role(tom: Person, visitor: httpx2.AsyncClient) -> None:
    joined = await visitor.post("/auth/register", json=NIA | {"role": "admin"})
    changed = await tom.request("PATCH", "/me", json={"role": "admin"})

    assert [status_and_code(joined), status_and_code(changed)] == [(422, "wrong-shape")] * 2


async def test_a_password_change_needs_the_current_password(tom: Person) -> None:
    without = await tom.request("PATCH", "/me", json={"password": "a new secret"})
    wrong = await tom.request("PATCH", "/me", json={"password": "a new secret", "current_password": "guess"})

    assert status_and_code(without) == (400, "current-password-needed")
    assert status_and_code(wrong) == (400, "wrong-current-password")


async def test_an_account_is_returned_without_its_password(visitor: httpx2.AsyncClient) -> None:
    answer = await visitor.post("/auth/register", json=NIA)

    assert (answer.status_code, answer.json()) == (
        201,
        {
            "id": 1,
            "name": "Nia",
            "email": "nia@example.com",
            "role": "user",
            "is_active": True,
            "created_at": "2030-01-07T09:00:00Z",
        },
    )


# At the desk only: other users' accounts.


@AT_THE_ADMIN_ONLY
async def test_an_admin_assigns_and_removes_roles(door: DoorClient, ada: Person, tom: Person) -> None:
    kim = await door.add(User, by=ada, name="Kim", email="kim@example.com", password=PASSWORD, role=Role.STAFF)
    promoted = await door.change_user(tom, role=Role.STAFF)
    gone = await door.change_user(tom, is_active=False)

    assert (kim["role"], promoted["role"], gone["role"], gone["is_active"]) == ("staff", "staff", "staff", False)


@AT_THE_ADMIN_ONLY
async def test_staff_may_not_assign_roles(door: DoorClient, mara: Person, tom: Person) -> None:
    seen = await door.fetch_row(User, tom.id)

    made = await door.add(User, by=mara, name="Kim", email="kim@example.com", password=PASSWORD, role=Role.ADMIN)
    changed = await door.change(User, seen, by=mara, role=Role.STAFF)

    assert [made, changed] == [RefusalOutcome(no.Forbidden)] * 2


@AT_THE_ADMIN_ONLY
async def test_staff_may_change_customers_but_not_colleagues(
    door: DoorClient, mara: Person, ada: Person, tom: Person
) -> None:
    customer, colleague = await door.fetch_row(User, tom.id), await door.fetch_row(User, ada.id)

    assert (await door.change(User, customer, by=mara, name="Thomas"))["name"] == "Thomas"
    assert await door.change(User, colleague, by=mara, name="Adele") == RefusalOutcome(no.Forbidden)


@AT_THE_ADMIN_ONLY
async def test_a_stale_change_is_refused(door: DoorClient, tom: Person) -> None:
    seen = await door.fetch_row(User, tom.id)
    await door.change(User, seen, name="Thomas")

    assert await door.change(User, seen, name="Tommy") == RefusalOutcome(no.Stale)


@AT_THE_ADMIN_ONLY
async def test_an_admin_deletes_an_unreferenced_user(
    door: DoorClient, mara: Person, tom: Person, eve: Person, haircut: Service
) -> None:
    await door.book(tom, haircut, TOMORROW_AT_TEN)

    assert await door.remove(User, eve, by=mara) == RefusalOutcome(no.Forbidden)
    assert await door.remove(User, eve) is None
    assert await door.remove(User, tom) == RefusalOutcome(no.StillInUse)


# The rules themselves, below API and desk.


@pytest.mark.parametrize(
    ("by", "facts", "is_allowed"),
    [
        (Role.STAFF, {"name": "Thomas"}, True),
        (Role.STAFF, {"role": Role.STAFF}, False),
        (Role.STAFF, {"password_hash": "x"}, False),
        (Role.STAFF, {"is_active": False}, False),
        (Role.USER, {"name": "Thomas"}, False),
        (Role.ADMIN, {"role": Role.STAFF}, True),
    ],
)
async def test_staff_change_contact_data_and_an_admin_everything(
    tom: Person, database: Database, by: Role, facts: dict[str, Any], is_allowed: bool
) -> None:
    actor = Actor("admin", 99, by)

    async def change() -> User:
        async with database.transaction(by=actor) as session:
            user = await records.lock(session, User, tom.id)
            return await records.change(session, user, by=actor, now=NOW, **facts)

    if is_allowed:
        assert {name: getattr(await change(), name) for name in facts} == facts
    else:
        with pytest.raises(no.Forbidden):
            await change()


async def test_a_password_is_bounded_before_it_is_hashed() -> None:
    with pytest.raises(no.PasswordTooShort):
        await passwords.hash_password("7 chars")
    with pytest.raises(no.PasswordTooLong):
        await passwords.hash_password("ü" * 37)

    hashes = [await passwords.hash_password(password) for password in ("8 chars!", "ü" * 36)]

    assert [await passwords.verify_password("8 chars!", hashed) for hashed in hashes] == [True, False]


async def test_password_hashing_runs_at_low_priority() -> None:
    def priority() -> int:
        return os.nice(0)

    expected = min(19, priority() + 10) if sys.platform == "linux" else priority()

    assert await passwords.run_in_pool(priority) == expected
    assert priority() == os.getpriority(os.PRIO_PROCESS, os.getpid())
