"""The targets of the benchmarks, and whether a run meets them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from side_by_side.comparison import BASELINE, BOOKIT, PGBENCH, PLAIN, SCENARIOS, MedianResult
from side_by_side.contention import DAY_CAPACITY, ContentionResults
from side_by_side.long_run import SignInImpact
from side_by_side.scaling import ADMIN, SLOTS, ScalingResult

SHARE_TARGETS = (
    ("one", PLAIN, 0.40),
    ("page", PLAIN, 0.60),
    ("own", PLAIN, 0.20),
    ("post", PLAIN, 0.45),
    ("post", PGBENCH, 0.50),
)
BASELINE_FACTOR = 10  # how many times as fast as the baseline
MAX_MB, MAX_GROWTH = 150, 1.05
MedianResults = Mapping[tuple[str, str], MedianResult]


@dataclass(frozen=True)
class Verdict:
    """A target, the measured value, and whether it meets the target."""

    name: str
    target: str
    measured: str
    is_met: bool

    @property
    def label(self) -> str:
        """The cell of the table."""
        return "pass" if self.is_met else "**miss**"


def compare_to(medians: MedianResults, scenario: str, other: str) -> tuple[float, float] | None:
    """Return BookIt's ratio to another system: by requests a second, and by requests per CPU second."""
    own, reference = medians.get((scenario, BOOKIT)), medians.get((scenario, other))
    if not (own and reference and reference.rate and own.total):
        return None
    return own.rate / reference.rate, reference.total / own.total


def judge_comparison(medians: MedianResults) -> Iterator[Verdict]:
    goals = [(scenario, other, share, f"≥ {share:.2f} of {other}") for scenario, other, share in SHARE_TARGETS]
    goals += [(scenario, BASELINE, BASELINE_FACTOR, f"≥ {BASELINE_FACTOR} × {BASELINE}") for scenario in SCENARIOS]
    for scenario, other, minimum, target in goals:
        ratios = compare_to(medians, scenario, other)
        if ratios:
            for ratio, unit in zip(ratios, ("by requests a second", "by CPU a request"), strict=True):
                yield Verdict(f"{SCENARIOS[scenario]}, {unit}", target, f"{ratio:.2f}", ratio >= minimum)
    post = medians.get(("post", BOOKIT))
    if post:
        share = post.success_rate
        yield Verdict("POST /bookings, share of status 201", "≥ 0.99", f"{share:.4f}", share >= 0.99)


def judge_contention(results: ContentionResults) -> Iterator[Verdict]:
    slot, day = results.bookit, results.day
    counts = slot.booked_counts
    yield Verdict("64 clients, one slot: booked", "once", f"{min(counts)}–{max(counts)} times", set(counts) == {1})
    p99 = slot.wait_percentile(99)
    yield Verdict("64 clients, one slot: p99", "< 50 ms", f"{p99:.0f} ms", p99 < 50)
    for name, result in (("64 clients, one slot", slot), ("500 clients, one day", day)):
        errors, deadlocks = result.server_error_count, result.deadlock_count
        yield Verdict(f"{name}: responses of 500 and above", "0", str(errors), not errors)
        yield Verdict(f"{name}: deadlocks", "0", str(deadlocks), not deadlocks)
    booked = ", ".join(map(str, sorted(set(day.booked_counts))))
    is_full = set(day.booked_counts) == {DAY_CAPACITY}
    yield Verdict("500 clients, one day: seats booked, each once", f"{DAY_CAPACITY}", booked, is_full)
    worst = day.wait_percentile(100)
    yield Verdict("500 clients, one day: longest wait", "≤ 1,000 ms", f"{worst:,.0f} ms", worst <= 1000)


def judge_sign_in_impact(impact: SignInImpact) -> Iterator[Verdict]:
    ratio = impact.busy[1] / impact.idle[1]
    yield Verdict("GET p99 during 20 sign-ins a second", "≤ 3 × idle", f"{ratio:.1f} ×", ratio <= 3)


def judge_memory(sizes: Sequence[tuple[int, float, float]]) -> Iterator[Verdict]:
    (_, early, _), (requests, last, _) = sizes[min(2, len(sizes) - 1)], sizes[-1]
    yield Verdict(f"memory of a worker after {requests:,} requests", f"≤ {MAX_MB} MB", f"{last:.0f} MB", last <= MAX_MB)
    growth = last / early
    is_flat = growth <= MAX_GROWTH
    yield Verdict(
        "memory of a worker, relative to a fifth of the requests", f"≤ {MAX_GROWTH} ×", f"{growth:.2f} ×", is_flat
    )


def judge_cold_starts(starts: Sequence[float]) -> Iterator[Verdict]:
    seconds = median(starts)
    yield Verdict("start of bookit serve until ready", "≤ 1.5 s", f"{seconds:.2f} s", seconds <= 1.5)


def judge_scaling(results: Sequence[ScalingResult]) -> Iterator[Verdict]:
    for result in results:
        ratio = result.cpu_ratio
        yield Verdict(f"{result.name}: CPU at a million bookings", "≤ 1.3 × of 10,000", f"{ratio:.2f} ×", ratio <= 1.3)
        max_ms = {SLOTS: 10, ADMIN: 50}.get(result.name)
        if max_ms:
            wall_ms, cpu_ms = median(result.wall_ms[1]), median(result.cpu_ms[1])
            measured = f"{wall_ms:.1f} ms, of these {cpu_ms:.1f} CPU"
            yield Verdict(f"{result.name}: time at a million", f"≤ {max_ms} ms", measured, wall_ms <= max_ms)
        if result.name == ADMIN:
            yield Verdict(f"{ADMIN}: statements", "≤ 6", str(result.statements), result.statements <= 6)
