"""What BookIt wants to be, in numbers, and whether a run says that it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from side_by_side.comparison import BASELINE, BOOKIT, PGBENCH, PLAIN, ROWS, Middle
from side_by_side.contention import PLACES, Crowds
from side_by_side.long_run import Waits
from side_by_side.scaling import ADMIN, SLOTS, Grown

SHARES = (("one", PLAIN, 0.40), ("page", PLAIN, 0.60), ("own", PLAIN, 0.20), ("post", PLAIN, 0.45),
          ("post", PGBENCH, 0.50))  # fmt: skip
TIMES = 10  # the baseline
MOST_MB, MOST_GROWTH = 150, 1.05
Middles = Mapping[tuple[str, str], Middle]


@dataclass(frozen=True)
class Verdict:
    """A target, what was measured, and whether the one meets the other."""

    what: str
    target: str
    measured: str
    is_met: bool

    @property
    def word(self) -> str:
        """How a table says it."""
        return "pass" if self.is_met else "**miss**"


def compared(middles: Middles, row: str, other: str) -> tuple[float, float] | None:
    """Give how BookIt stands to another in a row: in requests a second, and in requests to a second of CPU."""
    ours, theirs = middles.get((row, BOOKIT)), middles.get((row, other))
    if not (ours and theirs and theirs.rate and ours.whole):
        return None
    return ours.rate / theirs.rate, theirs.whole / ours.whole


def of_contest(middles: Middles) -> Iterator[Verdict]:
    wanted = [(row, other, share, "of") for row, other, share in SHARES]
    wanted += [(row, BASELINE, TIMES, "×") for row in ROWS]
    for row, other, least, sign in wanted:
        found = compared(middles, row, other)
        if found:
            for ratio, by in zip(found, ("by requests a second", "by CPU a request"), strict=True):
                target = f"≥ {least:.2f} {sign} {other}" if sign == "of" else f"≥ {least} {sign} {other}"
                yield Verdict(f"{ROWS[row]}, {by}", target, f"{ratio:.2f}", ratio >= least)
    posted = middles.get(("post", BOOKIT))
    if posted:
        yield Verdict("POST /bookings, share answered 201", "≥ 0.99", f"{posted.kept:.4f}", posted.kept >= 0.99)


def of_crowds(crowds: Crowds) -> Iterator[Verdict]:
    ours, day = crowds.bookit, crowds.day
    is_once = set(ours.sold) == {1}
    yield Verdict("64 clients on one slot: sold", "once each time", f"{min(ours.sold)}–{max(ours.sold)} times", is_once)
    waited = ours.waited(99)
    yield Verdict("64 clients on one slot: p99", "< 50 ms", f"{waited:.0f} ms", waited < 50)
    for name, crowd in (("64 clients on one slot", ours), ("a day opened at once", day)):
        yield Verdict(f"{name}: answers of 500 and above", "0", str(crowd.broken), not crowd.broken)
        yield Verdict(f"{name}: deadlocks", "0", str(crowd.deadlocks), not crowd.deadlocks)
    sold = ", ".join(map(str, sorted(set(day.sold))))
    yield Verdict("a day opened at once: places sold, each once", f"{PLACES}", sold, set(day.sold) == {PLACES})
    worst = day.waited(100)
    yield Verdict("a day opened at once: longest wait", "≤ 1,000 ms", f"{worst:,.0f} ms", worst <= 1000)


def of_waits(waits: Waits) -> Iterator[Verdict]:
    ratio = waits.busy[1] / waits.idle[1]
    yield Verdict("GET p99 while 20 a second sign in", "≤ 3 × idle", f"{ratio:.1f} ×", ratio <= 3)


def of_memory(sizes: Sequence[tuple[int, float, float]]) -> Iterator[Verdict]:
    (_, early, _), (done, last, _) = sizes[min(2, len(sizes) - 1)], sizes[-1]
    yield Verdict(f"memory of a worker after {done:,} requests", f"≤ {MOST_MB} MB", f"{last:.0f} MB", last <= MOST_MB)
    growth = last / early
    is_flat = growth <= MOST_GROWTH
    yield Verdict("the same, to that after a fifth of them", f"≤ {MOST_GROWTH} ×", f"{growth:.2f} ×", is_flat)


def of_starts(starts: Sequence[float]) -> Iterator[Verdict]:
    took = median(starts)
    yield Verdict("from bookit serve to ready", "≤ 1.5 s", f"{took:.2f} s", took <= 1.5)


def of_growth(grown: Sequence[Grown]) -> Iterator[Verdict]:
    for thing in grown:
        yield Verdict(
            f"{thing.what}: CPU at a million bookings", "≤ 1.3 × of 10,000", f"{thing.ratio:.2f} ×", thing.ratio <= 1.3
        )
        most = {SLOTS: 10, ADMIN: 50}.get(thing.what)
        if most:
            took, work = median(thing.took[1]), median(thing.work[1])
            measured = f"{took:.1f} ms, of these {work:.1f} CPU"
            yield Verdict(f"{thing.what}: time at a million", f"≤ {most} ms", measured, took <= most)
        if thing.what == ADMIN:
            yield Verdict(f"{ADMIN}: statements", "≤ 6", str(thing.statements), thing.statements <= 6)
