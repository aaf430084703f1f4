"""What BookIt wants to be, in numbers, and whether a run says that it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from side_by_side.comparison import BASELINE, BOOKIT, PGBENCH, PLAIN, SCENARIOS, MedianResult
from side_by_side.contention import DAY_CAPACITY, ContentionResults
from side_by_side.long_run import SignInImpact
from side_by_side.scaling import ADMIN, SLOTS, ScalingResult

SHARE_TARGETS = (("one", PLAIN, 0.40), ("page", PLAIN, 0.60), ("own", PLAIN, 0.20), ("post", PLAIN, 0.45),
          ("post", PGBENCH, 0.50))  # fmt: skip
BASELINE_FACTOR = 10  # the baseline
MAX_MB, MAX_GROWTH = 150, 1.05
MedianResults = Mapping[tuple[str, str], MedianResult]


@dataclass(frozen=True)
class Verdict:
    """A target, what was measured, and whether the one meets the other."""

    name: str
    target: str
    measured: str
    is_met: bool

    @property
    def label(self) -> str:
        """How a table says it."""
        return "pass" if self.is_met else "**miss**"


def compare_to(medians: MedianResults, scenario: str, other: str) -> tuple[float, float] | None:
    """Give how BookIt stands to another in a row: in requests a second, and in requests to a second of CPU."""
    ours, theirs = medians.get((scenario, BOOKIT)), medians.get((scenario, other))
    if not (ours and theirs and theirs.rate and ours.total):
        return None
    return ours.rate / theirs.rate, theirs.total / ours.total


def judge_comparison(medians: MedianResults) -> Iterator[Verdict]:
    wanted = [(row, other, share, "of") for row, other, share in SHARE_TARGETS]
    wanted += [(row, BASELINE, BASELINE_FACTOR, "×") for row in SCENARIOS]
    for row, other, least, sign in wanted:
        found = compare_to(medians, row, other)
        if found:
            for ratio, by in zip(found, ("by requests a second", "by CPU a request"), strict=True):
                target = f"≥ {least:.2f} {sign} {other}" if sign == "of" else f"≥ {least} {sign} {other}"
                yield Verdict(f"{SCENARIOS[row]}, {by}", target, f"{ratio:.2f}", ratio >= least)
    posted = medians.get(("post", BOOKIT))
    if posted:
        yield Verdict(
            "POST /bookings, share answered 201", "≥ 0.99", f"{posted.success_rate:.4f}", posted.success_rate >= 0.99
        )


def judge_contention(results: ContentionResults) -> Iterator[Verdict]:
    ours, day = results.bookit, results.day
    is_once = set(ours.booked_counts) == {1}
    yield Verdict(
        "64 clients on one slot: sold",
        "once each time",
        f"{min(ours.booked_counts)}–{max(ours.booked_counts)} times",
        is_once,
    )
    waited = ours.wait_percentile(99)
    yield Verdict("64 clients on one slot: p99", "< 50 ms", f"{waited:.0f} ms", waited < 50)
    for name, crowd in (("64 clients on one slot", ours), ("a day opened at once", day)):
        yield Verdict(
            f"{name}: answers of 500 and above", "0", str(crowd.server_error_count), not crowd.server_error_count
        )
        yield Verdict(f"{name}: deadlocks", "0", str(crowd.deadlock_count), not crowd.deadlock_count)
    sold = ", ".join(map(str, sorted(set(day.booked_counts))))
    yield Verdict(
        "a day opened at once: places sold, each once",
        f"{DAY_CAPACITY}",
        sold,
        set(day.booked_counts) == {DAY_CAPACITY},
    )
    worst = day.wait_percentile(100)
    yield Verdict("a day opened at once: longest wait", "≤ 1,000 ms", f"{worst:,.0f} ms", worst <= 1000)


def judge_sign_in_impact(impact: SignInImpact) -> Iterator[Verdict]:
    ratio = impact.busy[1] / impact.idle[1]
    yield Verdict("GET p99 while 20 a second sign in", "≤ 3 × idle", f"{ratio:.1f} ×", ratio <= 3)


def judge_memory(sizes: Sequence[tuple[int, float, float]]) -> Iterator[Verdict]:
    (_, early, _), (done, last, _) = sizes[min(2, len(sizes) - 1)], sizes[-1]
    yield Verdict(f"memory of a worker after {done:,} requests", f"≤ {MAX_MB} MB", f"{last:.0f} MB", last <= MAX_MB)
    growth = last / early
    is_flat = growth <= MAX_GROWTH
    yield Verdict("the same, to that after a fifth of them", f"≤ {MAX_GROWTH} ×", f"{growth:.2f} ×", is_flat)


def judge_cold_starts(starts: Sequence[float]) -> Iterator[Verdict]:
    took = median(starts)
    yield Verdict("from bookit serve to ready", "≤ 1.5 s", f"{took:.2f} s", took <= 1.5)


def judge_scaling(results: Sequence[ScalingResult]) -> Iterator[Verdict]:
    for thing in results:
        yield Verdict(
            f"{thing.name}: CPU at a million bookings",
            "≤ 1.3 × of 10,000",
            f"{thing.cpu_ratio:.2f} ×",
            thing.cpu_ratio <= 1.3,
        )
        most = {SLOTS: 10, ADMIN: 50}.get(thing.name)
        if most:
            took, work = median(thing.wall_ms[1]), median(thing.cpu_ms[1])
            measured = f"{took:.1f} ms, of these {work:.1f} CPU"
            yield Verdict(f"{thing.name}: time at a million", f"≤ {most} ms", measured, took <= most)
        if thing.name == ADMIN:
            yield Verdict(f"{ADMIN}: statements", "≤ 6", str(thing.statements), thing.statements <= 6)
