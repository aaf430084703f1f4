"""The command: ``python -m seed [--bookings N] [--seed S]``."""

import sys
import time
from collections import deque
from datetime import timedelta

import anyio
import click

from bookit.clock import system_clock
from bookit.db.pool import Database
from bookit.settings import Settings, read_settings
from seed.business import (
    DEMO_ADMIN,
    DEMO_CUSTOMER,
    DEMO_MANAGER,
    DEMO_PASSWORD,
    DEMO_STAFF,
    DEMO_STYLIST,
    Outcome,
    Summary,
    seed_database,
)
from server.process import (
    CliError,
    install_signal_handlers,
    require_schema,
    require_timezones,
    running_database,
    user_errors,
)

BAR_WIDTH = 24  # characters
REDRAW_SECONDS = 0.1  # seconds between two drawings
RATE_SAMPLES = 50  # drawings: the rate is their average, because the first bookings take longer than the rest
MAX_BOOKINGS = 20_000_000


class ProgressBar:
    """Shows the progress on standard error: one line that is redrawn in a terminal, separate lines elsewhere."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.is_terminal = sys.stderr.isatty()
        self.samples = deque([(time.monotonic(), 0)], RATE_SAMPLES)

    def __call__(self, done: int) -> None:
        """Show that this many bookings exist, unless the last drawing is too recent."""
        (drawn_at, drawn), now = self.samples[-1], time.monotonic()
        is_done = done == self.total
        if self.is_terminal and (is_done or now - drawn_at > REDRAW_SECONDS):
            filled = "█" * (BAR_WIDTH * done // self.total)
            click.echo(f"\r  {filled.ljust(BAR_WIDTH, '░')}  {self.format_line(done, now)}\033[K", err=True, nl=is_done)
            self.samples.append((now, done))
        elif not self.is_terminal and 10 * done // self.total > 10 * drawn // self.total:
            click.echo(self.format_line(done, now), err=True)
            self.samples.append((now, done))

    def format_line(self, done: int, now: float) -> str:
        """Return the progress with the current rate and the time that remains at this rate."""
        since, count = self.samples[0]
        rate = (done - count) / max(now - since, 0.001)
        remaining = f", {timedelta(seconds=round((self.total - done) / rate))} left" if done < self.total else ""
        return f"{done:,} of {self.total:,} bookings, {100 * done // self.total}%, {rate:,.0f} a second{remaining}"


async def run_seed(settings: Settings, *, seed: int, bookings: int) -> Summary:
    """Seed the database of these settings and show the progress."""
    async with Database.from_settings(settings, size=1) as database:
        return await seed_database(
            database, now=system_clock(), seed=seed, bookings=bookings, on_progress=ProgressBar(bookings)
        )


def format_report(summary: Summary, seconds: float) -> str:
    """Return what was created and how to sign in."""
    return f"""
  Studio Linden is open. Created in {seconds:.1f} seconds:

    {summary.services:>9,} services
    {summary.resources:>9,} resources
    {summary.customers:>9,} customers
    {summary.bookings:>9,} bookings
    {summary.reviews:>9,} reviews

  Sign in with the password {DEMO_PASSWORD} as

    {DEMO_ADMIN:<22}the owner
    {DEMO_MANAGER:<22}a manager
    {DEMO_STAFF:<22}reception
    {DEMO_STYLIST:<22}a stylist with her own calendar
    {DEMO_CUSTOMER:<22}a customer

  This password is public. Do not enter real customers into this database.
"""


@click.command()
@click.option(
    "--bookings", default=800, show_default=True, type=click.IntRange(0, MAX_BOOKINGS),
    help="The first 1,000 are created one by one. More are copied in bulk, with branches and customers.",
)  # fmt: skip
@click.option("--seed", default=1, show_default=True, help="Another number gives another business.")
def main(*, bookings: int, seed: int) -> None:
    """Fill the database with a demo business: Studio Linden, with its staff, customers, bookings and reviews.

    The database is the one of DATABASE_URL, or the embedded one. Either everything is created or nothing. A database
    that already has the demo business is not changed.
    """
    install_signal_handlers(1)
    start = time.monotonic()
    with user_errors():
        configured = read_settings()
        with running_database(configured) as settings:
            require_schema(settings, may_migrate=configured.is_embedded)
            require_timezones(settings)
            try:
                summary = anyio.run(lambda: run_seed(settings, seed=seed, bookings=bookings))
            except KeyboardInterrupt:
                raise CliError("\nStopped. Nothing was added.") from None
    if summary.outcome == Outcome.SEEDED:
        click.echo(format_report(summary, time.monotonic() - start))
    elif summary.outcome == Outcome.ALREADY_SEEDED:
        click.echo(summary.outcome)
    else:
        raise CliError(summary.outcome)


if __name__ == "__main__":
    main()
