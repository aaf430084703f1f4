"""The limiter: quotas that refill, in memory and in PostgreSQL, for a million senders."""

import asyncio
import timeit
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import text

from bookit import security_log
from bookit.db.pool import Database
from bookit.policy import rates
from bookit.policy.rates import Rate
from bookit.rate_limits import Counter, RateLimits

TEN_A_MINUTE = Rate("ten", 10)
AGE = text("UPDATE tries SET due_at = due_at - make_interval(secs => :seconds)")


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> RateLimits:
    """Return limits with one rate: ten a minute, for whichever way it is counted."""
    monkeypatch.setattr(rates, "all_rates", lambda: [TEN_A_MINUTE])
    return RateLimits(clock=lambda: 0)


def test_a_full_quota_may_be_used_at_once_and_refills_evenly() -> None:
    counter = Counter(TEN_A_MINUTE, 1)

    at_once = [counter.take("eve", 100, 1) for _ in range(12)]
    later = [counter.take("eve", 100 + seconds, 1) for seconds in (5.9, 6.1, 6.2, 60)]

    assert [usage.remaining for usage in at_once] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0]
    assert [usage.wait for usage in at_once] == [0] * 10 + [6, 6]
    assert [bool(usage.wait) for usage in later] == [True, False, True, False]
    assert later[-1].remaining == 8  # A minute refilled ten: one was taken after six seconds, and one just now.


def test_each_sender_has_a_quota_and_a_cost_takes_more_of_it() -> None:
    counter = Counter(TEN_A_MINUTE, 1)

    requests = (("eve", 8), ("eve", 3), ("eve", 2), ("tom", 10), ("max", 99))
    usages = [counter.take(who, 0, cost) for who, cost in requests]

    assert [(usage.remaining, usage.wait) for usage in usages] == [(2, 0), (0, 6), (0, 0), (0, 0), (0, 0)]


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    counter = Counter(TEN_A_MINUTE, 1)
    counter.take("eve", 10_000, 10)

    assert counter.take("eve", 100, 1).wait == 0


def test_the_memory_for_a_million_addresses_is_bounded() -> None:
    counter = Counter(TEN_A_MINUTE, 1)
    counter.take("busy", 0, 10)

    for number in range(1_000_000):
        counter.take(number, 0, 1)
        if not number % 1000:
            assert counter.take("busy", 0, 1).wait  # whoever still sends is not forgotten

    assert len(counter.full_at) == rates.MAX_COUNTERS


def test_a_check_in_memory_costs_less_than_three_microseconds() -> None:
    limits = RateLimits()
    [rate] = rates.READS.visitor

    seconds = min(timeit.repeat(lambda: limits.take(rate, "203.0.113.7"), number=5_000, repeat=20)) / 5_000

    assert seconds < 3e-6


@pytest.mark.parametrize(("factor", "quota"), [(1, 10), (0.5, 5), (3, 30), (0.001, 1)])
def test_the_setting_multiplies_each_quota(factor: float, quota: int) -> None:
    assert Counter(TEN_A_MINUTE, factor).quota == quota


async def test_all_processes_share_a_quota_in_the_database(database: Database, limits: RateLimits) -> None:
    other = RateLimits()

    usages = await asyncio.gather(
        *[each.take_shared(database, TEN_A_MINUTE, "eve") for each in (limits, other) for _ in range(8)]
    )
    await database.fetch(AGE, seconds=6.1)
    later = [await limits.take_shared(database, TEN_A_MINUTE, "eve") for _ in range(2)]

    assert sum(not usage.wait for usage in usages) == 10
    assert {round(usage.wait) for usage in usages} == {0, 6}
    assert [bool(usage.wait) for usage in later] == [False, True]


async def test_both_ways_of_counting_agree(database: Database, limits: RateLimits) -> None:
    costs = (3, 1, 7, 6, 99, 1)

    in_memory = [limits.take(TEN_A_MINUTE, "eve", cost) for cost in costs]
    shared = [await limits.take_shared(database, TEN_A_MINUTE, "eve", cost) for cost in costs]

    assert [usage.remaining for usage in shared] == [usage.remaining for usage in in_memory]
    assert [round(usage.wait) for usage in shared] == [round(usage.wait) for usage in in_memory]


async def test_a_counter_has_a_name_of_fixed_length_and_a_refused_request_no_row(
    database: Database, limits: RateLimits
) -> None:
    for who in ("x" * 800, "Ünïcode\n", "a\\b", ""):
        await limits.take_shared(database, TEN_A_MINUTE, who, 10)
        await limits.take_shared(database, TEN_A_MINUTE, who, 10)

    rows = await database.fetch(text("SELECT length(name) AS length FROM tries"))

    assert [row["length"] for row in rows] == [64] * 4


def test_open_requests_are_counted_while_they_last() -> None:
    limits, [rate] = RateLimits(0.1), rates.STREAMS.staff

    with ExitStack() as stack:
        usages = [stack.enter_context(limits.opened(rate, who)) for who in (1, 1, 1, 1, 2)]
    with limits.opened(rate, 1) as later:
        pass

    assert [(usage.remaining, bool(usage.wait)) for usage in usages] == [
        (2, False), (1, False), (0, False), (0, True), (2, False),
    ]  # fmt: skip
    assert not later.wait
    assert limits.counter_of(rate).open_count == {}


def test_a_refusal_is_reported_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[tuple[str, int]] = []

    def report(_: str, **line: Any) -> None:
        lines.append((line["detail"], line["count"]))

    monkeypatch.setattr(security_log, "report", report)
    moment = [0.0]
    limits = RateLimits(clock=lambda: moment[0])
    [rate] = rates.READS.visitor
    usage = limits.take(rate, "eve")

    for seconds in (0, 1, 2, 61, 62):
        moment[0] = seconds
        limits.refuse(usage, "eve", account=None)
        limits.refuse(usage, 7, account=7)

    assert lines == [("reads", 1), ("reads", 1), ("reads", 3), ("reads", 3)]
