"""Whether a request costs more than the baseline, even if another machine measured the baseline.

Machines and their load differ, so each run also measures a request that is not BookIt's (``reference_app.py``). The
baseline is scaled by the ratio of its cost here to its cost there, separately in the server and in PostgreSQL.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_GROWTH = 0.20
NOISE_SHARE = 0.10  # of the whole request; smaller growth of a part is noise
PARTS = ("server", "postgres")


@dataclass(frozen=True)
class Costs:
    """CPU microseconds in the server and in PostgreSQL: of the reference request, and of a request of each path."""

    reference: Mapping[str, float]
    paths: Mapping[str, Mapping[str, float]]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Costs":
        return cls(data["reference"], data["paths"])

    @property
    def as_dict(self) -> dict[str, Any]:
        """The content of the baseline file."""
        paths = {name: {part: round(cost[part], 1) for part in PARTS} for name, cost in self.paths.items()}
        return {"reference": {part: round(self.reference[part], 1) for part in PARTS}, "paths": paths}


@dataclass(frozen=True)
class Comparison:
    """The measured and the expected cost of a path: the whole, or its part in the server or in PostgreSQL."""

    path: str
    part: str
    now: float
    expected: float
    whole: float

    @property
    def growth(self) -> float:
        """The relative growth of the cost."""
        return self.now / self.expected - 1 if self.expected else 0

    @property
    def has_grown(self) -> bool:
        """Whether the growth is too large to be noise."""
        return self.growth > MAX_GROWTH and self.now - self.expected > NOISE_SHARE * self.whole


def compare(now: Costs, before: Costs) -> Iterator[Comparison]:
    """Yield a comparison for each path of the baseline: the whole and its parts."""
    scale = {part: now.reference[part] / before.reference[part] for part in PARTS}
    for path, baseline in before.paths.items():
        expected = {part: baseline[part] * scale[part] for part in PARTS}
        whole = sum(expected.values())
        yield Comparison(path, "whole", sum(now.paths[path][part] for part in PARTS), whole, whole)
        for part in PARTS:
            yield Comparison(path, part, now.paths[path][part], expected[part], whole)
