"""The command: ``python -m seed [--bookings N] [--seed S]``."""

import signal
import sys
import time
from datetime import UTC, datetime, timedelta

import anyio
import click

from bookit.cli import Stop, database_of, plainly, require_schema, stop_cleanly
from bookit.database import Database
from bookit.settings import Settings, read_settings
from seed.business import DEMO_ADMIN, DEMO_CUSTOMER, DEMO_PASSWORD, DEMO_STAFF, Outcome, Summary, plant

BAR = 24  # characters
TENTH = 10  # Where nobody watches, a line at each tenth will do.
MOST = 20_000_000


class Progress:
    """Says how far the bookings are, on standard error: one line that moves in a terminal, plain lines elsewhere."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.began = time.monotonic()
        self.is_watched = sys.stderr.isatty()
        self.said = 0.0

    def __call__(self, done: int) -> None:
        """Hear that so many are made."""
        if self.is_watched:
            if time.monotonic() - self.said > 0.1 or done == self.total:
                self.said = time.monotonic()
                click.echo(f"\r{self.bar(done)}  {self.words(done)}\033[K", err=True, nl=done == self.total)
        elif TENTH * done // self.total > self.said:
            self.said = TENTH * done // self.total
            click.echo(self.words(done), err=True)

    def bar(self, done: int) -> str:
        """Draw it."""
        return ("█" * (BAR * done // self.total)).ljust(BAR, "░")

    def words(self, done: int) -> str:
        """Say it."""
        rate = done / max(time.monotonic() - self.began, 0.001)
        left = timedelta(seconds=round((self.total - done) / max(rate, 1)))
        ending = f"{left} left" if done < self.total else "done"
        return f"{done:,} of {self.total:,} bookings  {100 * done // self.total}%  {rate:,.0f} a second  {ending}"


async def run(settings: Settings, *, seed: int, bookings: int) -> Summary:
    """Plant into this database."""
    database = Database(
        settings.database_url or "", timezone=settings.timezone, size=1, prepared=settings.database_prepared
    )
    await database.open()
    try:
        return await plant(database, now=datetime.now(UTC), seed=seed, bookings=bookings, tell=Progress(bookings))
    finally:
        await database.close()


def report(made: Summary, seconds: float) -> str:
    """Tell a person what there is now, and how to sign in."""
    return f"""
  Studio Linden is open. In {seconds:.1f} seconds it got

    {made.services:>9,} services
    {made.resources:>9,} resources
    {made.customers:>9,} customers
    {made.bookings:>9,} bookings
    {made.reviews:>9,} reviews

  Sign in with the password {DEMO_PASSWORD} as

    {DEMO_ADMIN:<22}the owner (admin)
    {DEMO_STAFF:<22}at the desk (staff)
    {DEMO_CUSTOMER:<22}a customer

  Everybody knows that password: keep real customers out of this database.
"""


@click.command()
@click.option(
    "--bookings", default=800, show_default=True, type=click.IntRange(0, MOST), help="Up to 1,000 are lived through."
    " More are added in bulk, with branches and customers to match."
)  # fmt: skip
@click.option("--seed", default=1, show_default=True, help="The same number on the same day makes the same business.")
def main(*, bookings: int, seed: int) -> None:
    """Fill the database with a made-up business: Studio Linden, with its people, its bookings and its reviews.

    It goes into the database of DATABASE_URL, or into BookIt's own. All of it is made, or nothing is; a database
    that has it already is left as it is.
    """
    signal.signal(signal.SIGTERM, stop_cleanly)
    began = time.monotonic()
    with plainly():
        asked = read_settings()
        with database_of(asked) as settings:
            require_schema(settings, may_migrate=asked.is_embedded)
            try:
                made = anyio.run(lambda: run(settings, seed=seed, bookings=bookings))
            except KeyboardInterrupt:
                raise Stop("\nStopped before the end, so nothing was added.") from None
    if made.outcome == Outcome.PLANTED:
        click.echo(report(made, time.monotonic() - began))
    elif made.outcome == Outcome.WAS_THERE:
        click.echo(made.outcome)
    else:
        raise Stop(made.outcome)


if __name__ == "__main__":
    main()
