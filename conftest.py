"""What the whole test run does, beside its tests."""

pytest_plugins = ["tests.refusals_met"]
