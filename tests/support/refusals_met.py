"""A pytest plugin that checks that a full run raises every refusal of BookIt at least once.

Each worker records the refusals that are created while its tests run. At the end the run fails for those that
no test raised. A run of a part of the tests checks nothing.
"""

from collections.abc import Iterator
from typing import Any

import pytest

import api.idempotency  # noqa: F401 -- registers the refusals of the API
from api.problems import iter_refusals
from bookit import refusals as no

MET_REFUSALS: set[str] = set()
BASE_REFUSALS = {
    no.Misshapen,
    no.Invalid,
    no.Conflict,
    no.TooMany,
}  # Base classes that are only raised as a subclass.


def pytest_configure() -> None:
    """Make every refusal record that it was created."""
    made = no.Refusal.__init__

    def noting(self: no.Refusal, **details: object) -> None:
        MET_REFUSALS.add(type(self).__name__)
        made(self, **details)

    no.Refusal.__init__ = noting  # type: ignore[method-assign]  # the original, and a record of the call


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect the refusals of an xdist worker."""
    MET_REFUSALS.update(getattr(node, "workeroutput", {}).get("refusals_met", []))


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Send the refusals to the main process, or fail the run for those that are missing."""
    yield
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["refusals_met"] = sorted(MET_REFUSALS)
        return
    config = session.config
    is_whole = not config.option.keyword and not config.option.file_or_dir and not config.option.markexpr
    unmet = sorted({refusal.__name__ for refusal in iter_refusals() if refusal not in BASE_REFUSALS} - MET_REFUSALS)
    if is_whole and unmet and session.exitstatus == pytest.ExitCode.OK and not config.option.collectonly:
        reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
        reporter.write_line(f"No test meets these refusals: {', '.join(unmet)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
