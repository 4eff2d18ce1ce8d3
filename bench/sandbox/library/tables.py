"""Rows as dictionaries, of the sandbox's toolbox."""

Row = dict[str, int]


def column_total(rows: list[Row], column: str, default: int = 0) -> int:
    """The sum of a column; rows without it count with a default."""
    return sum(row.get(column, default) for row in rows)


def group_totals(rows: list[Row], key: str, value: str) -> dict[int, int]:
    """The sum of one column for each value of another."""
    totals: dict[int, int] = {}
    for row in rows:
        if key not in row:
            continue
        totals[row[key]] = totals.get(row[key], 0) + row.get(value, 0)
    return totals


def top_rows(rows: list[Row], column: str, count: int = 3) -> list[Row]:
    """The rows with the largest values of a column, largest first."""
    known = [row for row in rows if column in row]
    known.sort(key=lambda row: -row[column])
    return known[:count]


def join_rows(left: list[Row], right: list[Row], key: str) -> list[Row]:
    """Every pair of rows with an equal key, as one row; the left row wins a clash."""
    joined = []
    for row in left:
        for other in right:
            if key in row and key in other and row[key] == other[key]:
                joined.append({**other, **row})
    return joined


def rank_column(values: list[int], descending: bool = True) -> list[int]:
    """1 for the best value; equal values share the better rank."""
    ranks = []
    for value in values:
        if descending:
            better = sum(1 for other in values if other > value)
        else:
            better = sum(1 for other in values if other < value)
        ranks.append(better + 1)
    return ranks


def filter_range(rows: list[Row], column: str, low: int, high: int) -> list[Row]:
    """The rows with low <= value < high; rows without the column are left out."""
    kept = []
    for row in rows:
        value = row.get(column)
        if value is None:
            continue
        if low <= value and value < high:
            kept.append(row)
    return kept


def pivot_counts(pairs: list[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """{row: {column: how often}} of (row, column) pairs, every row with every column."""
    columns = sorted({column for _, column in pairs})
    table: dict[str, dict[str, int]] = {}
    for row, column in pairs:
        if row not in table:
            table[row] = dict.fromkeys(columns, 0)
        table[row][column] += 1
    return table


def fill_gaps(values: list[int | None], start: int = 0) -> list[int]:
    """Missing values replaced by the last known one."""
    filled = []
    last = start
    for value in values:
        if value is not None:
            last = value
        filled.append(last)
    return filled


def compare_tables(before: dict[str, int], after: dict[str, int], tolerance: int = 0) -> dict[str, list[str]]:
    """Which keys were added, removed and changed by more than a tolerance."""
    added = sorted(key for key in after if key not in before)
    removed = sorted(key for key in before if key not in after)
    changed = []
    for key in sorted(before):
        if key in after and abs(after[key] - before[key]) > tolerance:
            changed.append(key)
    return {"added": added, "removed": removed, "changed": changed}


EXAMPLES: dict[str, list[tuple[object, ...]]] = {
    "column_total": [([], "a"), ([{"a": 1}, {"a": 4}], "a"), ([{"a": 1}, {"b": 2}], "a"), ([{"b": 2}, {}], "a", 5)],
    "group_totals": [
        ([], "k", "v"),
        ([{"k": 1, "v": 2}, {"k": 1, "v": 5}, {"k": 2}], "k", "v"),
        ([{"v": 2}], "k", "v"),
    ],
    "top_rows": [
        ([], "a"),
        ([{"a": 1}, {"a": 3}, {"b": 9}, {"a": 2}, {"a": 0}], "a"),
        ([{"a": 1}, {"a": 3}], "a", 1),
        ([{"a": 5}, {"a": 9}, {"a": 7}], "a", 0),
    ],
    "join_rows": [
        ([], [], "k"),
        ([{"k": 1, "a": 2}], [{"k": 1, "a": 9, "b": 3}], "k"),
        ([{"k": 1}], [{"k": 2}], "k"),
        ([{"a": 1}, {"k": 3}], [{"k": 3, "c": 1}, {"k": 3, "c": 2}], "k"),
        ([{"k": 1}], [{"c": 1}], "k"),
    ],
    "rank_column": [([],), ([5, 9, 5],), ([5, 9, 5], False), ([1, 2, 3],), ([3, 3, 1, 7], False)],
    "filter_range": [
        ([], "a", 0, 5),
        ([{"a": 0}, {"a": 5}, {"a": 4}, {"b": 1}], "a", 0, 5),
        ([{"a": -1}, {"a": 9}], "a", 0, 9),
    ],
    "pivot_counts": [([],), ([("x", "b"), ("x", "a"), ("y", "b"), ("x", "b")],), ([("x", "a")],)],
    "fill_gaps": [([],), ([None, 1, None, None, 4],), ([3, None],), ([None], 7), ([0, None, 2],)],
    "compare_tables": [
        ({}, {}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1, "b": 2}, {"a": 2, "b": 2}),
        ({"a": 1, "b": 9}, {"a": 3, "b": 5}, 2),
        ({"a": 5}, {"a": 3}, 1),
        ({"b": 1, "a": 1}, {}),
    ],
}
