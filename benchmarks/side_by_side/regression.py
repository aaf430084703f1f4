"""Whether a request costs more than it did, on whatever machine each was measured.

Machines differ, and what else they do, so each run also measures a request that is none of BookIt's and works as its
requests do (``yardstick.py``). What was kept is first brought to this machine by what that costs here: in the server,
and in PostgreSQL.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MAX_GROWTH = 0.20
NOISE_SHARE = 0.10  # of the whole: a part that grows by less than that is not told apart from noise
PARTS = ("server", "postgres")


@dataclass(frozen=True)
class Costs:
    """CPU microseconds of a request, in the server and in PostgreSQL: of the yardstick, and of each path."""

    reference: Mapping[str, float]
    paths: Mapping[str, Mapping[str, float]]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Costs":
        return cls(data["yardstick"], data["paths"])

    @property
    def as_dict(self) -> dict[str, Any]:
        """As it is written down."""
        paths = {name: {part: round(cost[part], 1) for part in PARTS} for name, cost in self.paths.items()}
        return {"yardstick": {part: round(self.reference[part], 1) for part in PARTS}, "paths": paths}


@dataclass(frozen=True)
class Comparison:
    """What a path, or its part in the server or in PostgreSQL, costs and was expected to."""

    path: str
    part: str
    now: float
    expected: float
    whole: float

    @property
    def growth(self) -> float:
        """By which part of it the cost grew."""
        return self.now / self.expected - 1 if self.expected else 0

    @property
    def has_grown(self) -> bool:
        """Whether that is too much."""
        return self.growth > MAX_GROWTH and self.now - self.expected > NOISE_SHARE * self.whole


def compare(now: Costs, before: Costs) -> Iterator[Comparison]:
    """Compare every path that was kept: as a whole, and in its parts."""
    scale = {part: now.reference[part] / before.reference[part] for part in PARTS}
    for path, kept in before.paths.items():
        expected = {part: kept[part] * scale[part] for part in PARTS}
        whole = sum(expected.values())
        yield Comparison(path, "whole", sum(now.paths[path][part] for part in PARTS), whole, whole)
        for part in PARTS:
            yield Comparison(path, part, now.paths[path][part], expected[part], whole)
