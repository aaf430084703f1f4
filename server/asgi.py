"""The application for any ASGI server, such as ``uvicorn main:app``.

`bookit serve` prepares the database in a process of its own. Another server only loads the application, so this module
makes the same checks, and runs the embedded database while the server runs.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from starlette.types import ASGIApp, Receive, Scope, Send

from bookit.db.embedded import postgres
from bookit.settings import Settings, read_settings
from server.app import build
from server.logs import configure_logging
from server.process import CliError, require_no_demo_people, require_schema, require_timezones, user_errors


def load() -> ASGIApp:
    """Return the application that the environment describes. End the process with one line if it cannot run."""
    try:
        with user_errors():
            settings = read_settings().with_secret()
            if not settings.is_embedded:
                require_schema(settings, may_migrate=False)
                require_no_demo_people(settings)
                with ThreadPoolExecutor(1) as thread:  # An event loop may run here, and the check brings its own.
                    thread.submit(require_timezones, settings).result()
    except CliError as error:
        sys.exit(error.message)
    configure_logging(debug=settings.debug)
    return EmbeddedApplication(settings) if settings.is_embedded else build(settings)


class EmbeddedApplication:
    """The application on the embedded database, which runs from the start of the server to its end."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on to the application; build it when the server starts."""
        if scope["type"] == "lifespan":
            await self.run(scope, receive, send)
        elif self.app is None:
            raise RuntimeError("The server must run the lifespan of the application, which starts its database.")
        else:
            await self.app(scope, receive, send)

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start the database, and run the application on it until the server stops."""
        with ExitStack() as stack:
            try:
                with user_errors():
                    url = stack.enter_context(postgres(self.settings.bookit_home))
                    settings = self.settings.model_copy(update={"database_url": url})
                    require_schema(settings, may_migrate=True)
                    require_no_demo_people(settings)
            except CliError as error:
                await send({"type": "lifespan.startup.failed", "message": error.message})
                return
            self.app = build(settings)
            await self.app(scope, receive, send)
