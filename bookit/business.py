"""The settings of the business: how its row is changed, and how each process follows it.

Pages and rules take the settings from memory, so no request waits for them. A process reads the row every two seconds.
"""

import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import anyio
from sqlalchemy import text
from sqlmodel import col, select

from bookit import catalogue
from bookit import refusals as no
from bookit.db.pool import Database
from bookit.db.session import Reader, Session
from bookit.policy.business import CurrentBusiness, count_decimals, is_locale, is_offered, list_currencies
from bookit.policy.permissions import Actor
from bookit.schema.fields import DEFAULT_BUSINESS_NAME
from bookit.schema.tables import Business, Service

log = logging.getLogger("bookit.business")
READ_INTERVAL_SECONDS = 2
MAX_FIRST_READ_SECONDS = 5  # that a server waits for before it starts
MAX_NAMED = 3  # services
SELECT_BUSINESS = select(Business)
SELECT_FRACTIONAL_PRICES = (
    select(Service.title)
    .where(col(Service.price) % 1 != 0)
    .order_by(col(Service.title), col(Service.id))
    .limit(MAX_NAMED + 1)
)
# What an owner does first, and whether it is done.
SELECT_FIRST_STEPS = text("""
SELECT (SELECT timezone IS NOT NULL AND name <> :default_name FROM business) AS business,
       EXISTS (SELECT FROM opening_hours h JOIN resources r ON r.id = h.resource_id WHERE r.is_active) AS team,
       EXISTS (SELECT FROM services WHERE is_active) AS services,
       EXISTS (SELECT FROM bookings) AS booking,
       EXISTS (SELECT FROM resources) AS resources
""")


async def change(session: Session, row: Business, *, by: Actor, now: datetime, **changes: Any) -> Business:
    """Change the settings of the business. Resources keep their time zones, and prices their numbers."""
    del by
    if "timezone" in changes:
        if not changes["timezone"]:
            raise no.UnknownTimezone
        await catalogue.require_timezone(session, changes, now=now)
    if "currency" in changes:
        await require_currency(session, changes["currency"])
    if "locale" in changes and not is_locale(changes["locale"]):
        raise no.UnknownLocale
    return await session.update(row, **changes)


async def require_currency(session: Session, currency: str) -> None:
    """Raise a refusal unless all prices can be in this currency. The caller has locked the business."""
    if currency not in list_currencies():
        raise no.UnknownCurrency
    decimals = count_decimals(currency)
    if not is_offered(currency):
        raise no.CurrencyNotOffered(decimals=decimals)
    if not decimals:
        titles = [row["title"] for row in await session.fetch(SELECT_FRACTIONAL_PRICES)]
        if titles:
            raise no.PricesNotWhole(services=name_some(titles))


def name_some(titles: Collection[str]) -> str:
    """Return the first of these titles, and that there are others."""
    return ", ".join([*titles][:MAX_NAMED]) + (" and others" if len(titles) > MAX_NAMED else "")


async def find_first_steps(reader: Reader) -> dict[str, bool]:
    """Return whether each first step is done: ``business``, ``team``, ``services`` and ``booking``.

    ``resources`` is whether there is any resource yet, which a team and a service need.
    """
    (row,) = await reader.fetch(SELECT_FIRST_STEPS, default_name=DEFAULT_BUSINESS_NAME)
    return row


async def read(reader: Reader, current: CurrentBusiness) -> None:
    """Read the settings. They count in this process from now on."""
    for row in await reader.fetch(SELECT_BUSINESS):
        current.update(row)


async def read_periodically(database: Database, current: CurrentBusiness) -> None:
    """Read the settings every two seconds, until cancelled."""
    while True:
        await anyio.sleep(READ_INTERVAL_SECONDS)
        await try_to_read(database, current)


async def try_to_read(database: Database, current: CurrentBusiness) -> None:
    """Read the settings. If that fails, those of before count on."""
    try:
        await read(database, current)
    except no.Busy:
        pass  # bookit.db.incidents has logged the reason, once a minute.
    except Exception:
        # A failed read must not stop the server.
        log.exception("The settings of the business cannot be read; BookIt tries again.")


@asynccontextmanager
async def follow(database: Database, current: CurrentBusiness) -> AsyncIterator[None]:
    """Use the settings of the business from the database while the block runs, also after they change."""
    with anyio.move_on_after(MAX_FIRST_READ_SECONDS):
        await try_to_read(database, current)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_periodically, database, current)
        yield
        tasks.cancel_scope.cancel()
