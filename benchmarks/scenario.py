"""An algorithm selection scenario (ASlib) as planner datasets: a problem is an issue, a solver is a swarm.

The action space has one head that matters, swarm_id; the other three have a single value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from planner.actions import Action, ActionSpace
from planner.artifacts.beads import issue_context
from planner.artifacts.universe import NO_UNIVERSE
from planner.context import planner_input
from planner.dataset.examples import Example
from planner.dataset.outcomes import ActionOutcome
from planner.dataset.storage import Dataset, load_dataset
from planner.dataset.write import write_dataset
from planner.encoding.encode import Encoded
from planner.encoding.features import RUN_FEATURES
from planner.encoding.tokens import SPECIALS
from planner.errors import DatasetError

PENALTY = 10
"""PAR10: a problem that is not solved counts as this many times the cutoff."""
SHORTEST_S = 0.005
"""Below this, a solver's time is that of the clock: its logarithm is taken as if it were this long."""
FEATURE_PREFIX = "f_"
FEATURE_COST_COLUMN = "feature_cost_s"
PROBLEM_COLUMNS = ("issue_id", "fold", "cutoff_s")
OUTCOME_COLUMNS = ("issue_id", "action_id", "passed", "duration_s")


@dataclass(frozen=True)
class Scenario:
    """n problems, S solvers, F features. Times are seconds."""

    problems: list[str]
    folds: NDArray[np.int64]
    """The scenario's own folds for cross-validation, (n,)."""
    feature_names: list[str]
    features: NDArray[np.float64]
    """(n, F); NaN where computing them failed."""
    solvers: list[str]
    """Sorted."""
    solved: NDArray[np.bool_]
    """(n, S)."""
    seconds: NDArray[np.float64]
    """(n, S), the cutoff at most."""
    cutoff_s: float
    feature_cost_s: NDArray[np.float64] | None = None
    """What computing the features took, (n,); None where that was not recorded for every problem."""

    @property
    def par10(self) -> NDArray[np.float64]:
        """The time of every solver on every problem, ten times the cutoff where it did not solve it, (n, S)."""
        return np.where(self.solved, self.seconds, PENALTY * self.cutoff_s)

    @property
    def utility(self) -> NDArray[np.float64]:
        """PAR10 as a utility in [-1, 0], (n, S): regret in it is the share of the penalty that a choice lost."""
        return -self.par10 / (PENALTY * self.cutoff_s)

    @property
    def log_utility(self) -> NDArray[np.float64]:
        """The logarithm of PAR10 as a utility in [-1, 0], (n, S): a second counts more on a problem that takes few."""
        longest = PENALTY * self.cutoff_s / SHORTEST_S
        return -np.log(np.maximum(self.par10 / SHORTEST_S, 1.0)) / np.log(longest)

    @property
    def space(self) -> ActionSpace:
        """One action per solver."""
        single = {f"{head}_bins": ["NA"] for head in ("max_candidates", "max_minutes", "max_iterations")}
        return ActionSpace.from_document({"swarm_ids": self.solvers, **single, "validity_rules": []})


def read_scenario(directory: Path) -> Scenario:
    """The scenario in issues.parquet and outcomes.parquet of ``directory``.

    DatasetError when a file or column is missing, or when not every solver ran exactly once on every problem.
    """
    issues = _read(directory / "issues.parquet", PROBLEM_COLUMNS)
    outcomes = _read(directory / "outcomes.parquet", OUTCOME_COLUMNS)
    problems = issues["issue_id"].to_pylist()
    solvers = sorted(set(outcomes["action_id"].to_pylist()))
    names = [name for name in issues.column_names if name.startswith(FEATURE_PREFIX)]
    cutoffs = set(issues["cutoff_s"].to_pylist())
    places = _places(outcomes, problems, solvers)
    if len(cutoffs) != 1 or not names or sorted(places.tolist()) != list(range(len(problems) * len(solvers))):
        raise DatasetError(
            f"{directory}: a scenario has one cutoff ({len(cutoffs)} found), features {FEATURE_PREFIX}* "
            f"({len(names)} found), and one run of each of its {len(solvers)} solvers on each of its {len(problems)} "
            f"problems ({len(places)} found): make its tables so"
        )
    order = np.argsort(places)
    shape = len(problems), len(solvers)
    return Scenario(
        problems=problems,
        folds=np.array(issues["fold"].to_pylist(), dtype=np.int64),
        feature_names=names,
        features=np.array([issues[name].to_pylist() for name in names], dtype=np.float64).T,
        solvers=solvers,
        solved=np.array(outcomes["passed"].to_pylist(), dtype=bool)[order].reshape(shape),
        seconds=np.array(outcomes["duration_s"].to_pylist(), dtype=np.float64)[order].reshape(shape),
        cutoff_s=cutoffs.pop(),
        feature_cost_s=_feature_cost_s(issues),
    )


def _feature_cost_s(issues: pa.Table) -> NDArray[np.float64] | None:
    if FEATURE_COST_COLUMN not in issues.column_names:
        return None
    seconds = np.array(issues[FEATURE_COST_COLUMN].to_pylist(), dtype=np.float64)
    return seconds if (seconds >= 0).all() else None


def _read(path: Path, columns: Sequence[str]) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DatasetError(f"{path}: not a readable Parquet file ({error}); give the directory of a scenario") from None
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise DatasetError(f"{path}: lacks the columns {', '.join(missing)}; give the directory of a scenario")
    return table


def _places(outcomes: pa.Table, problems: list[str], solvers: list[str]) -> NDArray[np.int64]:
    """Where each run belongs in a flat (n, S) table; -1 for a problem that the scenario lacks."""
    row = {problem: at for at, problem in enumerate(problems)}
    column = {solver: at for at, solver in enumerate(solvers)}
    pairs = zip(outcomes["issue_id"].to_pylist(), outcomes["action_id"].to_pylist(), strict=True)
    return np.array([row[i] * len(solvers) + column[a] if i in row else -1 for i, a in pairs], dtype=np.int64)


def write_fold(
    scenario: Scenario, fold: int, out: Path, *, validation: int | None = None, log_time: bool = False
) -> Dataset:
    """Write a dataset that tests on ``fold``, validates on the fold ``validation`` and trains on all others.

    Utilities are Scenario.utility; with ``log_time``, those to train on are Scenario.log_utility. A feature that is
    missing becomes its median over the problems to train on. DatasetError when a split that is asked for has no
    problems.
    """
    folds = scenario.folds
    test, val = folds == fold, folds == validation
    members = [np.flatnonzero(part) for part in (~test & ~val, val, test)]
    if not len(members[0]) or not len(members[2]) or (validation is not None and not len(members[1])):
        raise DatasetError(f"fold {fold} with validation {validation}: the scenario's folds are {sorted(set(folds))}")
    rows = np.concatenate(members)
    bounds = np.cumsum([0, *map(len, members)]).tolist()
    space = scenario.space
    write_dataset(
        out,
        examples=_examples(scenario, rows, space, len(members[0]), log_time),
        encoded=[_encoded(impute(scenario.features, members[0])[rows])],
        splits={name: range(bounds[i], bounds[i + 1]) for i, name in enumerate(("train", "val", "test"))},
        space=space,
        vocabulary=SPECIALS,
        seen_issues={scenario.problems[row] for row in members[0]},
        n_similar=0,
        context_names=scenario.feature_names,
        account={
            "label_source": "bench_winners",
            "base_dataset_hash": None,
            "kernel_config": {},
            "minute_seconds": 60.0,
            "counts": {"examples": len(rows), "outcomes": scenario.seconds[rows].size},
            "contexts": {"recorded": len(rows)},
            "unlabelled": {},
            "quarantine": [],
        },
    )
    return load_dataset(out)


def impute(features: NDArray[np.float64], train: NDArray[np.intp]) -> NDArray[np.float64]:
    """``features`` (n, F) with each column's median over ``train`` where a value is missing; 0 where train has none."""
    known = features[train]
    empty = np.isnan(known).all(axis=0)
    medians = np.nanmedian(np.where(empty, 0.0, known), axis=0)
    return np.where(np.isnan(features), medians, features)


def _examples(
    scenario: Scenario, rows: NDArray[np.intp], space: ActionSpace, n_train: int, log_time: bool
) -> list[Example]:
    """The problems at ``rows``, labelled with the solver of least PAR10.

    Where solvers tie, mostly because none solved the problem, the label is the one that is best on average in train.
    """
    utility = scenario.utility
    average = utility[rows[:n_train]].mean(axis=0)
    learned = scenario.log_utility if log_time else utility
    document, actions = space.to_document(), [Action(solver, "NA", "NA", "NA") for solver in scenario.solvers]
    examples = []
    for at, row in enumerate(rows.tolist()):
        best = int(np.lexsort((average, utility[row]))[-1])
        outcomes = tuple(
            ActionOutcome(action, float(solved), ms, ms, not solved, float(value))
            for action, solved, ms, value in zip(
                actions,
                scenario.solved[row],
                (1000 * scenario.seconds[row]).round().astype(int).tolist(),
                (learned if at < n_train else utility)[row],
                strict=True,
            )
        )
        # A scenario has no times: the problems are numbered.
        context = planner_input(
            issue=issue_context({"id": scenario.problems[row]}, 0),
            universe=NO_UNIVERSE,
            job_type="code",
            similar_runs=(),
            created_ms=at,
        )
        examples.append(
            Example.of(
                context | {"action_space": document},
                example_id=scenario.problems[row],
                label=actions[best],
                decided_ms=at,
                issue_id=scenario.problems[row],
                job_type="code",
                domain="code",
                status="success" if scenario.solved[row, best] else "timeout",
                duration_ms=outcomes[best].duration_ms,
                cost_usd=None,
                compared=outcomes,
            )
        )
    return examples


def _encoded(features: NDArray[np.float64]) -> Encoded:
    """Contexts of these features, without tokens and without similar runs."""
    n = len(features)
    return Encoded(
        strings=[],
        tokens=np.zeros(0, dtype=np.int32),
        segments=np.zeros((n, 2), dtype=np.int64),
        context_features=features.astype(np.float32),
        run_features=np.zeros((n, 0, len(RUN_FEATURES)), dtype=np.float32),
    )
