"""Time-zone data of a machine that has not heard of a change."""

import shutil
import zoneinfo
from pathlib import Path

OTHER_ZONE, OF_OTHER_CLOCK = "America/Vancouver", "Asia/Kathmandu"


def write_other_clocks(folder: Path) -> Path:
    """Write a folder in which the clocks of Vancouver are those of Kathmandu, and return it."""
    source = next(path for path in map(Path, zoneinfo.TZPATH) if (path / OF_OTHER_CLOCK).exists())
    (folder / "zones/America").mkdir(parents=True)
    shutil.copy(source / OF_OTHER_CLOCK, folder / "zones" / OTHER_ZONE)
    return folder / "zones"
