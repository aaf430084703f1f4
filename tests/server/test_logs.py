"""The log lines of libraries and of the staff panel, which use the standard library's logging."""

import json
import subprocess
import sys

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
