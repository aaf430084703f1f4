"""A range of days that ends before it starts is refused at both doors, in lists, reports and exports."""

import pytest

from bookit.refusals import RangeReversed
from bookit.schema.tables import Service
from tests.support.admin_client import AdminDesk
from tests.support.people import Person
from tests.support.request_helpers import status_and_code

API_PATHS = ["/bookings", "/services/1/availability", "/reports/revenue", "/reports/utilisation"]
DESK_PATHS = ["/admin/booking/list", "/admin/booking/export/csv", "/admin/booking/export/xlsx", "/admin/booking/bulk"]


@pytest.mark.parametrize(
    ("first", "last", "is_reversed"),
    [("2030-02-02", "2030-02-01", True), ("2031-01-01", "2030-12-31", True), ("2030-02-01", "2030-02-01", False)],
    ids=["one day", "a year", "the same day"],
)
async def test_a_reversed_range_is_refused_at_both_doors(
    first: str, last: str, is_reversed: bool, desk: AdminDesk, ada: Person, haircut: Service
) -> None:
    days = {"from_date": first, "to_date": last}

    in_api = {path: await ada.request("GET", path, params=days) for path in API_PATHS}
    reports = [await desk.ada.get("/admin/reports", params={**days, **more}) for more in ({}, {"as": "csv"})]
    lists = {path: await desk.ada.get(path, params={"start_time": f"{first}..{last}"}) for path in DESK_PATHS}

    status = 400 if is_reversed else 200
    code = "range-reversed" if is_reversed else None
    assert {path: status_and_code(answer) for path, answer in in_api.items()} == dict.fromkeys(
        API_PATHS, (status, code)
    )
    assert [answer.status_code for answer in reports] == [status] * 2
    assert {path: answer.status_code for path, answer in lists.items()} == dict.fromkeys(DESK_PATHS, status)
    assert all((str(RangeReversed()) in answer.text) == is_reversed for answer in [*reports, *lists.values()])
