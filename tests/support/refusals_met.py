"""A pytest plugin: over a whole run, every refusal BookIt can speak is really spoken.

Each worker writes down the refusals that are made while its tests run; at the end the run fails for those that
nobody met. A run of a part of the tests says nothing.
"""

from collections.abc import Iterator
from typing import Any

import pytest

import api.idempotency  # noqa: F401 -- so that every refusal of the API is known
from api.problems import iter_refusals
from bookit import refusals as no

MET_REFUSALS: set[str] = set()
BASE_REFUSALS = {
    no.Misshapen,
    no.Invalid,
    no.Conflict,
    no.TooMany,
}  # Kinds that are only ever spoken as something more exact.


def pytest_configure() -> None:
    """Have every refusal note that it was made."""
    made = no.Refusal.__init__

    def noting(self: no.Refusal, **details: object) -> None:
        MET_REFUSALS.add(type(self).__name__)
        made(self, **details)

    no.Refusal.__init__ = noting  # type: ignore[method-assign]  # it does what it did, and notes it


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker of xdist has met."""
    MET_REFUSALS.update(getattr(node, "workeroutput", {}).get("refusals_met", []))


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Hand over what was met, or fail the whole run for what was not."""
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
