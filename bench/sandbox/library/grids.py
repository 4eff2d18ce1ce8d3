"""Rectangular grids as lists of rows, of the sandbox's toolbox."""

Grid = list[list[int]]


def transpose(grid: Grid) -> Grid:
    """Rows become columns."""
    if not grid:
        return []
    return [[row[column] for row in grid] for column in range(len(grid[0]))]


def rotate_right(grid: Grid, turns: int = 1) -> Grid:
    """The grid turned by quarter turns, clockwise."""
    for _ in range(turns % 4):
        grid = [list(row) for row in zip(*grid[::-1], strict=True)]
    return grid


def neighbour_sum(grid: Grid, row: int, column: int) -> int:
    """The sum of the up to eight cells around a cell."""
    total = 0
    for other_row in range(max(row - 1, 0), min(row + 2, len(grid))):
        for other_column in range(max(column - 1, 0), min(column + 2, len(grid[0]))):
            if (other_row, other_column) != (row, column):
                total += grid[other_row][other_column]
    return total


def diagonal_sums(grid: Grid) -> tuple[int, int]:
    """The sums along both diagonals of a square grid."""
    size = len(grid)
    falling = sum(grid[position][position] for position in range(size))
    rising = sum(grid[position][size - 1 - position] for position in range(size))
    return falling, rising


def flood_size(grid: Grid, row: int, column: int) -> int:
    """How many cells of the same value hang together, sideways and up and down."""
    value = grid[row][column]
    seen = {(row, column)}
    waiting = [(row, column)]
    while waiting:
        y, x = waiting.pop()
        for next_y, next_x in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            inside = 0 <= next_y < len(grid) and 0 <= next_x < len(grid[0])
            if inside and (next_y, next_x) not in seen and grid[next_y][next_x] == value:
                seen.add((next_y, next_x))
                waiting.append((next_y, next_x))
    return len(seen)


def spiral(grid: Grid) -> list[int]:
    """The cells from the outside in, clockwise from the top left."""
    cells: list[int] = []
    while grid and grid[0] and len(cells) < 200:
        cells.extend(grid[0])
        rest = grid[1:]
        grid = [list(column) for column in zip(*rest, strict=True)][::-1]
    return cells


def count_paths(grid: Grid) -> int:
    """Ways from the top left to the bottom right, going right and down, around cells that are not 0."""
    if not grid or grid[0][0] != 0:
        return 0
    ways = [0] * len(grid[0])
    ways[0] = 1
    for row in grid:
        for column in range(len(row)):
            if row[column] != 0:
                ways[column] = 0
            elif column > 0:
                ways[column] += ways[column - 1]
    return ways[-1]


def step_life(grid: Grid, born: int = 3, lonely: int = 2, crowded: int = 3) -> Grid:
    """The next generation of Conway's game on a grid with dead surroundings."""
    height, width = len(grid), len(grid[0])
    after = []
    for row in range(height):
        cells = []
        for column in range(width):
            alive = 0
            for other_row in range(row - 1, row + 2):
                for other_column in range(column - 1, column + 2):
                    if other_row == row and other_column == column:
                        continue
                    if 0 <= other_row < height and 0 <= other_column < width:
                        alive += grid[other_row][other_column]
            if grid[row][column] == 1:
                cells.append(1 if lonely <= alive <= crowded else 0)
            else:
                cells.append(1 if alive == born else 0)
        after.append(cells)
    return after


def largest_square(grid: Grid) -> int:
    """The side of the largest square of ones."""
    best = 0
    sides = [[0] * len(row) for row in grid]
    for row in range(len(grid)):
        for column in range(len(grid[row])):
            if grid[row][column] != 1:
                continue
            if row == 0 or column == 0:
                sides[row][column] = 1
            else:
                around = min(sides[row - 1][column], sides[row][column - 1], sides[row - 1][column - 1])
                sides[row][column] = around + 1
            best = max(best, sides[row][column])
    return best


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "transpose": [([],), ([[1, 2], [3, 4]],), ([[1, 2, 3]],), ([[1], [2]],)],
    "rotate_right": [
        ([[1, 2], [3, 4]],),
        ([[1, 2], [3, 4]], 2),
        ([[1, 2], [3, 4]], 0),
        ([[1, 2, 3]],),
        ([[1, 2], [3, 4]], -1),
    ],
    "neighbour_sum": [
        ([[1]], 0, 0),
        ([[1, 2], [3, 4]], 0, 0),
        ([[1, 2, 3], [4, 5, 6], [7, 8, 9]], 1, 1),
        ([[1, 2, 3], [4, 5, 6], [7, 8, 9]], 2, 1),
        ([[1, 2, 3], [4, 5, 6], [7, 8, 9]], 0, 2),
    ],
    "diagonal_sums": [([],), ([[7]],), ([[1, 2], [3, 5]],), ([[1, 2, 3], [4, 5, 6], [7, 8, 19]],)],
    "flood_size": [
        ([[1]], 0, 0),
        ([[1, 1], [0, 1]], 0, 0),
        ([[1, 0], [0, 1]], 1, 1),
        ([[2, 2, 2], [2, 0, 2], [2, 2, 1]], 0, 1),
        ([[0, 0, 1, 0]], 0, 3),
        ([[0, 1], [0, 1], [0, 0]], 2, 1),
    ],
    "spiral": [
        ([],),
        ([[1]],),
        ([[1, 2], [3, 4]],),
        ([[1, 2, 3], [4, 5, 6], [7, 8, 9]],),
        ([[1, 2, 3, 4]],),
        ([[1], [2], [3]],),
    ],
    "count_paths": [
        ([],),
        ([[0]],),
        ([[1]],),
        ([[0, 0], [0, 0]],),
        ([[0, 1, 0], [0, 0, 0], [0, 0, 0]],),
        ([[0, 0], [0, 1]],),
        ([[0, 0, 0], [1, 0, 0]],),
    ],
    "step_life": [
        ([[1]],),
        ([[0, 1, 0], [0, 1, 0], [0, 1, 0]],),
        ([[1, 1], [1, 1]],),
        ([[1, 1, 0], [1, 0, 1], [0, 1, 1]],),
        ([[1, 1, 1], [1, 1, 1], [1, 1, 1]],),
        ([[1, 1, 0], [0, 1, 1]], 2),
    ],
    "largest_square": [
        ([],),
        ([[0]],),
        ([[1]],),
        ([[1, 1], [1, 1]],),
        ([[1, 1, 0], [1, 1, 1], [0, 1, 1]],),
        ([[0, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]],),
        ([[0, 1], [1, 0]],),
    ],
}
