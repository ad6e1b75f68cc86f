"""What costs are counted in, and how they are written."""

from __future__ import annotations

import enum


class Unit(enum.Enum):
    """What a sample's cost is counted in."""

    SECONDS = "s"
    BYTES = "B"


SCALES = {
    Unit.SECONDS: ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")),
    Unit.BYTES: ((1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")),
}


def cost(value: float, unit: Unit) -> str:
    """A cost with three significant digits and a fitting unit."""
    scales = SCALES[unit]
    factor, name = next((pair for pair in scales if value >= pair[0]), scales[-1])
    scaled = value / factor
    digits = 0 if scaled >= 100 else 1 if scaled >= 10 else 2
    return f"{scaled:.{digits}f} {name}"
