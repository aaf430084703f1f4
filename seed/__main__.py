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
from seed.business import DEMO_ADMIN, DEMO_CUSTOMER, DEMO_PASSWORD, DEMO_STAFF, Outcome, Summary, seed_database
from server.process import CliError, install_signal_handlers, require_schema, running_database, user_errors

BAR_WIDTH = 24  # characters
REDRAW_SECONDS = 0.1  # seconds between two drawings
RATE_SAMPLES = 50  # drawings, over which the rate is taken: the studio's first bookings take longer than the rest
MAX_BOOKINGS = 20_000_000


class ProgressBar:
    """Says how far the bookings are, on standard error: one line that moves in a terminal, plain lines elsewhere."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.is_terminal = sys.stderr.isatty()
        self.samples = deque([(time.monotonic(), 0)], RATE_SAMPLES)

    def __call__(self, done: int) -> None:
        """Hear that so many are made."""
        (before, had), now = self.samples[-1], time.monotonic()
        is_done = done == self.total
        if self.is_terminal and (is_done or now - before > REDRAW_SECONDS):
            filled = "█" * (BAR_WIDTH * done // self.total)
            click.echo(f"\r  {filled.ljust(BAR_WIDTH, '░')}  {self.format_line(done, now)}\033[K", err=True, nl=is_done)
            self.samples.append((now, done))
        elif not self.is_terminal and 10 * done // self.total > 10 * had // self.total:
            click.echo(self.format_line(done, now), err=True)
            self.samples.append((now, done))

    def format_line(self, done: int, now: float) -> str:
        """Say it, with the rate of late and the time that is left at this rate."""
        then, had = self.samples[0]
        rate = (done - had) / max(now - then, 0.001)
        left = f", {timedelta(seconds=round((self.total - done) / rate))} left" if done < self.total else ""
        return f"{done:,} of {self.total:,} bookings, {100 * done // self.total}%, {rate:,.0f} a second{left}"


async def run_seed(settings: Settings, *, seed: int, bookings: int) -> Summary:
    """Plant into this database."""
    async with Database.from_settings(settings, size=1) as database:
        return await seed_database(
            database, now=system_clock(), seed=seed, bookings=bookings, on_progress=ProgressBar(bookings)
        )


def format_report(summary: Summary, seconds: float) -> str:
    """Tell a person what there is now, and how to sign in."""
    return f"""
  Studio Linden is open. In {seconds:.1f} seconds it got

    {summary.services:>9,} services
    {summary.resources:>9,} resources
    {summary.customers:>9,} customers
    {summary.bookings:>9,} bookings
    {summary.reviews:>9,} reviews

  Sign in with the password {DEMO_PASSWORD} as

    {DEMO_ADMIN:<22}the owner (admin)
    {DEMO_STAFF:<22}at the desk (staff)
    {DEMO_CUSTOMER:<22}a customer

  Everybody knows that password: keep real customers out of this database.
"""


@click.command()
@click.option(
    "--bookings", default=800, show_default=True, type=click.IntRange(0, MAX_BOOKINGS),
    help="Up to 1,000 are made step by step. More are added in bulk, with branches and customers to match.",
)  # fmt: skip
@click.option("--seed", default=1, show_default=True, help="Another number makes another business.")
def main(*, bookings: int, seed: int) -> None:
    """Fill the database with a made-up business: Studio Linden, with its people, its bookings and its reviews.

    It goes into the database of DATABASE_URL, or into BookIt's own. All of it is made, or nothing is; a database
    that has it already is left as it is.
    """
    install_signal_handlers(1)
    began = time.monotonic()
    with user_errors():
        asked = read_settings()
        with running_database(asked) as settings:
            require_schema(settings, may_migrate=asked.is_embedded)
            try:
                made = anyio.run(lambda: run_seed(settings, seed=seed, bookings=bookings))
            except KeyboardInterrupt:
                raise CliError("\nStopped before the end, so nothing was added.") from None
    if made.outcome == Outcome.SEEDED:
        click.echo(format_report(made, time.monotonic() - began))
    elif made.outcome == Outcome.ALREADY_SEEDED:
        click.echo(made.outcome)
    else:
        raise CliError(made.outcome)


if __name__ == "__main__":
    main()
