"""Reading a policy from predicted outcomes: what is expected, and what is safe, on outcomes that trap the first too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench.judging.objective import Objective
from planner.actions import Action, ActionSpace
from planner.dataset.outcomes import ActionOutcome
from planner.dataset.storage import inputs_of_split, load_dataset
from planner.errors import CheckpointError, ConfigError
from planner.evaluation.decisions import decide_by_rule, decide_by_values
from planner.runs.checkpoint import read_run
from planner.runs.value import ActionValues, ValueEnsemble, expected_times, safe_savings, time_limits
from planner.scoring.utility import limit_ms
from tests.bench.test_objective import outcome as bench_outcome
from tests.planner.compared import write_compared
from tests.trained_runs import trained

MINUTE_MS = 60_000
DEFAULT, CHEAP = Action("speculate_vote", 3, 120, "NA"), Action("serial_handoff", 1, 15, "NA")
"""The default takes the whole limit three times over, which costs 0.2 of utility; the cheap action takes next to no
time, and on hard issues passes 15 times less in a hundred."""
RARE = Action("speculate_vote", 2, 15, "NA")
"""Cheaper than the default, and hardly ever tried."""


def is_hard(context: dict[str, Any]) -> bool:
    return context["issue"]["dk_risk"] in ("high", "critical")


def pass_rate(action: Action, hard: bool) -> float:
    return {DEFAULT: 0.9, CHEAP: 0.75, RARE: 0.5}[action] if hard else 0.95


def minutes(action: Action) -> tuple[float, float]:
    """Wall and agent time."""
    return {DEFAULT: (115.0, 340.0), CHEAP: (1.0, 1.0), RARE: (2.0, 4.0)}[action]


def trap(seed: int) -> Any:
    """Outcomes in which utility is gained by losing passes: each action's share over 40 runs of each context."""
    random = np.random.default_rng(seed)

    def outcomes(context: dict[str, Any]) -> list[ActionOutcome]:
        found = []
        for action in (DEFAULT, CHEAP, *([RARE] if random.random() < 0.03 else [])):
            passed = random.binomial(40, pass_rate(action, is_hard(context))) / 40
            wall, agent = (time * float(np.exp(random.normal(0, 0.1))) for time in minutes(action))
            wall, agent = min(wall, 120.0), min(agent, 360.0)
            found.append(
                ActionOutcome(
                    action,
                    passed,
                    round(wall * MINUTE_MS),
                    round(agent * MINUTE_MS),
                    wall == 120.0,
                    passed - 0.1 * wall / 120 - 0.1 * agent / 360,
                )
            )
        return found

    return outcomes


@pytest.fixture(scope="module")
def runs(synthetic: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three members of an ensemble, trained for values alone."""
    directory = tmp_path_factory.mktemp("value")
    dataset = write_compared(synthetic[1], directory / "dataset", trap(0))
    values = ("model.value_head=true", "policy_weight=0", "bootstrap=true", "ema=0.9")
    long = ("epochs=60", "lr=0.005", "batch_size=32")
    runs = [directory / f"run-{seed}" for seed in range(3)]
    for seed, run in enumerate(runs):
        trained(dataset, run, *values, *long, f"seed={seed}")
    return runs


def test_expected_utility_trades_passes_for_time_and_the_safe_reading_does_not(runs: list[Path]) -> None:
    split = load_dataset(Path(read_run(runs[0]).dataset)).splits["test"]
    inputs, hard = inputs_of_split(split), np.array([is_hard(context) for context in split.contexts()])
    assert 10 < hard.sum() < len(hard) - 10
    ensemble = ValueEnsemble(runs)
    greedy = ensemble.best(inputs, "code")
    safe = ensemble.safe(inputs, "code", [DEFAULT] * len(split), delta=0.05, confidence=0.95)

    def passes(actions: list[Action]) -> float:
        return float(np.mean([pass_rate(action, h) for action, h in zip(actions, hard, strict=True)]))

    def agent_minutes(actions: list[Action]) -> float:
        return float(np.mean([minutes(action)[1] for action in actions]))

    default = [DEFAULT] * len(split)
    assert set(greedy) <= {DEFAULT, CHEAP, RARE} and set(safe) <= {DEFAULT, CHEAP}
    assert passes(greedy) < passes(default) - 0.05
    assert passes(safe) > passes(default) - 0.01
    assert agent_minutes(safe) < 0.85 * agent_minutes(default)


def test_a_reading_is_judged_like_any_other_policy(runs: list[Path]) -> None:
    dataset = load_dataset(Path(read_run(runs[0]).dataset))
    split, ensemble = dataset.splits["test"], ValueEnsemble(runs)
    greedy = decide_by_values(ensemble, dataset, split, safe=False)
    assert greedy.actions == ensemble.best(inputs_of_split(split), "code")
    expected, valid = ensemble.utilities(inputs_of_split(split), "code"), dataset.space.valid_actions("code")
    for i in range(len(split)):
        rows = range(split.outcomes.bounds[i], split.outcomes.bounds[i + 1])
        utility = {dataset.space.action(split.outcomes.actions[row]): split.outcomes.utility[row] for row in rows}
        # What it would choose among the actions that were executed here.
        chosen = max(utility, key=lambda action: expected[i, valid.index(action)])
        assert greedy.regret[i] == pytest.approx(max(utility.values()) - utility[chosen])


def test_a_default_that_nobody_has_tried_stays(runs: list[Path]) -> None:
    dataset = load_dataset(Path(read_run(runs[0]).dataset))
    split, ensemble = dataset.splits["test"], ValueEnsemble(runs)
    untried = decide_by_rule(dataset, split).actions
    assert not set(untried) & {DEFAULT, CHEAP, RARE}
    assert decide_by_values(ensemble, dataset, split, safe=True).actions == untried


# --- the readings, by hand -------------------------------------------------------------------------------------------


def values(passed: list[list[float]], agent: list[float]) -> ActionValues:
    """Members by actions, of one context."""
    array = np.array(passed)[:, None, :]
    times = np.broadcast_to(np.array(agent), array.shape)
    return ActionValues(array, times / 2, times)


def choose(passed: list[list[float]], agent: list[float], *, delta: float = 0.02, **options: Any) -> int:
    allowed = options.get("allowed", np.ones((1, len(agent)), dtype=bool))
    return int(safe_savings(values(passed, agent), np.array([0]), allowed, delta=delta, confidence=0.95)[0].argmax())


def test_the_cheapest_of_the_safe_actions_is_chosen() -> None:
    passed = [[0.90, 0.90, 0.89, 0.80], [0.90, 0.90, 0.89, 0.80]]
    assert choose(passed, [9.0, 5.0, 4.0, 1.0]) == 2
    assert choose(passed, [9.0, 5.0, 4.0, 1.0], delta=0.005) == 1
    assert choose(passed, [9.0, 5.0, 4.0, 1.0], delta=0.15) == 3
    assert choose(passed, [3.0, 5.0, 4.0, 4.0]) == 0, "nothing safe is cheaper than the default"


def test_an_action_that_the_members_disagree_about_is_not_safe_however_good_it_looks() -> None:
    assert choose([[0.80, 0.99], [0.80, 0.75]], [9.0, 1.0]) == 0
    assert choose([[0.80, 0.88], [0.80, 0.86]], [9.0, 1.0]) == 1


def test_where_the_members_disagree_about_everything_the_default_stays() -> None:
    assert choose([[0.9, 0.9], [0.5, 0.5]], [9.0, 1.0]) == 0


def test_an_action_that_is_not_admitted_is_never_safe() -> None:
    passed = [[0.9, 0.9], [0.9, 0.9]]
    assert choose(passed, [9.0, 1.0]) == 1
    assert choose(passed, [9.0, 1.0], allowed=np.array([[True, False]])) == 0


def test_one_run_is_no_ensemble(runs: list[Path]) -> None:
    split = load_dataset(Path(read_run(runs[0]).dataset)).splits["test"]
    with pytest.raises(ConfigError, match="two runs"):
        ValueEnsemble(runs[:1]).safe(inputs_of_split(split), "code", [DEFAULT] * len(split))


def test_a_run_without_a_value_head_is_refused(runs: list[Path], tmp_path: Path) -> None:
    dataset = Path(read_run(runs[0]).dataset)
    trained(dataset, tmp_path / "run")
    with pytest.raises(CheckpointError, match="value_head=true"):
        ValueEnsemble([tmp_path / "run"]).best(inputs_of_split(load_dataset(dataset).splits["test"]), "code")


def test_a_value_head_can_be_added_to_the_weights_of_a_policy_without_one(runs: list[Path], tmp_path: Path) -> None:
    dataset = Path(read_run(runs[0]).dataset)
    plain, valued = tmp_path / "plain", tmp_path / "valued"
    for run, settings, start in ((plain, [], None), (valued, ["model.value_head=true"], plain)):
        trained(dataset, run, *settings, init_from=start)
    split = load_dataset(dataset).splits["test"]
    assert ValueEnsemble([valued]).predict(inputs_of_split(split), "code").passed.shape[:2] == (1, len(split))


@pytest.mark.parametrize("limit", [0.3, 2.0, 40.0, np.inf])
def test_expected_times_are_those_of_a_log_normal_that_is_cut_at_the_limit(limit: float) -> None:
    draws = np.exp(np.random.default_rng(0).normal(0.5, 0.8, 400_000))
    found = expected_times(
        torch.tensor([[[0.5, 0.5]]], dtype=torch.float64),
        torch.tensor([0.8, 0.8], dtype=torch.float64),
        torch.tensor([[limit, limit]], dtype=torch.float64),
    )
    assert found[0, 0, 0].item() == pytest.approx(np.minimum(draws, limit).mean(), rel=0.01)


def test_an_actions_limit_is_its_minutes_and_for_agents_its_minutes_times_candidates() -> None:
    space = ActionSpace.default(("serial_handoff", "speculate_vote"))
    limits = time_limits(space, 2.0)
    for action, wall, agent in ((DEFAULT, 240e3, 720e3), (CHEAP, 30e3, 30e3)):
        assert limits[space.tuple_rows(np.array(space.index(action)))].tolist() == [wall, agent]
    assert np.isinf(limits[space.tuple_rows(np.array(space.index(CHEAP._replace(max_minutes_bin="NA"))))]).all()


@pytest.mark.parametrize(("passed", "wall_ms", "agent_ms"), [(True, 500, 1300), (False, 7000, 99_000)])
def test_the_utility_is_the_benchs(passed: bool, wall_ms: int, agent_ms: int) -> None:
    outcome = bench_outcome(passed, wall_ms).model_copy(update={"agent_ms": agent_ms})
    certain = ActionValues(np.array([float(passed)]), np.array([float(wall_ms)]), np.array([float(agent_ms)]))
    expected = Objective().utility(outcome, limit_ms(0.05))
    assert certain.utility(0.05)[0] == pytest.approx(expected)
