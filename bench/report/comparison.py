"""Two reports set side by side: settings that differ, policies on the cases that both have, and cell by cell.

A cell is one action on one issue. Cases are matched by their issue: another commit makes another case of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.report.grid import Grid, GridCase
from bench.report.runs import TrainedRun
from bench.report.standing import Range, Standing, Standings, range_over
from planner.dataset.outcomes import ActionOutcome

MAX_ROWS = 200
"""Cells and decisions shown, those that differ most first."""
TOLERANCE = 0.0005
"""Utility and pass shares that differ by less are the same."""


@dataclass(frozen=True)
class Side:
    """One of the two reports."""

    name: str
    grid: Grid | None
    standings: Standings | None
    runs: tuple[TrainedRun, ...]


@dataclass(frozen=True)
class Cell:
    """One action on one issue, in both."""

    issue: str
    action: str
    here: ActionOutcome
    there: ActionOutcome

    @property
    def difference(self) -> float | None:
        """Utility here less that there; None where one is not known."""
        if self.here.utility is None or self.there.utility is None:
            return None
        return self.here.utility - self.there.utility

    @property
    def passes_differ(self) -> bool:
        """Whether it passes more often in one of them."""
        return not self.here.capped and not self.there.capped and abs(self.here.passed - self.there.passed) > TOLERANCE


@dataclass(frozen=True)
class Cells:
    """All cells of two ledgers."""

    common: int
    only_here: int
    only_there: int
    passes_more_here: int
    passes_more_there: int
    utility_gained: Range | None
    """Mean utility here less that there over the common cells, 95 % interval over problems; None without any."""
    rows: tuple[Cell, ...]
    """Those that differ, most first, MAX_ROWS at most."""
    differing: int
    minutes_ms: tuple[float | None, float | None]
    """How long a minute of budget lasted here and there; None where that is not known."""


@dataclass(frozen=True)
class PolicyPair:
    """One policy in both, on the unseen cases that both have; or the two best trained runs."""

    here: str
    there: str
    cases: int
    same_choice: int
    regret_here: float
    regret_there: float
    saved: Range
    """Regret there less that here, 95 % interval over problems."""


@dataclass(frozen=True)
class Choice:
    """An unseen case in which the two best trained runs take different actions."""

    issue: str
    here: str
    there: str
    regret_here: float
    regret_there: float


@dataclass(frozen=True)
class Comparison:
    """What differs between two reports."""

    here: str
    there: str
    facts: tuple[tuple[str, str, str], ...]
    """(what, here, there), of what is not the same."""
    cells: Cells | None
    policies: tuple[PolicyPair, ...]
    choices: tuple[Choice, ...]


def compare(here: Side, there: Side) -> Comparison:
    """Everything that can be set side by side."""
    pairs = list(_pairs(here.standings, there.standings))
    lead = next((pair for pair in pairs if pair[0].kind == "run"), None)
    matched = _matched(here, there)
    return Comparison(
        here=here.name,
        there=there.name,
        facts=tuple(_facts(here, there)),
        cells=None if here.grid is None or there.grid is None else _cells(here.grid, there.grid),
        policies=tuple(
            found
            for pair in pairs
            if here.standings is not None
            and (found := _policy_pair(*pair, matched, here.standings.problem_of)) is not None
        ),
        choices=() if lead is None else tuple(_choices(*lead, matched))[:MAX_ROWS],
    )


def _matched(here: Side, there: Side) -> Mapping[str, tuple[str, str]]:
    """Case id here -> (case id there, issue), of the issues that both have; without ledgers, of equal case ids."""
    if here.grid is None or there.grid is None:
        ids = ((one.standings and one.standings.problem_of) or {} for one in (here, there))
        first, second = (set(found) for found in ids)
        return {key: (key, key) for key in first & second}
    of_issue = {case.case.issue_id: case.case.case_id for case in there.grid.cases}
    return {
        case.case.case_id: (of_issue[case.case.issue_id], case.case.issue_id)
        for case in here.grid.cases
        if case.case.issue_id in of_issue
    }


def _facts(here: Side, there: Side) -> Iterator[tuple[str, str, str]]:
    if here.grid is not None and there.grid is not None:
        yield from _differing("ledger", _of_grid(here.grid), _of_grid(there.grid))
    if len(here.runs) == 1 and len(there.runs) == 1:
        yield from _differing("run", _of_run(here.runs[0]), _of_run(there.runs[0]))


def _of_grid(grid: Grid) -> dict[str, Any]:
    return {
        "file": grid.path,
        "cases": len(grid.cases),
        "executions that ended": sum(one.outcome is not None for one in grid.executions),
        "a minute of budget, s": grid.minute_seconds,
        **grid.settings,
    }


def _of_run(run: TrainedRun) -> dict[str, Any]:
    found: dict[str, Any] = {
        "directory": run.path,
        "policy": run.what,
        "dataset hash": run.dataset_hash,
        "epochs": run.epochs,
        "best epoch, from 0": run.best_epoch,
        f"best {run.selected_by}": run.validation.values[run.validation.epochs.index(run.best_epoch)]
        if run.best_epoch in run.validation.epochs
        else None,
        "calibration error": None if run.calibration is None else run.calibration.ece_after,
    }
    for name, value in run.settings.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{below}": inner for below, inner in value.items()}
        else:
            found[name] = value
    return found


def _differing(of: str, here: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name in dict.fromkeys([*here, *there]):
        if here.get(name) != there.get(name):
            yield f"{of}: {name}", _said(here.get(name)), _said(there.get(name))


def _said(value: Any) -> str:
    if value is None:
        return "\N{EN DASH}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _cells(here: Grid, there: Grid) -> Cells:
    first, second = _by_cell(here), _by_cell(there)
    common = [Cell(*key, first[key][1], second[key][1]) for key in first if key in second]
    differing = [one for one in common if one.passes_differ or abs(one.difference or 0.0) > TOLERANCE]
    differing.sort(key=lambda one: (-abs(one.difference or 0.0), not one.passes_differ))
    more = [one.here.passed - one.there.passed for one in common if one.passes_differ]
    gained = [(one.difference, first[one.issue, one.action][0].problem) for one in common if one.difference is not None]
    return Cells(
        common=len(common),
        only_here=len(first) - len(common),
        only_there=len(second) - len(common),
        passes_more_here=sum(value > 0 for value in more),
        passes_more_there=sum(value < 0 for value in more),
        utility_gained=_mean([won for won, _ in gained], [problem for _, problem in gained]) if gained else None,
        rows=tuple(differing[:MAX_ROWS]),
        differing=len(differing),
        minutes_ms=(_minute_ms(here), _minute_ms(there)),
    )


def _minute_ms(grid: Grid) -> float | None:
    return None if grid.minute_seconds is None else 1000 * grid.minute_seconds


def _by_cell(grid: Grid) -> dict[tuple[str, str], tuple[GridCase, ActionOutcome]]:
    return {
        (case.case.issue_id, label): (case, outcome) for case in grid.cases for label, outcome in case.by_label.items()
    }


def _pairs(here: Standings | None, there: Standings | None) -> Iterator[tuple[Standing, Standing]]:
    """The best trained run of each, then policies of the same name."""
    if here is None or there is None:
        return
    leads = [_best_run(one) for one in (here, there)]
    if leads[0] is not None and leads[1] is not None:
        yield leads[0], leads[1]
    for one in here.policies:
        other = there.get(one.name)
        if one.kind != "run" and other is not None and one.regrets and other.regrets:
            yield one, other


def _best_run(standings: Standings) -> Standing | None:
    runs = [one for one in standings.policies if one.kind == "run" and one.regret is not None]
    return min(runs, key=lambda one: one.regret.mean if one.regret else 0.0, default=None)


def _policy_pair(
    one: Standing, other: Standing, matched: Mapping[str, tuple[str, str]], problem_of: Mapping[str, str]
) -> PolicyPair | None:
    keys = _common(one, other, matched)
    if not keys:
        return None
    here = np.array([one.regrets[key] for key in keys])
    there = np.array([other.regrets[matched[key][0]] for key in keys])
    return PolicyPair(
        here=one.label,
        there=other.label,
        cases=len(keys),
        same_choice=sum(one.chosen.get(key) == other.chosen.get(matched[key][0]) for key in keys),
        regret_here=float(here.mean()),
        regret_there=float(there.mean()),
        saved=_mean((there - here).tolist(), [problem_of[key] for key in keys]),
    )


def _mean(values: Sequence[float], problems: Sequence[str]) -> Range:
    return range_over(np.array(values), np.unique(problems, return_inverse=True)[1].astype(np.int64))


def _common(one: Standing, other: Standing, matched: Mapping[str, tuple[str, str]]) -> Sequence[str]:
    return [key for key in one.regrets if key in matched and matched[key][0] in other.regrets]


def _choices(one: Standing, other: Standing, matched: Mapping[str, tuple[str, str]]) -> list[Choice]:
    found = []
    for key in _common(one, other, matched):
        beyond, issue = matched[key]
        if one.chosen.get(key) != other.chosen.get(beyond):
            found.append(
                Choice(
                    issue,
                    one.chosen.get(key, "\N{EN DASH}"),
                    other.chosen.get(beyond, "\N{EN DASH}"),
                    one.regrets[key],
                    other.regrets[beyond],
                )
            )
    return sorted(found, key=lambda choice: -abs(choice.regret_here - choice.regret_there))
