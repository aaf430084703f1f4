"""The version: `bookit/__init__.py` states it, and the package, the command, the API and the changelog agree."""

import tomllib

import httpx2
from click.testing import CliRunner

from bookit import __version__
from server.cli import main
from tests.support.server import ROOT


async def test_the_command_and_the_api_report_the_version(visitor: httpx2.AsyncClient) -> None:
    printed = CliRunner().invoke(main, ["--version"]).output
    document = (await visitor.get("/openapi.json")).json()

    assert printed == f"bookit, version {__version__}\n"
    assert document["info"]["version"] == __version__


def test_the_package_and_the_changelog_have_the_version() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert "version" not in pyproject["project"]
    assert pyproject["project"]["dynamic"] == ["version"]
    assert pyproject["tool"]["hatch"]["version"] == {"path": "bookit/__init__.py"}
    assert f"\n## {__version__} – " in changelog
