"""The log lines of libraries and of the staff panel, which use the standard library's logging."""

import json
import subprocess
import sys

from server.logs import escape_controls, render_json
from tests.support.server import ROOT

LOG_AN_ERROR = """
import logging
from server.logs import configure_logging

configure_logging()
try:
    raise ValueError("seat")
except ValueError:
    logging.getLogger("bookit.admin").exception("unhandled error", extra={"request_id": "req-1"})
"""


def test_an_unhandled_error_of_the_panel_is_logged_with_its_request_id() -> None:
    result = subprocess.run([sys.executable, "-c", LOG_AN_ERROR], cwd=ROOT, capture_output=True, text=True, check=True)

    line = json.loads(result.stderr)
    assert (line["event"], line["level"], line["request_id"]) == ("unhandled error", "error", "req-1")
    assert line["exception"].endswith("ValueError: seat")


def test_a_path_cannot_reach_the_terminal_nor_fill_the_log() -> None:
    path = "/\x1b[31m\x1b]0;pwned\x07\x9b\u202e\nfake " + "a" * 60_000

    event = escape_controls(None, "info", {"event": "request", "path": path, "exception": "a\x1b\nb", "status": 404})
    line = json.loads(render_json(None, "info", {"event": "request", "path": path}))

    assert event["path"].startswith(r"/\x1b[31m\x1b]0;pwned\x07\x9b\u202e\nfake aaa")
    assert (event["exception"], event["status"]) == ("a\\x1b\nb", 404)
    assert max(len(event["path"]), len(line["path"])) < 300
    assert (line["path"][:200], line["path"][200:]) == (path[:200], "…")
