"""What the whole test run does, beside its tests."""

pytest_plugins = ["tests.support.refusals_met"]
