"""Policies that foresee utilities: what they make of actions that were not executed, and that they use the context."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.actions import Action
from planner.dataset.outcomes import ActionOutcome
from planner.dataset.storage import Dataset, load_dataset
from planner.errors import DatasetError
from planner.evaluation.decisions import decide_by_score
from planner.policies.forest import UtilityForest
from planner.policies.neighbours import NearestNeighbours
from planner.policies.policy import Policy
from planner.policies.single_best import SingleBest
from planner.policies.utilities import NEVER_TRIED, known_utilities
from planner.scoring.preferences import mean_gains
from tests.planner.compared import write_compared

SERIAL, VOTE = Action("serial_handoff", 1, 30, "NA"), Action("speculate_vote", 2, 30, "NA")
LONG, NEVER = SERIAL._replace(max_minutes_bin=120), SERIAL._replace(max_minutes_bin=15)
POLICIES = [UtilityForest, NearestNeighbours]


def outcomes(utilities: dict[Action, float]) -> list[ActionOutcome]:
    return [ActionOutcome(action, 1.0, 1000, 1000, False, utility) for action, utility in utilities.items()]


def by_risk(context: dict[str, Any]) -> list[ActionOutcome]:
    """Serial is the better one on average, the vote on risky issues; each issue tries one more action in turn."""
    risky = context["issue"]["dk_risk"] in ("high", "critical")
    size = 0.1 * len(context["issue"]["tags"])
    third = {LONG: size} if context["issue"]["dk_priority"] in ("P0", "P1") else {}
    return outcomes({SERIAL: size + (0.1 if risky else 0.4), VOTE: size + 0.2} | third)


@pytest.fixture(scope="module")
def compared(synthetic: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset(write_compared(synthetic[1], tmp_path_factory.mktemp("utilities") / "dataset", by_risk))


def test_an_action_that_an_example_did_not_try_is_worth_its_gain_above_what_the_example_allows(
    corpus_dataset: Path, tmp_path: Path
) -> None:
    # Every second example tries LONG instead of VOTE; examples differ in how easy they are, actions by 0.1 and -0.1.
    count = iter(range(1000))

    def additive(context: dict[str, Any]) -> list[ActionOutcome]:
        number = next(count)
        ease = (number % 5) / 10
        return outcomes({SERIAL: ease + 0.1, (LONG if number % 2 else VOTE): ease - 0.1})

    dataset = load_dataset(write_compared(corpus_dataset, tmp_path / "dataset", additive))
    known = known_utilities(dataset)["code"]
    ease = (np.arange(len(known.rows)) % 5) / 10
    column = {action: at for at, action in enumerate(dataset.space.valid_actions("code"))}
    assert len(known.rows) > 10
    for action, gain in ((SERIAL, 0.1), (VOTE, -0.1), (LONG, -0.1), (NEVER, NEVER_TRIED)):
        np.testing.assert_allclose(known.utilities[:, column[action]], ease + gain, atol=1e-6)


def test_a_capped_action_is_worth_what_the_others_foretell_but_no_more_than_its_bound(
    corpus_dataset: Path, tmp_path: Path
) -> None:
    # Each action is worth 0.5 where it ends; LONG is capped in two of four examples, once far below that.
    count = iter(range(1000))

    def capped(context: dict[str, Any]) -> list[ActionOutcome]:
        ended = outcomes({SERIAL: 0.5, VOTE: 0.5})
        bound = (None, None, 0.9, 0.2)[next(count) % 4]
        if bound is None:
            return ended + outcomes({LONG: 0.5})
        return [*ended, ActionOutcome(LONG, np.nan, 1000, 1000, True, bound, capped=True)]

    dataset = load_dataset(write_compared(corpus_dataset, tmp_path / "dataset", capped))
    known = known_utilities(dataset)["code"]
    column = {action: at for at, action in enumerate(dataset.space.valid_actions("code"))}
    gains = mean_gains(dataset.splits["train"].outcomes)
    gain = {action: gains[dataset.space.index(action)] for action in (SERIAL, VOTE, LONG)}
    foretold = 0.5 - (gain[SERIAL] + gain[VOTE]) / 2 + gain[LONG]
    found = known.utilities[:, column[LONG]]
    assert 0.2 < foretold < 0.9
    assert found[:4] == pytest.approx([0.5, 0.5, foretold, 0.2], abs=1e-6)


@pytest.mark.parametrize("make", POLICIES)
def test_the_context_tells_them_which_action_is_worth_more(
    make: Callable[[Dataset], Policy], compared: Dataset
) -> None:
    split = compared.splits["test"]
    regret, on_average = (decide_by_score(policy, split).regret for policy in (make(compared), SingleBest(compared)))
    assert on_average.mean() > 0.02
    assert regret.mean() < 0.5 * on_average.mean()


@pytest.mark.parametrize("make", POLICIES)
def test_without_compared_actions_they_say_what_to_do(make: Callable[[Dataset], Policy], corpus_dataset: Path) -> None:
    with pytest.raises(DatasetError, match="planner bench"):
        make(load_dataset(corpus_dataset))
