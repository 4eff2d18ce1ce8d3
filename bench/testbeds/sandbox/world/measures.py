"""What a map is measured by, and the gates over its measures."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.testbeds.sandbox.world.caves import FLOOR, Grid

Cell = tuple[int, int]


class Gate(NamedTuple):
    """A band that the mean of a measure over all maps must be in."""

    name: str
    measure: str
    low: float
    high: float


class GateResult(NamedTuple):
    """What a gate found; ``score`` is 1 in the middle of the band, 0.5 at its edges, and falls to 0 outside."""

    gate: Gate
    value: float
    passed: bool
    score: float


def measure(grid: Grid) -> dict[str, float]:
    """The measures of one map.

    ``connectivity``: share of the floor in the largest cave. ``difficulty``: steps from that cave's leftmost to its
    rightmost cell, over the map's side. ``openness``: share of the map that is floor. All 0 without any floor.
    """
    size = len(grid)
    floor = {(y, x) for y, row in enumerate(grid) for x, cell in enumerate(row) if cell == FLOOR}
    if not floor:
        return {"connectivity": 0.0, "difficulty": 0.0, "openness": 0.0}
    largest = max(_caves(floor), key=len)
    start = min(largest, key=lambda cell: (cell[1], cell[0]))
    end = max(largest, key=lambda cell: (cell[1], cell[0]))
    return {
        "connectivity": len(largest) / len(floor),
        "difficulty": _distances(start, largest)[end] / size,
        "openness": len(floor) / size**2,
    }


def judge(gates: Sequence[Gate], measured: Sequence[Mapping[str, float]]) -> list[GateResult]:
    """Every gate's result over the measures of all maps."""
    results = []
    for gate in gates:
        value = sum(measures[gate.measure] for measures in measured) / len(measured)
        half = (gate.high - gate.low) / 2
        score = max(0.0, 1 - abs(value - (gate.low + half)) / (2 * half))
        results.append(GateResult(gate, value, gate.low <= value <= gate.high, score))
    return results


def _caves(floor: set[Cell]) -> list[set[Cell]]:
    """The connected parts of the floor, in a fixed order."""
    caves, seen = [], set[Cell]()
    for cell in sorted(floor):
        if cell not in seen:
            cave = set(_distances(cell, floor))
            seen |= cave
            caves.append(cave)
    return caves


def _distances(start: Cell, floor: set[Cell]) -> dict[Cell, int]:
    """Steps from ``start`` to every cell that can be reached over ``floor``."""
    steps = {start: 0}
    edge = [start]
    while edge:
        reached = []
        for y, x in edge:
            for cell in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if cell in floor and cell not in steps:
                    steps[cell] = steps[y, x] + 1
                    reached.append(cell)
        edge = reached
    return steps
