"""`make audit` says what it has found, and above all whether it could ask."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import ROOT

SOUND = {"dependencies": [{"name": "starlette", "version": "1.10.0", "vulns": []}]}
FAULTY = {"dependencies": [{"name": "starlette", "version": "0.1", "vulns": [{"id": "CVE-2030-1"}]}]}
SKIPPED = {"dependencies": [{"name": "starlette", "skip_reason": "could not be audited"}]}
NPM_SOUND: dict[str, Any] = {"vulnerabilities": {}}
NPM_FAULTY = {"vulnerabilities": {"chart.js": {"severity": "high"}}}


@pytest.mark.parametrize(
    ("python", "npm", "status", "says"),
    [
        (SOUND, NPM_SOUND, 0, ["Nothing that BookIt runs on has a known fault."]),
        (FAULTY, NPM_SOUND, 1, ["Known fault: starlette 0.1: CVE-2030-1"]),
        (SOUND, NPM_FAULTY, 1, ["Known fault: chart.js: high"]),
        (SKIPPED, NPM_SOUND, 2, ["could not be reached: 1, such as starlette."]),
        (SOUND, {"message": "405"}, 2, ["could not be reached: 1, such as everything in package-lock.json."]),
        ("no JSON", NPM_SOUND, 2, ["could not be reached: 4, such as everything in requirements"]),
        (FAULTY, "no JSON", 1, ["Known fault: starlette 0.1: CVE-2030-1", "could not be reached: 1"]),
    ],
)
def test_an_audit_that_could_not_ask_is_no_good_news(
    tmp_path: Path, python: object, npm: object, status: int, says: list[str]
) -> None:
    for name, answer in (("pip-audit", python), ("npm", npm)):
        program = tmp_path / name
        program.write_text(
            f"#!/bin/sh\ncat <<'END'\n{answer if isinstance(answer, str) else json.dumps(answer)}\nEND\n"
        )
        program.chmod(0o755)

    result = subprocess.run(
        [sys.executable, ROOT / ".ci/audit", tmp_path / "pip-audit"],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == status
    assert [sentence for sentence in says if sentence not in result.stdout] == []
