"""What the whole test run does, beside its tests."""

import os

from bookit.db.embedded import read_timezones_of_server
from tests.support.databases import SERVER_VARIABLE

pytest_plugins = ["tests.support.refusals_met"]
if not os.environ.get(SERVER_VARIABLE):
    read_timezones_of_server()  # before a test module makes a ZoneInfo
