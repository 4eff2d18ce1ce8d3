"""What a gate makes of small logs: recorded cases are drawn, one run of each is logged, and the gate is judged by what
following the model truly comes to on problems that were not drawn.

python -m benchmarks.small_logs TABLES [--trials 5 --minute-seconds 10] [--draws 40] [--json FILE]

Half of the runs are by the rule of the house, half by any plan. The rule is today's, which leaves much to win, or the
plan that is best on average over all cases, which leaves next to nothing: a gate should open for the first alone.
Each is told with the gate's errors multiplied by 1 (the gate as it is), 1.64 and 1.96, and 0: the mean error alone.
"""

import argparse
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.decisions import LIMIT_MINUTES, Table, read_table, trials_of_case
from planner.dataset.trials import Trial, trials_of
from planner.policies.readings import Gate
from planner.policies.trial_values import Known, fit_trial_values
from planner.scoring.plan_outcome import Plan, PlanOutcomes

SIZES = (20, 40, 80, 160)
MULTIPLES = (0.0, 1.0, 1.64, 1.96)


@dataclass(frozen=True)
class Draw:
    """One small log: its gate on new problems, and what following the model truly gains there, in utility."""

    rule: str
    size: int
    gate: Gate
    off: float
    """How far foreseen passes of the plans that were run lie from those that came, on average."""
    gain: float

    def is_open(self, multiple: float) -> bool:
        """Whether the gate would be open with its standard errors so many times as large."""
        errors = math.hypot(self.gate.error, math.sqrt(max(self.gate.doubt**2 - self.off**2, 0.0)))
        return not self.gate.lacking and self.gate.gain > math.hypot(self.off, multiple * errors)


def drawn(table: Table, rule: str, size: int, seed: int) -> Draw | None:
    """A log of ``size`` cases, judged on the problems that are not in it; None where too few are left."""
    draw = np.random.default_rng([seed, size])
    utility = table.utility(table.expected)
    kept = table.today if rule == "today's" else int(utility.mean(axis=0).argmax())
    learning = np.sort(draw.permutation(len(table.cases))[:size])
    problems = np.array([case.problem["issue_id"] for case in table.cases])
    judged = np.flatnonzero(~np.isin(problems, problems[learning]))
    if len(judged) < SIZES[0]:
        return None
    ran = np.where(draw.random(size) < 0.5, draw.integers(0, len(table.plans), size), kept)
    is_run = np.arange(len(table.plans)) == ran[:, None]
    outcomes = PlanOutcomes(*(np.where(is_run, kind[learning], np.nan) for kind in table.recorded))
    logs = zip(learning.tolist(), ran.tolist(), strict=True)
    trials = [trial for row, plan in logs for trial in _logged(table, row, table.plans[plan][0])]
    model = fit_trial_values(
        trials_of(trials),
        Known([table.questions[row] for row in learning], outcomes, np.full(size, kept)),
        table.plans,
        LIMIT_MINUTES,
        ("structural",),
        minute_ms=table.minute_ms,
    )
    found, rows = model.judged, model.judged.rows["new"]
    off = (found.foreseen["new"].passed - found.came.passed)[rows, ran[rows]].mean()
    chosen = table.utility(model.values([table.questions[row] for row in judged])).argmax(axis=1)
    gain = utility[judged, chosen] - utility[judged, kept]
    return Draw(rule, size, found.gates(table.utility)["new"], float(off), float(gain.mean()))


def _logged(table: Table, row: int, plan: Plan) -> list[Trial]:
    """The trials that a run of a plan leaves: those of its first attempts, cut at its limit."""
    limit_ms = round(plan.limit * table.minute_ms)
    first = trials_of_case(table, row)[: plan.lanes if plan.side_by_side else 1]
    return [
        trial
        if trial.duration_ms is None or trial.duration_ms <= limit_ms
        else trial._replace(passed=None, duration_ms=limit_ms, cut=True)
        for trial in first
    ]


def show(name: str, draws: Iterable[Draw]) -> None:
    """A line for each rule and size."""
    every = list(draws)
    print(f"\n{name}: how often the gate is open (times the model then lost; utility won on average)")
    print(f"{'rule':9}{'runs':>5}{'logs':>5}{'believed':>9}{'true':>8}  " + "".join(f"{m:^24g}" for m in MULTIPLES))
    for rule, size in dict.fromkeys((draw.rule, draw.size) for draw in every):
        some = [draw for draw in every if (draw.rule, draw.size) == (rule, size)]
        gains = np.array([draw.gain for draw in some])
        believed = float(np.mean([draw.gate.gain for draw in some]))
        cells = "".join(_cell(np.array([draw.is_open(m) for draw in some]), gains) for m in MULTIPLES)
        print(f"{rule:9}{size:5}{len(some):5}{believed:9.3f}{gains.mean():8.3f}  {cells}")


def _cell(is_open: NDArray[np.bool_], gains: NDArray[np.float64]) -> str:
    lost = int((gains[is_open] < 0).sum())
    return f"{f'{is_open.mean():.2f} ({lost}; {np.where(is_open, gains, 0.0).mean():+.3f})':^24}"


def main() -> None:
    """Draw, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path)
    parser.add_argument("--trials", type=int, default=6, help="trials of a case that are used")
    parser.add_argument("--minute-seconds", type=float, default=60.0, help="how long a minute of budget lasts in them")
    parser.add_argument("--draws", type=int, default=40, help="logs of each size and rule")
    parser.add_argument("--json", type=Path, help="where all figures go")
    options = parser.parse_args()
    table = read_table(options.tables, options.trials, options.minute_seconds)
    draws = [
        found
        for rule in ("today's", "the best")
        for size in SIZES
        for seed in range(options.draws)
        if (found := drawn(table, rule, size, seed)) is not None
    ]
    show(table.name, draws)
    if options.json:
        rows: list[dict[str, Any]] = [asdict(draw) for draw in draws]
        options.json.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))


if __name__ == "__main__":
    main()
