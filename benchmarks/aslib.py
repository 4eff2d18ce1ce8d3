"""Our policies on a recorded algorithm selection scenario (ASlib), where published methods have known scores.

python -m benchmarks.aslib DIR                            DIR holds the scenario's two tables; some minutes
python -m benchmarks.aslib DIR --folds 2 --policies utility_forest nearest_neighbours     some seconds

Every policy is fitted on all folds but one and chooses a solver for each problem of that one, in turn. PAR10 is the
mean time in seconds, ten times the cutoff where the chosen solver fails. The closed gap is (SBS - s) / (SBS - VBS):
0 for the single best solver of the folds learned from, 1 for the virtual best one, which knows every time beforehand.
Forest and neighbours that average utilities come twice: learning from PAR10 itself, and from its logarithm, as is usual
in algorithm selection. The boosted trees and the neighbours that vote learn which solver was best, the MLP soft labels.
The joint, gated and pairwise forests and the extra trees are those of the literature (benchmarks/selectors.py). The asf
policies are those of the library of this name and run where it is installed: name them with --policies.

Computing features takes time that a selector has to pay. --feature-cost adds it to what the policies that read features
take: recorded (the column feature_cost_s), or as many seconds on every problem. A solver that would end after the
cutoff with it has not solved the problem. The table's first line says what was counted.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.scenario import PENALTY, Scenario, read_scenario, write_fold
from benchmarks.selectors import (
    AsfPairwise,
    AsfRegression,
    ExtraTrees,
    GatedForest,
    JointForest,
    MixedTrees,
    PairwiseForest,
)
from planner.config import load_config
from planner.dataset.storage import Dataset
from planner.errors import ConfigError, PlannerError
from planner.evaluation.decisions import decide_by_score
from planner.policies.forest import UtilityForest
from planner.policies.most_frequent import MostFrequentNearby
from planner.policies.neighbours import NearestNeighbours
from planner.policies.policy import Policy
from planner.policies.single_best import SingleBest
from planner.policies.trees import BoostedTrees
from planner.runs.learned import LearnedPolicy
from planner.scoring.bootstrap import mean_interval, ratio_interval
from planner.scoring.preferences import best_per_case
from planner.scoring.regret import chosen_rows
from planner.training.loop import start_run, train

SINGLE_BEST = "single best (SBS)"
VIRTUAL_BEST = "virtual best (VBS)"
MLP = "mlp_planner"
ON_LOG_TIME = "_log"
"""Ends the name of a policy that learns from the logarithm of PAR10."""
FITTED: dict[str, Callable[[Dataset, int], Policy]] = {
    "utility_forest": UtilityForest,
    f"utility_forest{ON_LOG_TIME}": UtilityForest,
    "joint_forest": JointForest,
    "extra_trees": ExtraTrees,
    "mixed_trees": MixedTrees,
    "gated_forest": GatedForest,
    "pairwise_forest": PairwiseForest,
    "nearest_neighbours": lambda dataset, seed: NearestNeighbours(dataset),
    f"nearest_neighbours{ON_LOG_TIME}": lambda dataset, seed: NearestNeighbours(dataset),
    "boosted_trees": BoostedTrees,
    "most_frequent_nearby": lambda dataset, seed: MostFrequentNearby(dataset),
}
RIVALS: dict[str, Callable[[Dataset, int], Policy]] = {"asf_pairwise": AsfPairwise, "asf_regression": AsfRegression}
"""They need a library that the planner does not, so that they run only when they are named."""
POLICIES = (*FITTED, MLP)
RECORDED = "recorded"


@dataclass(frozen=True)
class Result:
    """One policy on the tested problems, (n,) each. Regret is in utility, the share of the PAR10 penalty lost."""

    policy: str
    regret: NDArray[np.float64]
    solved: NDArray[np.bool_]
    seconds: float
    """To fit or train and to choose, all folds together."""


def evaluate(
    scenario: Scenario,
    *,
    policies: Sequence[str] = POLICIES,
    folds: int = 10,
    seed: int = 0,
    settings: Sequence[str] = (),
    feature_cost_s: NDArray[np.float64] | None = None,
) -> list[Result]:
    """Test the virtual best, the single best and ``policies`` on the scenario's first ``folds`` folds.

    ``settings`` override the MLP's, as key=value. ``feature_cost_s`` (n,) is what ``policies`` pay to read a problem's
    features; None = nothing. ConfigError for a policy that does not exist.
    """
    unknown = sorted(set(policies) - {*POLICIES, *RIVALS})
    if unknown:
        raise ConfigError(f"--policies {' '.join(unknown)}: not here; choose from {', '.join((*POLICIES, *RIVALS))}")
    numbers = sorted(set(scenario.folds.tolist()))
    tested = [
        _evaluate_fold(scenario, fold, numbers[(at + 1) % len(numbers)], policies, seed, settings)
        for at, fold in enumerate(numbers[:folds])
    ]
    results = [_joined(parts) for parts in zip(*tested, strict=True)]
    if feature_cost_s is None:
        return results
    tested_rows = np.concatenate([np.flatnonzero(scenario.folds == fold) for fold in numbers[:folds]])
    return [
        result if result.policy in (VIRTUAL_BEST, SINGLE_BEST) else _paid(result, scenario, tested_rows, feature_cost_s)
        for result in results
    ]


def _paid(result: Result, scenario: Scenario, rows: NDArray[np.intp], feature_cost_s: NDArray[np.float64]) -> Result:
    """The result had the policy spent ``feature_cost_s`` (n,) before it started its solver on the problems ``rows``."""
    penalty_s, cost_s = PENALTY * scenario.cutoff_s, feature_cost_s[rows]
    par10_s = scenario.par10[rows].min(axis=1) + penalty_s * result.regret
    solved = result.solved & (par10_s + cost_s < scenario.cutoff_s)
    more_s = np.where(solved, cost_s, penalty_s - par10_s)
    return replace(result, regret=result.regret + more_s / penalty_s, solved=solved)


def _evaluate_fold(
    scenario: Scenario, fold: int, validation: int, policies: Sequence[str], seed: int, settings: Sequence[str]
) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="planner-aslib-") as name:
        directory = Path(name)
        dataset = write_fold(scenario, fold, directory / "par10")
        log_time = write_fold(scenario, fold, directory / "log", log_time=True)
        outcomes = dataset.splits["test"].outcomes
        best = outcomes.passed[chosen_rows(best_per_case(outcomes).of_action, outcomes)] > 0
        results = [
            Result(VIRTUAL_BEST, np.zeros(len(best)), best, 0.0),
            _timed(SINGLE_BEST, lambda: SingleBest(dataset), dataset),
        ]
        for policy in policies:
            if policy == MLP:
                # The others learn from every fold but the tested one; the MLP needs one more to know when to stop.
                validated = write_fold(scenario, fold, directory / "validated", validation=validation)
                make: Callable[[], Policy] = partial(_train, validated, directory / "run", seed, settings)
            else:
                make = partial((FITTED | RIVALS)[policy], log_time if policy.endswith(ON_LOG_TIME) else dataset, seed)
            results.append(_timed(policy, make, dataset))
    return results


def _train(dataset: Dataset, run: Path, seed: int, settings: Sequence[str]) -> Policy:
    config = load_config(MLP, None, [f"seed={seed}", "n_similar=0", "labels=soft", *settings])
    start_run(run, config, dataset.path, init_from=None, workers=1, resume=False)
    train(run)
    return LearnedPolicy(run)


def _timed(name: str, make: Callable[[], Policy], dataset: Dataset) -> Result:
    started = time.perf_counter()
    split = dataset.splits["test"]
    decisions = decide_by_score(make(), split)
    solver = np.array([dataset.space.swarm_ids.index(action.swarm_id) for action in decisions.actions])
    # Every solver ran on every problem, so that the outcomes are a table.
    solved = split.outcomes.passed.reshape(len(split), -1)[np.arange(len(split)), solver] > 0
    return Result(name, decisions.regret, solved, time.perf_counter() - started)


def _joined(parts: Sequence[Result]) -> Result:
    return Result(
        parts[0].policy,
        np.concatenate([part.regret for part in parts]),
        np.concatenate([part.solved for part in parts]),
        sum(part.seconds for part in parts),
    )


def report(scenario: Scenario, results: Sequence[Result], folds: int) -> str:
    """The table: PAR10 in seconds, closed gap and regret with their 95 % bootstrap intervals over problems."""
    numbers = sorted(set(scenario.folds.tolist()))[:folds]
    virtual_best_s = float(scenario.par10[np.isin(scenario.folds, numbers)].min(axis=1).mean())
    single_best = next(result.regret for result in results if result.policy == SINGLE_BEST)
    lines = ["policy                  PAR10 s  closed gap  95 % interval     regret  95 % interval     solved  seconds"]
    for result in results:
        left, most, least = ratio_interval(result.regret, single_best)
        regret, low, high = mean_interval(result.regret)
        par10_s = virtual_best_s + PENALTY * scenario.cutoff_s * regret
        lines.append(
            f"{result.policy:22s} {par10_s:8.1f}  {1 - left:10.3f}  {1 - least:6.3f} to {1 - most:6.3f}  "
            f"{regret:.4f}  {low:.4f} to {high:.4f}  {result.solved.mean():6.3f}  {result.seconds:7.1f}"
        )
    return "\n".join(lines)


def read_feature_cost(text: str | None, scenario: Scenario) -> NDArray[np.float64] | None:
    """What --feature-cost says, in seconds for each problem, (n,); None when nothing is counted.

    ConfigError for what is no number of seconds, and where the scenario recorded none.
    """
    if text is None:
        return None
    if text == RECORDED:
        if scenario.feature_cost_s is None:
            raise ConfigError(
                f"--feature-cost {RECORDED}: issues.parquet has no column feature_cost_s without gaps; "
                "add it, or give seconds"
            )
        return scenario.feature_cost_s
    try:
        seconds = float(text)
    except ValueError:
        seconds = np.nan
    if not 0 <= seconds < np.inf:
        raise ConfigError(f"--feature-cost {text}: give seconds, 0 or more, or {RECORDED}")
    return np.full(len(scenario.problems), seconds)


def cost_text(cost_s: NDArray[np.float64] | None) -> str:
    """What the table says of the cost of features."""
    if cost_s is None:
        return "computing features is not counted"
    return f"computing features is counted: {cost_s.mean():.3g} s a problem, {cost_s.max():.3g} s at most"


def main() -> int:
    """Evaluate one scenario and print its table; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.aslib", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, metavar="DIR", help="holds issues.parquet and outcomes.parquet")
    parser.add_argument("--folds", type=int, default=10, help="how many of the scenario's own folds to test on")
    parser.add_argument(
        "--policies",
        nargs="+",
        default=POLICIES,
        metavar="POLICY",
        help=f"{', '.join(POLICIES)} (default: all of these), {', '.join(RIVALS)}",
    )
    parser.add_argument(
        "--feature-cost",
        metavar="SECONDS",
        help=f"what features take, on every problem, or {RECORDED} (default: not counted)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of forest, trees and MLP")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting of the MLP")
    arguments = parser.parse_args()
    try:
        scenario = read_scenario(arguments.directory)
        cost_s = read_feature_cost(arguments.feature_cost, scenario)
        print(
            f"{arguments.directory.name}: {len(scenario.problems)} problems, {len(scenario.solvers)} solvers, "
            f"{len(scenario.feature_names)} features, cutoff {scenario.cutoff_s:g} s; {cost_text(cost_s)}",
            flush=True,
        )
        results = evaluate(
            scenario,
            policies=arguments.policies,
            folds=arguments.folds,
            seed=arguments.seed,
            settings=arguments.set,
            feature_cost_s=cost_s,
        )
    except PlannerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report(scenario, results, arguments.folds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
