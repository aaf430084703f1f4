"""BookIt in the process of a benchmark, and the time, the CPU time and the statements of its pages."""

import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import psycopg
from sqlalchemy import event
from starlette.applications import Starlette

from bookit.settings import Settings
from seed.business import DEMO_ADMIN, DEMO_PASSWORD, DEMO_STAFF
from server.app import build

BASE_URL = "http://bookit.test"


@dataclass
class PageTiming:
    """One page, and what it took each time."""

    title: str
    path: str
    user: str = "staff"
    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    statements: int = 0
    size: int = 0
    status: int = 0

    @property
    def median_ms(self) -> float:
        """The median time, in milliseconds."""
        return statistics.median(self.wall_ms)

    @property
    def median_cpu_ms(self) -> float:
        """The median CPU time, in milliseconds."""
        return statistics.median(self.cpu_ms)


@dataclass
class RunningApp:
    """BookIt in this process, its signed-in clients, and the statements that it runs."""

    app: Starlette
    clients: dict[str, httpx2.AsyncClient]
    statements: list[str]
    url: str
    backends: list[int] = field(default_factory=list)

    def find_backends(self) -> None:
        """Find the PostgreSQL processes that serve this application."""
        with psycopg.connect(self.url) as console:
            rows = console.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()").fetchall()
            self.backends = [pid for (pid,) in rows if pid != console.info.backend_pid]

    def read_cpu_ms(self) -> float:
        """Return the CPU milliseconds of this process and of its connections so far."""
        cpu_ms = time.process_time() * 1000
        for pid in self.backends:
            with suppress(OSError):  # a connection may have been closed
                cpu_ms += int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e6
        return cpu_ms

    async def measure(self, page: PageTiming, *, is_recorded: bool) -> None:
        """Request a page once."""
        self.statements.clear()
        before, start = self.read_cpu_ms(), time.perf_counter()
        response = await self.clients[page.user].get(page.path)
        wall_ms = (time.perf_counter() - start) * 1000
        cpu_ms = self.read_cpu_ms() - before
        page.statements = max(page.statements, len(self.statements))
        page.size, page.status = len(response.content), response.status_code
        if is_recorded:
            page.wall_ms.append(wall_ms)
            page.cpu_ms.append(cpu_ms)


@asynccontextmanager
async def open_app(home: Path, url: str) -> AsyncIterator[RunningApp]:
    """Run BookIt on this database, with staff and admin signed in, and record every statement."""
    settings = Settings(
        database_url=url, bookit_home=home, timezone="Europe/Berlin", secret_key="x" * 40,
        rate_limits=0,
        _env_file=None,
    )  # fmt: skip
    app, statements = build(settings), list[str]()
    event.listen(app.state.staff_site.engine.sync_engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    fetch = app.state.database.fetch

    async def record(statement: Any, **values: Any) -> Any:
        statements.append(str(statement))
        return await fetch(statement, **values)

    app.state.database.fetch = record
    async with app.router.lifespan_context(app):
        clients = {}
        for user, email in (("staff", DEMO_STAFF), ("admin", DEMO_ADMIN)):
            clients[user] = client = httpx2.AsyncClient(
                transport=httpx2.ASGITransport(app), base_url=BASE_URL, headers={"origin": BASE_URL}
            )
            response = await client.post("/admin/login", data={"username": email, "password": DEMO_PASSWORD})
            assert response.status_code == 303, response.text
        yield RunningApp(app, clients, statements, url)
        for client in clients.values():
            await client.aclose()
