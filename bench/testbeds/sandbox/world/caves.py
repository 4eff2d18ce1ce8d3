"""Cave maps: noise that a cellular automaton turns into caves, and tunnels dug through them."""

import random
from typing import NamedTuple

FLOOR, ROCK = 0, 1
Grid = list[bytearray]
"""Rows of FLOOR and ROCK; the outermost ring is rock."""


class CaveParameters(NamedTuple):
    """What shapes a map."""

    size: int
    """Cells along each side, the ring of rock included."""
    fill: int
    """Rock in the noise, per cent."""
    smoothing: int
    """Steps of the automaton."""
    birth: int
    """Rock among the eight neighbours that turns a floor to rock."""
    survival: int
    """Rock among the eight neighbours that keeps a rock."""
    tunnels: int
    """Random walks that dig from the left to the right side."""


def cave_map(parameters: CaveParameters, seed: int) -> Grid:
    """The map of these parameters and this seed; the noise and the walks depend on the seed alone."""
    grid = _noise(parameters, random.Random(f"noise {seed}"))
    for _ in range(parameters.smoothing):
        grid = _smoothed(grid, parameters)
    draw = random.Random(f"tunnels {seed}")
    for _ in range(parameters.tunnels):
        _dig(grid, parameters.size, draw)
    return grid


def _noise(parameters: CaveParameters, draw: random.Random) -> Grid:
    size, share = parameters.size, parameters.fill / 100
    ring = bytearray([ROCK]) * size
    inner = (bytearray(draw.random() < share for _ in range(size - 2)) for _ in range(size - 2))
    return [ring, *(bytearray([ROCK]) + row + bytearray([ROCK]) for row in inner), ring[:]]


def _smoothed(grid: Grid, parameters: CaveParameters) -> Grid:
    size = parameters.size
    # A cell's neighbourhood is three sums over three cells; each sum is used by three rows.
    sums = [[sum(row[max(at - 1, 0) : at + 2]) for at in range(size)] for row in grid]
    smoothed = [bytearray(row) for row in grid]
    for y in range(1, size - 1):
        above, here, below, row = sums[y - 1], sums[y], sums[y + 1], grid[y]
        for x in range(1, size - 1):
            needed = parameters.survival if row[x] else parameters.birth
            smoothed[y][x] = above[x] + here[x] + below[x] - row[x] >= needed
    return smoothed


def _dig(grid: Grid, size: int, draw: random.Random) -> None:
    x, y = 1, draw.randrange(1, size - 1)
    while x < size - 1:
        grid[y][x] = FLOOR
        if draw.random() < 0.5:
            x += 1
        else:
            y = min(max(y + draw.choice((-1, 1)), 1), size - 2)
