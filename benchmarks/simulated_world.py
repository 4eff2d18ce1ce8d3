"""How much of what an ideal reader of contexts wins in a simulated world the policies that learn from trials win.

planner simulate sim --open 1500
planner dataset build sim --out sim-logs
python -m benchmarks.simulated_world sim sim-logs
planner bench sim --executor simulate --k 4 && planner relabel ... --out sim-bench     then also: sim sim-logs sim-bench

Each dataset's policies are fitted once, on its train, and judged on the open issues that were filed after the last
decision of any train. All outcomes are expectations that the world reckons (bench.testbeds.simulation.ideal_reader,
which says what the ideal reader knows). gain is utility above the best fixed plan in hindsight, share the part of the
ideal reader's gain, both with 95 % intervals over issues. Policies come with their gate, and following their values.
"""

import argparse
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.executors.registry import PreparedBench
from bench.options import BenchOptions
from bench.planning.selections import Coverage
from bench.testbeds.simulation.ideal_reader import known, outcomes, read
from bench.testbeds.simulation.kind import KIND, SimulateOptions
from bench.testbeds.simulation.world import World
from planner.artifacts.repo import Repo
from planner.contracts.document import timestamp_to_ms
from planner.dataset.storage import Dataset, load_dataset
from planner.policies.questions import question_of
from planner.policies.readings import by_utility
from planner.policies.trial_plans import CODE, plans_of_actions, plans_of_rule
from planner.policies.trial_policy import MEMBERS, TrialPolicy
from planner.scoring.bootstrap import ratio_interval
from planner.scoring.plan_outcome import PlanOutcomes

Array: TypeAlias = NDArray[np.float64]


def later_contexts(prepared: PreparedBench, after_ms: int) -> list[dict[str, Any]]:
    """Contexts of the open issues that were filed after ``after_ms``, in order of time."""
    cases = prepared.make_cases([], Coverage(0))
    contexts = [case.context.model_dump(exclude_unset=True) for case in cases]
    later = [one for one in contexts if timestamp_to_ms(one["created_at"]) > after_ms]
    return sorted(later, key=lambda one: timestamp_to_ms(one["created_at"]))


def reckon(world: World, context: dict[str, Any], plans: list[Any]) -> tuple[PlanOutcomes, PlanOutcomes]:
    """What plans come to, and what the ideal reader expects of them."""
    issue, at_ms = world.issue(context["issue"]["issue_id"]), timestamp_to_ms(context["created_at"])
    hint = issue.document.get("dk_tool_hint")
    return outcomes(known(world, issue, at_ms), hint, plans), outcomes(read(world, issue, at_ms), hint, plans)


def choices_of(
    name: str, dataset: Dataset, contexts: list[dict[str, Any]], concrete: NDArray[np.bool_]
) -> dict[str, NDArray[np.intp]]:
    """What a policy that learned from a dataset chooses, with its gate and without."""
    policy = TrialPolicy.fit(name, dataset)
    questions = [question_of(context, policy.kernel_config) for context in contexts]
    ungated = policy.reading(policy.values.values(questions))
    return {
        f"{name}, {dataset.path.name}, gated": _best(policy.utilities(contexts), concrete),
        f"{name}, {dataset.path.name}": _best(ungated, concrete),
    }


def _best(scores: Array, concrete: NDArray[np.bool_]) -> NDArray[np.intp]:
    return np.where(concrete, scores, -np.inf).argmax(axis=1)


def table(came: PlanOutcomes, chosen: dict[str, NDArray[np.intp]], fixed: int, ideal: NDArray[np.intp]) -> str:
    """One line per policy."""
    rows = np.arange(len(ideal))
    worth = by_utility()(came)
    winnable = worth[rows, ideal] - worth[:, fixed]
    lines = [f"{'':44s} pass  wall min agent min  utility  gain                        share of the ideal reader's"]
    for name, plans in chosen.items():
        won = worth[rows, plans] - worth[:, fixed]
        gain, share = ratio_interval(won, np.ones(len(won))), ratio_interval(won, winnable)
        passed, wall, agent = (kind[rows, plans].mean() for kind in came)
        lines.append(
            f"{name:44s} {passed:.3f}  {wall:7.1f}  {agent:8.1f}   {worth[rows, plans].mean():.4f}  "
            f"{gain[0]:+.4f} [{gain[1]:+.4f}, {gain[2]:+.4f}]  {share[0]:+.2f} [{share[1]:+.2f}, {share[2]:+.2f}]"
        )
    return "\n".join(lines)


def main() -> None:
    """Fit, reckon and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repo", type=Path, help="made by `planner simulate`")
    parser.add_argument("datasets", type=Path, nargs="+", help="built of it, or of its bench")
    options = parser.parse_args()
    repo, datasets = Repo(options.repo), [load_dataset(path) for path in options.datasets]
    prepared = KIND.prepare(options.repo, BenchOptions(executor="simulate"), SimulateOptions())
    world = World(repo.config["simulation"]["seed"], repo.config["simulation"]["days"])
    after_ms = max(max(one.splits["train"].table["decided_ms"]) for one in datasets)
    contexts = [
        c for c in later_contexts(prepared, after_ms) if repo.issues[c["issue"]["issue_id"]]["status"] == "open"
    ]
    space = datasets[0].space
    actions = space.valid_actions(CODE)
    # In the world "NA" means one candidate and no limit, in the kernel its defaults.
    concrete = np.array([action.max_candidates_bin != "NA" and action.max_minutes_bin != "NA" for action in actions])
    reckoned = [reckon(world, context, plans_of_actions(actions, repo.config)) for context in contexts]
    came, expected = (PlanOutcomes(*map(np.array, zip(*side, strict=True))) for side in zip(*reckoned, strict=True))
    worth = np.where(concrete, by_utility()(came), -np.inf)
    fixed, ideal = int(worth.mean(axis=0).argmax()), _best(by_utility()(expected), concrete)
    chosen = {
        f"best fixed: {actions[fixed]}": np.full(len(contexts), fixed),
        "today's rule": plans_of_rule(contexts, space, repo.config),
    }
    for dataset in datasets:
        for name in MEMBERS:
            chosen |= choices_of(name, dataset, contexts, concrete)
    chosen |= {"ideal reader": ideal, "best per case": worth.argmax(axis=1)}
    print(f"world {world.seed}, {world.days} days; {len(contexts)} open issues judged")
    print(table(came, chosen, fixed, ideal))


if __name__ == "__main__":
    main()
