"""Recorded trials whose truth is planted: a problem's group says how it goes; as a ledger, and as a dataset."""

from pathlib import Path

import numpy as np
import pandas as pd

from bench.containment.limits import Deadline
from bench.executors.replay import ReplayExecutor
from bench.planning.cases import add_cases
from bench.planning.selections import AllActions
from planner.actions import action_from_document
from tests.bench.ledgers import bound, write_ledger
from tests.bench.test_replay import write_tables

N_TRIALS = 3
HOLDOUT = 0.2
"""Share of the cases that is judged: judging by every baseline is what takes time."""
KINDS = {"quick": (0.9, 4, 12), "slow": (0.9, 50, 70), "hopeless": (0.0, 90, 110)}
"""Group of problems -> chance to pass, least and most minutes."""


def write_grouped_ledger(directory: Path) -> Path:
    """Twenty-four problems with four agents, each of a kind that its group shows."""
    draw, names = np.random.default_rng(0), list(KINDS)
    trials: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    for number in range(24):
        passes, least, most = KINDS[names[number % 3]]
        for agent in ("w", "x", "y", "z"):
            came = [(bool(draw.random() < passes), float(draw.uniform(least, most))) for _ in range(N_TRIALS)]
            trials[f"problem-{number}", agent] = came
    tables = write_tables(directory / "tables", trials)
    issues = pd.read_parquet(tables / "issues.parquet")
    issues["issue_group"] = [names[int(issue.split("-")[1]) % 3] for issue in issues["issue_id"]]
    issues.to_parquet(tables / "issues.parquet")
    return bench_tables(tables, directory)


def bench_tables(tables: Path, directory: Path) -> Path:
    """The ledger of a bench of all actions on recorded trials, in ``directory``."""
    executor = ReplayExecutor.prepare(tables, n_trials=N_TRIALS)
    cases = add_cases([], [], executor.drafts(None, "recorded"), AllActions(), 4, None)
    told = []
    for case in cases:
        actions = [action_from_document(action.model_dump()) for action in case.actions]
        told.append((case, {a: executor.execute(case, a, directory, 0, Deadline(None)) for a in actions}))
    return bound(write_ledger(directory / "ledger.sqlite", told), replay="tables", minute_seconds=60.0)
