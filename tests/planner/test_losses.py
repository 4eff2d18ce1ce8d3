"""Losses: numbers worked out by hand, and what weights, soft labels and times cut at a limit mean."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from planner.actions import Action, ActionSpace
from planner.config import load_config
from planner.dataset.outcomes import UNKNOWN_MS, ActionOutcome, Outcomes, make_outcomes
from planner.dataset.storage import Split
from planner.errors import ConfigError
from planner.models.base import ModelSpec, NeuralPolicy
from planner.models.heads import Values
from planner.models.load import build_model
from planner.training.learner import count_tried
from planner.training.losses import (
    Loss,
    PolicyLoss,
    ValueLoss,
    cross_entropy,
    example_weights,
    soft_labels,
    time_loss,
    value_weights,
)

SPACE = ActionSpace.default(("serial_handoff", "speculate_vote"))
SERIAL, VOTE = Action("serial_handoff", 1, 30, "NA"), Action("speculate_vote", 2, 30, "NA")
LONG = VOTE._replace(max_minutes_bin=120)
CPU = torch.device("cpu")


def outcome(
    action: Action, utility: float | None = None, passed: float = 1.0, ms: int = 1000, time_is_lower_bound: bool = False
) -> ActionOutcome:
    return ActionOutcome(action, passed, ms, None if utility is None else 2 * ms, time_is_lower_bound, utility)


def capped(action: Action, bound: float, ms: int = 1000) -> ActionOutcome:
    return ActionOutcome(action, math.nan, ms, 2 * ms, True, bound, capped=True)


def split(labels: list[Action], executed: list[list[ActionOutcome]], confidence: list[float] | None = None) -> Split:
    """A split of which only labels and outcomes matter."""
    n, nothing = len(labels), np.zeros((len(labels), 0))
    arrays: dict[str, Any] = dict.fromkeys(
        ("tokens", "segments", "context_features", "run_features", "passed", "duration_ms", "seen"), nothing
    )
    arrays["label_confidence"] = np.array(confidence or [1.0] * n)
    arrays["masks"] = np.ones((n, sum(SPACE.widths)), dtype=bool)
    positions = np.array([SPACE.index(label) for label in labels])
    return Split(Path(), labels=positions, outcomes=make_outcomes(executed, SPACE), **arrays)


def model(*overrides: str) -> NeuralPolicy:
    config = load_config("mlp_planner", None, list(overrides))
    return build_model(config.class_path, config.model, ModelSpec(SPACE, [], [], []))


def uniform(policy: NeuralPolicy, n: int) -> list[torch.Tensor]:
    return [torch.full((n, width), -math.log(width)) for width in policy.widths]


def two_compared_and_one_not() -> Split:
    return split(
        [VOTE, SERIAL, SERIAL],
        [
            [outcome(VOTE, 0.9), outcome(SERIAL, 0.3), outcome(LONG, 0.7)],
            [outcome(SERIAL, 0.8), outcome(VOTE, 0.7)],
            [outcome(SERIAL)],
        ],
    )


def test_a_forbidden_value_costs_nothing_unless_it_is_wanted() -> None:
    log_probs = torch.tensor([[0.0, float("-inf")]], requires_grad=True)
    loss = cross_entropy(log_probs, torch.tensor([[1.0, 0.0]]), torch.ones(2))
    loss.sum().backward()
    assert loss.item() == 0.0
    assert log_probs.grad is not None and log_probs.grad.isfinite().all()
    assert cross_entropy(log_probs, torch.tensor([[0.0, 1.0]]), torch.ones(2)).item() == math.inf


def test_equal_weights_give_the_plain_sum_of_cross_entropies() -> None:
    policy, data = model(), two_compared_and_one_not()
    loss = PolicyLoss(data, policy, load_config("mlp_planner"), CPU)
    found = loss(uniform(policy, 2), np.array([2, 0]))
    assert found.tolist() == pytest.approx([sum(math.log(width) for width in policy.widths)] * 2)
    weighted = PolicyLoss(data, policy, load_config("mlp_planner", None, ["head_weights=[2,0,0,0]"]), CPU)
    assert weighted(uniform(policy, 1), np.array([1])).item() == pytest.approx(2 * math.log(2))


@pytest.mark.parametrize("kind", ["equal", "inverse", "effective"])
def test_value_weights_have_a_mean_of_one_and_favour_rare_values(kind: str) -> None:
    counts = np.array([90.0, 9.0, 1.0, 0.0])
    weights = value_weights(counts, kind, cap=1000)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
    assert weights[3] == 1
    if kind != "equal":
        assert weights[0] < weights[1] < weights[2]
        assert value_weights(counts, kind, cap=3).max() == 3
    if kind == "inverse":
        assert weights[:3] * counts[:3] == pytest.approx(100 / 3)
    if kind == "effective":
        assert weights[2] / weights[1] == pytest.approx((1 - 0.999**9) / (1 - 0.999))


def test_soft_labels_share_an_example_among_its_compared_actions() -> None:
    outcomes = two_compared_and_one_not().outcomes
    shares = soft_labels(outcomes, 0.2)
    by_action = {
        (i, SPACE.action(row)): s for i, row, s in zip(outcomes.example, outcomes.actions, shares, strict=True)
    }
    assert by_action[0, VOTE] / by_action[0, LONG] == pytest.approx(math.e)
    assert by_action[0, VOTE] / by_action[0, SERIAL] == pytest.approx(math.e**3)
    assert np.bincount(outcomes.example, shares) == pytest.approx([1, 1, 0])


@pytest.mark.parametrize("head", ["four", "joint"])
def test_soft_labels_are_the_target_where_actions_were_compared_and_hard_ones_elsewhere(head: str) -> None:
    policy, data = model(f"model.action_head={head}"), two_compared_and_one_not()
    loss = PolicyLoss(data, policy, load_config("mlp_planner", None, ["labels=soft", "label_temperature=0.2"]), CPU)
    shares = np.exp(np.array([0.0, -3.0, -1.0])) / np.exp(np.array([0.0, -3.0, -1.0])).sum()
    wanted: list[NDArray[np.float64] | None]
    if head == "joint":
        target = np.zeros(len(SPACE.tuples))
        target[SPACE.tuple_rows(np.array([SPACE.index(a) for a in (VOTE, SERIAL, LONG)]))] = shares
        wanted = [target]
    else:
        swarms, minutes = np.zeros(2), np.zeros(6)
        swarms[[1, 0]] = shares[0] + shares[2], shares[1]
        minutes[[1, 4]] = shares[0] + shares[1], shares[2]
        wanted = [swarms, None, minutes]
    torch.manual_seed(0)
    log_probs = [torch.randn(1, width).log_softmax(-1) for width in policy.widths]
    for i, share in enumerate(wanted):
        if share is None:
            continue
        only = [p if j == i else torch.zeros_like(p) for j, p in enumerate(log_probs)]
        assert loss(only, np.array([0])).item() == pytest.approx(-(share * log_probs[i][0].numpy()).sum(), rel=1e-5)
    hard = PolicyLoss(data, policy, load_config("mlp_planner"), CPU)
    assert loss(log_probs, np.array([2])).item() == hard(log_probs, np.array([2])).item()


def test_examples_weigh_what_missing_their_label_loses() -> None:
    # The first label beats the mean of the other two by 0.4, the second by 0.1; the third was not compared.
    assert example_weights(two_compared_and_one_not()) == pytest.approx([0.4 / 0.25, 0.1 / 0.25, 1.0])
    indifferent = split([VOTE], [[outcome(VOTE, 0.5), outcome(SERIAL, 0.5)]])
    assert example_weights(indifferent).tolist() == [1.0]


def test_a_time_counts_with_its_density_and_one_cut_at_its_limit_with_its_survival() -> None:
    mean, deviation = torch.tensor([[2.0, 5.0]]), torch.tensor([0.5, 1.0])
    known = time_loss(mean, deviation, torch.tensor([[3.0, math.nan]]), torch.tensor([False]))
    assert known.item() == pytest.approx(0.5 * 2.0**2 + math.log(0.5))
    cut = time_loss(mean, deviation, torch.tensor([[3.0, math.nan]]), torch.tensor([True]))
    assert cut.item() == pytest.approx(-math.log(0.5 * math.erfc(2.0 / math.sqrt(2))), rel=1e-4)


def test_times_cut_at_a_limit_move_the_estimate_up_and_not_towards_the_limit() -> None:
    """Half of the runs were cut at their limit: the true mean is found, where taking limits for times would not."""
    random = np.random.default_rng(0)
    times = random.normal(7.0, 1.0, 4000)
    cut, seen = torch.from_numpy(times > 7.0), torch.from_numpy(np.minimum(times, 7.0)).float()
    mean, log_deviation = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([mean, log_deviation], max_iter=60)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        log_ms = seen[:, None]
        loss = time_loss(5 + mean.expand(len(seen), 1), log_deviation.exp(), log_ms, cut).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert 5 + mean.item() == pytest.approx(7.0, abs=0.06)
    assert log_deviation.exp().item() == pytest.approx(1.0, abs=0.06)


def test_the_value_loss_is_the_mean_over_an_examples_own_outcomes_wherever_it_stands() -> None:
    data = split(
        [VOTE, SERIAL],
        [[outcome(VOTE, 0.9, passed=1.0), outcome(SERIAL, 0.3, passed=0.25)], [outcome(SERIAL, passed=0.0)]],
    )
    logits = torch.randn(2, len(SPACE.tuples))
    values = Values(logits, torch.full((2, len(SPACE.tuples), 2), math.log(1000.0)), torch.ones(2))
    passing, timing = ValueLoss(data.outcomes, SPACE, CPU)(values, np.array([1, 0]))
    serial, vote = SPACE.tuple_rows(np.array([SPACE.index(SERIAL), SPACE.index(VOTE)])).tolist()

    def entropy(row: int, column: int, passed: float) -> float:
        p = logits[row, column].sigmoid().item()
        return -passed * math.log(p) - (1 - passed) * math.log(1 - p)

    assert passing[0].item() == pytest.approx(entropy(0, serial, 0.0), rel=1e-4)
    assert passing[1].item() == pytest.approx((entropy(1, vote, 1) + entropy(1, serial, 0.25)) / 2, rel=1e-4)
    assert timing.tolist() == pytest.approx([0.0, 0.5 * math.log(2) ** 2], abs=1e-4)


def test_times_that_nobody_recorded_teach_nothing() -> None:
    outcomes: Outcomes = make_outcomes([[outcome(SERIAL)]], SPACE)
    assert outcomes.agent_ms.tolist() == [UNKNOWN_MS]
    log_ms = torch.zeros(1, len(SPACE.tuples), 2, requires_grad=True)
    values = Values(torch.zeros(1, len(SPACE.tuples)), log_ms, torch.ones(2))
    _, timing = ValueLoss(outcomes, SPACE, CPU)(values, np.array([0]))
    timing.sum().backward()
    assert log_ms.grad is not None
    assert log_ms.grad[..., 0].abs().sum() > 0 and log_ms.grad[..., 1].abs().sum() == 0


def test_a_label_that_is_worse_than_the_other_actions_has_no_weight() -> None:
    data = split(
        [VOTE, SERIAL, SERIAL],
        [
            [outcome(VOTE, 0.3), outcome(SERIAL, 0.9)],
            [outcome(SERIAL, 0.8), outcome(VOTE, 0.2)],
            [outcome(SERIAL)],
        ],
    )
    # The first loses by its label, the second gains 0.6: a mean of 0.3, which the third, of which nobody knows, has.
    assert example_weights(data) == pytest.approx([0.0, 2.0, 1.0])


def test_settings_that_do_not_fit_the_model_are_refused() -> None:
    data = two_compared_and_one_not()
    with pytest.raises(ConfigError, match="head_weights"):
        Loss(data, model("model.action_head=joint"), load_config("mlp_planner", None, ["head_weights=[2,1,1,1]"]), CPU)
    with pytest.raises(ConfigError, match="value_head"):
        Loss(data, model(), load_config("mlp_planner", None, ["policy_weight=0"]), CPU)


def with_capped() -> Split:
    """The same labels and what ended, once with a capped action whose bound is the highest utility of all."""
    return split(
        [SERIAL, SERIAL],
        [
            [outcome(SERIAL, 0.8), outcome(VOTE, 0.5), capped(LONG, 0.95)],
            [outcome(SERIAL, 0.8), capped(VOTE, 0.9)],
        ],
    )


def test_a_capped_action_has_no_share_in_a_soft_label() -> None:
    shares = soft_labels(with_capped().outcomes, 0.1)
    of_serial = 1 / (1 + math.exp(-3))
    actions = [SPACE.action(row) for row in with_capped().outcomes.actions.tolist()]
    found = dict(zip(zip(with_capped().outcomes.example.tolist(), actions, strict=True), shares, strict=True))
    assert (found[0, LONG], found[1, VOTE]) == (0, 0)
    assert (found[0, SERIAL], found[0, VOTE]) == pytest.approx((of_serial, 1 - of_serial), rel=1e-5)
    assert found[1, SERIAL] == 1


def test_a_capped_action_does_not_tell_what_missing_the_label_loses() -> None:
    both = split(
        [SERIAL, SERIAL, SERIAL],
        [
            [outcome(SERIAL, 0.8), outcome(VOTE, 0.5), capped(LONG, 0.95)],
            [outcome(SERIAL, 0.8), capped(VOTE, 0.9)],
            [outcome(SERIAL, 0.8), outcome(VOTE, 0.7)],
        ],
    )
    assert example_weights(both) == pytest.approx([0.3 / 0.2, 1.0, 0.1 / 0.2])


def test_a_capped_action_teaches_that_it_takes_longer_and_not_whether_it_passes() -> None:
    data = split([SERIAL], [[outcome(SERIAL, 0.3, passed=0.0), capped(VOTE, 0.9, ms=1000)]])
    serial, vote = SPACE.tuple_rows(np.array([SPACE.index(SERIAL), SPACE.index(VOTE)])).tolist()
    logits = torch.zeros(1, len(SPACE.tuples), requires_grad=True)
    log_ms = torch.full((1, len(SPACE.tuples), 2), math.log(1000.0), requires_grad=True)
    passing, timing = ValueLoss(data.outcomes, SPACE, CPU)(Values(logits, log_ms, torch.ones(2)), np.array([0]))
    # The mean over the outcomes that tell of a pass, of which there is one.
    assert passing.item() == pytest.approx(math.log(2))
    (passing + timing).sum().backward()
    assert logits.grad is not None and log_ms.grad is not None
    assert logits.grad[0, vote] == 0 and logits.grad[0, serial] > 0
    # Longer times make "longer than this" likelier.
    assert (log_ms.grad[0, vote] < 0).all()


def test_examples_weigh_as_much_as_their_labels_are_sure_if_that_is_asked_for() -> None:
    data = split([VOTE, SERIAL], [[outcome(VOTE)], [outcome(SERIAL)]], confidence=[0.5, 1.0])
    policy = model()
    plain = [sum(math.log(width) for width in policy.widths)] * 2
    found = PolicyLoss(data, policy, load_config("mlp_planner"), CPU)(uniform(policy, 2), np.array([0, 1]))
    assert found.tolist() == pytest.approx(plain)
    weighted = PolicyLoss(data, policy, load_config("mlp_planner", None, ["weight_by_confidence=true"]), CPU)
    assert weighted(uniform(policy, 2), np.array([0, 1])).tolist() == pytest.approx(
        [plain[0] * 0.5 / 0.75, plain[0] / 0.75]
    )


def test_a_capped_action_does_not_count_as_tried() -> None:
    policy = model("model.value_head=true")
    count_tried(policy, with_capped().outcomes)
    assert policy.value is not None
    rows = SPACE.tuple_rows(np.array([SPACE.index(action) for action in (SERIAL, VOTE, LONG)]))
    assert policy.value.tried[torch.from_numpy(rows)].tolist() == [2, 1, 0]
