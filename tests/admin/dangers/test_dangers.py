"""Each known danger of SQLAdmin is demonstrated there and absent from BookIt's panel, by the same probe.

A probe names its symptoms and reports which of them it saw. In BookIt's panel it must see none of them, and in
SQLAdmin's all: so no probe passes because it cannot fail, and a version of SQLAdmin that closes a danger is noticed.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from bookit.db.pool import Database
from bookit.policy import permissions
from bookit.schema.tables import Booking, Role
from bookit.settings import Settings
from server.app import build
from tests.admin.dangers import of_people, of_reading, of_writing
from tests.admin.dangers.doors import ProbedAdmin, open_browsers, open_stock_admin
from tests.support.clock import Clock
from tests.support.people import Person

Probe = Callable[[ProbedAdmin], Awaitable[dict[str, bool]]]
PROBES: dict[str, Probe] = {
    name.upper(): probe
    for room in (of_reading, of_writing, of_people)
    for name, probe in vars(room).items()
    if name[0] == "d" and name[1:].isdigit()
}
NO_VERBS: frozenset[permissions.Verb] = frozenset()
# Parts of dangers that these tables rule out by construction.
UNTESTABLE_PARTS = {
    "D6: one-to-many relations on details and edit pages": "no table here declares its children",
    "D9: seconds without a response to anyone": "it needs a million rows; that rows are all fetched at once is shown",
    "D15: no sliding expiry": "it needs hours to pass for SQLAdmin's own signer",
    "D17: children whose parent becomes NULL": "no table here declares its children, and every link is a constraint",
    "D19: an audit that fails is only logged": "history is written by triggers here, in the transaction itself",
}


@pytest.fixture
def everything(cast: dict[str, Person], visit: Booking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Create a booking and the cast, in a folder of the test's own, whose files may be served."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
async def ours(
    settings: Settings, clock: Clock, database: Database, monkeypatch: pytest.MonkeyPatch, everything: None
) -> AsyncIterator[ProbedAdmin]:
    """Open BookIt's own admin panel, as in production, for this test alone, since a probe may change it."""
    app = build(settings, clock=clock)
    app.state.database = database

    async def history() -> list[str]:
        return [str(row) for row in await database.fetch(text("SELECT * FROM events WHERE door = 'admin' ORDER BY id"))]

    def forbid() -> None:
        monkeypatch.setattr(
            permissions,
            "PERMISSIONS_BY_ROLE",
            {
                **permissions.PERMISSIONS_BY_ROLE,
                Role.STAFF: {**permissions.PERMISSIONS_BY_ROLE[Role.STAFF], Booking: NO_VERBS},
            },
        )

    connections = [*app.state._state.values(), *vars(database).values()]
    async with open_browsers(app) as people:
        yield ProbedAdmin(app, app.state.staff_site, database, app, connections, history, forbid, **people)
    await app.state.staff_site.close()


@pytest.fixture
async def stock(database: Database, everything: None) -> AsyncIterator[ProbedAdmin]:
    """Open plain SQLAdmin on the same rows."""
    async with open_stock_admin(database) as door:
        yield door


@pytest.mark.parametrize("danger", PROBES)
async def test_our_panel_is_safe_from(ours: ProbedAdmin, danger: str) -> None:
    seen = await PROBES[danger](ours)

    assert [harm for harm, is_seen in seen.items() if is_seen] == []


@pytest.mark.parametrize("danger", PROBES)
async def test_plain_sqladmin_is_not_safe_from(stock: ProbedAdmin, danger: str) -> None:
    seen = await PROBES[danger](stock)

    assert seen
    assert [harm for harm, is_seen in seen.items() if not is_seen] == []


def test_every_danger_has_a_probe() -> None:
    assert set(PROBES) == {f"D{number}" for number in range(1, 23)}
    assert {part.split(":")[0] for part in UNTESTABLE_PARTS} <= set(PROBES)
