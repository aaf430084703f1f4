"""A copy of the source in which a test changes tables, and runs Alembic and Python as a developer would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.server import ROOT

Outcome = tuple[int, str, str]


class ScratchProject:
    """A copy of some folders of the project, and the environment that its processes get."""

    def __init__(self, folder: Path, *packages: str, **environment: str) -> None:
        self.folder = folder
        self.environment = environment
        for name in ("bookit", "server", "web", "migrations", *packages):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("vendor"))
        shutil.copy(ROOT / "alembic.ini", folder)

    def replace(self, file: str, old: str, new: str) -> None:
        """Replace text that occurs once in a file."""
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start Python in the copy."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, "DATABASE_URL": "", "PYTHONPATH": str(self.folder), **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def python(self, *arguments: str) -> Outcome:
        """Run Python in the copy; return its status, output and errors."""
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=120)
        return process.returncode, output, errors

    def alembic(self, *arguments: str) -> Outcome:
        """Run one of Alembic's commands in the copy."""
        return self.python("-m", "alembic", *arguments)

    def autogenerate(self, message: str) -> str:
        """Write a migration with Alembic, and return its text."""
        before = self.migrations()
        status, _, errors = self.alembic("revision", "--autogenerate", "-m", message)
        assert (status, errors) == (0, "")
        (new,) = self.migrations() - before
        return new.read_text(encoding="utf-8")

    def migrations(self) -> set[Path]:
        """Return the files of the migrations."""
        return {*(self.folder / "migrations/versions").glob("*.py")}
