"""The statements of ``bookit/bookings/`` that are built from parts are the ones in ``snapshots/``."""

import pytest

from tests.support.snapshots import STATEMENTS, TESTS, sql_of


@pytest.mark.parametrize("name", [name for name in STATEMENTS if name.startswith("bookings/")])
def test_a_statement_is_as_its_snapshot(name: str) -> None:
    assert sql_of(name) == (TESTS / name).read_text(encoding="utf-8")
