"""Applications that the tests of one worker share: building one takes longer than most tests."""

from pathlib import Path

from starlette.applications import Starlette

from bookit.clock import Clock
from bookit.db.pool import Database
from bookit.people.last_seen import LastSeen
from bookit.policy.business import CurrentBusiness
from bookit.rate_limits import RateLimits
from bookit.settings import Settings
from server.app import build


class SharedApplications:
    """One application for each settings, on the database and clock of the test that opened it."""

    def __init__(self) -> None:
        self._built: list[tuple[Settings, Starlette]] = []

    def open(self, settings: Settings, *, database: Database, clock: Clock) -> Starlette:
        """Return the application with these settings, on this database and clock from now on."""
        shared = settings.model_copy(update={"bookit_home": Path()})  # a folder of the test, which no request reads
        app = next((app for known, app in self._built if known == shared), None)
        if app is None:
            app = build(shared, clock=clock)
            self._built.append((shared, app))
        app.state.database, app.state.settings, app.state.clock = database, settings, clock
        app.state.business = CurrentBusiness(default_timezone=settings.timezone)
        app.state.rate_limits = RateLimits(settings.rate_limits)  # of no test before
        return app

    def end_streams(self) -> None:
        """End the streams that a test left open and forget whom it saw, so that the next one begins with nobody."""
        for _, app in self._built:
            app.state.staff_site.close_streams()
            app.state.change_feed = None
            app.state.last_seen = LastSeen()  # Each database numbers its sign-ins from 1.

    async def close(self) -> None:
        """Close the connections of each application."""
        for _, app in self._built:
            await app.state.staff_site.close()
