"""What pages of the admin panel read: no whole table, no statement for each row, and no ever-growing form."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import InternalError

from admin.record_view import RecordView
from admin.views import VIEWS
from bookit import records
from bookit.db.pool import Database
from bookit.schema.tables import Booking, Service, User
from bookit.settings import Settings
from tests.support.admin_client import ALL_VIEWS, AdminDesk, BuildApp, ParsedPage
from tests.support.clock import NOW
from tests.support.people import OWNER, Person


async def test_relations_are_never_loaded_whole(desk: AdminDesk, database: Database, visit: Booking) -> None:
    """D6."""
    async with database.transaction(by=OWNER) as session:
        await session.fetch(
            text(
                "INSERT INTO users (name, email, password_hash)"
                " SELECT 'Stranger ' || n, n || '@x.example', 'x' FROM generate_series(1, 200) n"
            )
        )
        await session.fetch(
            text("INSERT INTO opening_hours (resource_id, weekday, opens, closes) VALUES (1, 1, '09:00', '17:00')")
        )

    for path in (
        "booking/create",
        "booking/edit/1",
        "booking/details/1",
        "service/details/1",
        "service/edit/1",
        "opening-hours/create",
        "opening-hours/edit/1",
        "calendar-exception/create",
        f"user/details/{visit.user_id}",
        f"user/edit/{visit.user_id}",
    ):
        with desk.record_statements() as statements:
            page = await desk.ada.get(f"/admin/{path}")
        assert page.status_code == 200
        assert "Stranger" not in page.text, path
        assert all(len(choices) <= 7 for choices in ParsedPage(page.text).selects.values()), path
        assert len(statements) <= 6, (path, statements)
        assert not [item for item in statements if "FROM users" in item and "WHERE" not in item], path


@pytest.mark.parametrize("identity", ALL_VIEWS)
async def test_a_longer_list_takes_no_more_statements(
    desk: AdminDesk, database: Database, tom: Person, haircut: Service, identity: str
) -> None:
    """D6: no statement for each row."""
    counted = []
    for hours in (1, 20):
        async with database.transaction(by=OWNER) as session:
            for hour in range(hours):
                start = datetime(2031, 1, hours, hour, tzinfo=UTC)
                facts: dict[str, Any] = {"user_id": tom.id, "service_id": 1, "start_time": start}
                booking = await records.create(session, Booking, by=OWNER, now=NOW, override_reason="Ok", **facts)
                await session.fetch(
                    text("INSERT INTO reviews (booking_id, rating, comment) VALUES (:b, 5, 'Good')"), b=booking.id
                )
                await session.fetch(
                    text(
                        "INSERT INTO opening_hours (resource_id, weekday, opens, closes) VALUES (1, 1, '9:00', '17:00')"
                    )
                )
                await session.fetch(
                    text(
                        "INSERT INTO calendar_exceptions (resource_id, start_time, end_time)"
                        " VALUES (1, '2030-01-01Z', '2030-01-02Z')"
                    )
                )
        with desk.record_statements() as statements:
            assert (await desk.ada.get(f"/admin/{identity}/list")).status_code == 200
        counted.append(len(statements))

    assert counted[0] == counted[1] <= 6


def test_a_page_must_name_its_columns() -> None:
    """D6."""

    class Careless(RecordView, model=User):
        pass

    with pytest.raises(TypeError, match="Careless does not say its column_list"):
        Careless()


async def test_the_panel_reads_through_its_own_sessions(
    open_door: BuildApp, staff_settings: Settings, database: Database
) -> None:
    """D12: SQLAdmin changes its session maker, so it gets a separate one."""
    app = open_door(staff_settings)

    site = app.state.staff_site

    assert site.session_maker.kw["autoflush"] is False
    holders = [*vars(app.state.database).values(), *vars(database).values()]
    assert site.session_maker not in holders
    assert site.session_maker.kw["bind"] is site.engine


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM services", "UPDATE services SET price = 1", "INSERT INTO resources (name) VALUES ('Chair')"],
)
async def test_the_sessions_of_lists_cannot_write(desk: AdminDesk, haircut: Service, statement: str) -> None:
    context = desk.site.context

    for read in (context.fetch_rows, context.fetch_scalars):
        with pytest.raises(InternalError, match="read-only transaction"):
            await read(text(statement))

    assert [service.price for service in await context.fetch_scalars(select(Service))] == [haircut.price]


async def test_forms_do_not_grow_with_each_page(desk: AdminDesk, haircut: Service) -> None:
    """D13."""
    view = next(view for view in desk.site.views if view.identity == "service")
    assert isinstance(view, RecordView)

    async def how_many() -> dict[str, int]:
        form = (await view.scaffold_form(view._form_edit_rules))()
        return {item.name: len(item.validators) for item in form}

    before = await how_many()
    for _ in range(20):
        assert (await desk.ada.get("/admin/service/edit/1")).status_code == 200

    assert await how_many() == before
    assert max(before.values()) < 6


def test_no_column_has_a_reserved_form_name() -> None:
    """D22."""
    for view in VIEWS:
        assert (
            not {"meta", "data", "errors", "process", "validate", "populate_obj"}
            & vars(view)["model"].model_fields.keys()
        )
