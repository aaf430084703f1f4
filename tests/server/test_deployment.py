"""The files with which others deploy BookIt: what they say is true, and their steps work on a clean machine."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from bookit.settings import Settings
from hatch_build import NODE_WHEEL
from tests.support.processes import BookitProcess
from tests.support.server import ROOT

FILES = ("Dockerfile", "compose.yaml", "render.yaml", "requirements.txt", "main.py", ".dockerignore")
SETTINGS = {name.upper() for name in Settings.model_fields}
NOT_OURS = {"PORT", "PYTHON_VERSION"}
START = "alembic upgrade head && exec uvicorn main:app --host 0.0.0.0 --port"
INSTALL = "pip install -r requirements.txt"
LEFT_OUT = (".git", ".venv", ".bookit", ".env", "node_modules", "__pycache__", ".*_cache", ".hypothesis", "tests")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def read_yaml(name: str) -> Any:
    return yaml.safe_load(read(name))


def read_dockerfile() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile with their arguments."""
    lines = [line for line in read("Dockerfile").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in joined.splitlines() if line]


def test_requirements_txt_has_the_versions_of_the_lock() -> None:
    locked = re.findall(r"^([a-z].*?) \\$", read("requirements.lock"), re.MULTILINE)
    lines = read("requirements.txt").splitlines()

    assert lines[0].startswith("# ")
    assert lines[1:] == ["--editable .", *locked]


def test_what_builds_bookit_has_hashes_and_one_version() -> None:
    [hatchling] = tomllib.loads(read("pyproject.toml"))["build-system"]["requires"]
    build, node = (read(f"requirements-{group}.lock") for group in ("build", "node"))

    assert f"\n{hatchling} \\\n    --hash=sha256:" in build
    assert f"\n{NODE_WHEEL} \\\n    --hash=sha256:" in node
    assert "--no-build-isolation" in read("Makefile")


def test_the_dockerfile_copies_what_exists_and_starts_the_application() -> None:
    instructions = read_dockerfile()
    copied = [arguments.split()[:-1] for instruction, arguments in instructions if instruction == "COPY"]
    sources = [source for names in copied for source in names]
    [command] = [arguments for instruction, arguments in instructions if instruction == "CMD"]
    shell, option, script = json.loads(command)

    assert {instruction for instruction, _ in instructions} == {
        "FROM", "WORKDIR", "ENV", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK", "CMD"
    }  # fmt: skip
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert any("-r requirements.txt" in arguments for _, arguments in instructions)
    assert (shell, option, script.startswith(f"{START} ${{PORT:-8000}}")) == ("sh", "-c", True)
    assert [name for name in read(".dockerignore").split() if name in FILES] == []


def test_compose_gives_the_application_its_database() -> None:
    services = read_yaml("compose.yaml")["services"]
    environment, database = services["web"]["environment"], services["db"]["environment"]

    assert environment.keys() <= SETTINGS
    assert environment["DATABASE_URL"] == (
        f"postgresql://{database['POSTGRES_USER']}:{database['POSTGRES_PASSWORD']}@db:5432/{database['POSTGRES_DB']}"
    )
    assert environment["SECRET_KEY"].startswith("${SECRET_KEY:?")
    assert services["web"]["depends_on"]["db"] == {"condition": "service_healthy"}
    assert "healthcheck" in services["db"]


def test_render_runs_the_same_steps() -> None:
    blueprint = read_yaml("render.yaml")
    [service] = blueprint["services"]
    variables = {variable["key"]: variable for variable in service["envVars"]}

    assert (service["buildCommand"], service["startCommand"].startswith(f"{START} $PORT")) == (INSTALL, True)
    assert variables.keys() - NOT_OURS <= SETTINGS
    assert variables["DATABASE_URL"]["fromDatabase"]["name"] == blueprint["databases"][0]["name"]
    assert variables["SECRET_KEY"]["generateValue"] is True


@pytest.mark.process
def test_the_steps_work_in_a_clean_environment(tmp_path: Path) -> None:
    """Run the literal commands: install, copy .env.example, migrate and serve, on the embedded database."""
    folder, environment = tmp_path / "app", make_clean_environment(tmp_path / "venv")
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    install = INSTALL.replace("pip", f"{sys.executable} -m pip --quiet --python {tmp_path / 'venv/bin/python'}", 1)
    subprocess.run(f"{install} --no-compile", shell=True, check=True, cwd=folder, env=environment)  # noqa: S602 -- ours
    shutil.copy(folder / ".env.example", folder / ".env")
    script = read_yaml("render.yaml")["services"][0]["startCommand"].replace("0.0.0.0", "127.0.0.1")  # noqa: S104

    process = BookitProcess(("sh", "-c", script), cwd=folder, env={**environment, "PORT": "0"})
    try:
        address = process.wait_for_output(r"Uvicorn running on (http://\S+)")[0]
        with httpx2.Client(base_url=address, trust_env=False) as client:
            paths = ("/readyz", "/services", "/docs", "/static/vendor/swagger-ui/swagger-ui.css", "/admin/login")
            statuses = {path: client.get(path).status_code for path in paths}
        status = process.stop(signal.SIGTERM)
    finally:
        process.kill()

    assert statuses == dict.fromkeys(statuses, 200)
    assert "Traceback" not in process.output
    assert status in {0, -signal.SIGTERM}
    assert not list((folder / ".bookit/postgres").glob("data/postmaster.pid"))


def make_clean_environment(venv: Path) -> dict[str, str]:
    """Create a virtual environment with nothing in it, and return the variables of a shell that has activated it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    ours = {*SETTINGS, "PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME"}
    kept = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith("BOOKIT")}
    return {**kept, "PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "VIRTUAL_ENV": str(venv)}
