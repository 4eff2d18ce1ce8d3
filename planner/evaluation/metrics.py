"""Metrics of decisions on logged runs. Only the executed action's outcome is known, so outcome metrics look at the
examples in which the policy chose the executed swarm and number of candidates."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from planner.actions import Action
from planner.dataset.storage import Split
from planner.dimensions import DIMENSIONS
from planner.evaluation.decisions import Decisions, labels_of, losses
from planner.scoring.bootstrap import mean_interval
from planner.scoring.metric import Bounds, Metric, Shown, of_decisions, register, with_interval
from planner.scoring.reliability import expected_calibration_error


@dataclass(frozen=True)
class Logged:
    """What is known of n logged runs: executed action, whether it passed, its duration in ms."""

    labels: list[Action]
    passed: NDArray[np.bool_]
    duration_ms: NDArray[np.int64]
    minute_seconds: float


def logged_of(split: Split, minute_seconds: float) -> Logged:
    """What a split's runs came to."""
    return Logged(labels_of(split), np.asarray(split.passed), np.asarray(split.duration_ms), minute_seconds)


@dataclass(frozen=True)
class Judged:
    """One policy's decisions on the examples ``rows``, and what they are judged by."""

    decisions: Decisions
    logged: Logged
    rows: NDArray[np.intp]
    abstain_below: float
    default: Decisions
    """What is done where the policy abstains."""

    @cached_property
    def chosen(self) -> list[Action]:
        """The policy's actions, (rows,)."""
        return [self.decisions.actions[i] for i in self.rows]

    @cached_property
    def labels(self) -> list[Action]:
        """The executed actions, (rows,)."""
        return [self.logged.labels[i] for i in self.rows]

    @cached_property
    def matches(self) -> NDArray[np.float64]:
        """1 where the policy chose what was executed, (rows,)."""
        return np.array([a == b for a, b in zip(self.chosen, self.labels, strict=True)], dtype=float)

    @cached_property
    def same_topology(self) -> NDArray[np.bool_]:
        """Where swarm and candidates agree with what was executed, (rows,)."""
        return np.array([a[:2] == b[:2] for a, b in zip(self.chosen, self.labels, strict=True)], dtype=bool)

    @cached_property
    def abstained(self) -> NDArray[np.bool_]:
        """Where its confidence lies below the threshold, (rows,)."""
        return self.decisions.confidence[self.rows] < self.abstain_below

    @cached_property
    def lost(self) -> NDArray[np.float64]:
        """What the policy loses, see decisions.losses, (rows,)."""
        return losses(self.decisions, self.logged.labels)[self.rows]

    @cached_property
    def lost_by_default(self) -> NDArray[np.float64]:
        """What the default loses, (rows,)."""
        return losses(self.default, self.logged.labels)[self.rows]


Number = float | int | None


def measure(seeds: Sequence[Judged]) -> dict[str, Number]:
    """Every metric by its key, of one policy: over several seeds, all on the same rows, the mean of each.

    A value that has no example to stand on is None. Intervals are over examples; an example's value is its mean over
    the seeds.
    """
    result: dict[str, Number] = {"examples": len(seeds[0].rows)}
    for metric in of_decisions():
        assert metric.of_decisions is not None
        each = [metric.of_decisions(one) for one in seeds]
        if metric.interval:
            sides = zip(*each, strict=True) if isinstance(each[0], Bounds) else [each]
            means = [np.mean(list(side), axis=0) for side in sides]
            result |= with_interval(metric.key, *(mean_interval(values[np.isfinite(values)]) for values in means))
        else:
            known = [value for value in each if value is not None]
            result[metric.key] = known[0] if len(known) == len(seeds) == 1 else _mean(known)
    return result


def metrics(
    decisions: Decisions, logged: Logged, rows: NDArray[np.intp], *, abstain_below: float, default: Decisions
) -> dict[str, Number]:
    """Every metric of one policy over the examples ``rows``, as :func:`measure` gives them."""
    return measure([Judged(decisions, logged, rows, abstain_below, default)])


def _accuracy(head: str) -> Callable[[Judged], Number]:
    def of(judged: Judged) -> Number:
        return _mean([getattr(a, head) == getattr(b, head) for a, b in zip(judged.chosen, judged.labels, strict=True)])

    return of


def _success_under_budget(judged: Judged) -> Number:
    """The share that passed within the chosen minutes, where swarm and candidates agree."""
    limits = [
        np.inf if a.max_minutes_bin == "NA" else a.max_minutes_bin * judged.logged.minute_seconds for a in judged.chosen
    ]
    within = judged.logged.passed[judged.rows] & (judged.logged.duration_ms[judged.rows] / 1000 <= np.array(limits))
    return _mean(within[judged.same_topology])


def _top1_share(judged: Judged) -> Number:
    """The most frequent decision's share."""
    return max(Counter(judged.chosen).values()) / len(judged.chosen) if judged.chosen else None


def entropy(values: Sequence[Hashable]) -> float | None:
    """Entropy in nats of how often each value occurs; None for no values."""
    if not values:
        return None
    shares = np.array(list(Counter(values).values())) / len(values)
    return float(-(shares * np.log(shares)).sum()) + 0.0


def _mean(values: Sequence[bool] | NDArray[np.generic]) -> float | None:
    array = np.asarray(values, dtype=np.float64)
    return _number(float(array.mean())) if len(array) else None


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


_EVALUATE: tuple[Shown, ...] = ("evaluate",)
register(
    # All four heads agree with what was executed; then each by itself.
    Metric("exact_match", "exact", "share", "higher", 3, True, lambda judged: judged.matches),
    *(
        Metric(f"accuracy_{d.name}", d.title, "share", "higher", 2, False, _accuracy(d.name), None, _EVALUATE)
        for d in DIMENSIONS
    ),
    # Mean joint log-probability of the executed action.
    Metric(
        "log_likelihood",
        "log lik.",
        "nats",
        "higher",
        2,
        False,
        lambda judged: _mean(judged.decisions.label_log_prob[judged.rows]),
    ),
    Metric(
        "same_topology", "same", "examples", None, -4, False, lambda judged: int(judged.same_topology.sum()), None, ()
    ),
    Metric(
        "mean_duration_s",
        "time s",
        "s",
        "lower",
        2,
        False,
        lambda judged: _mean((judged.logged.duration_ms[judged.rows] / 1000)[judged.same_topology]),
        None,
        _EVALUATE,
    ),
    Metric("success_under_budget", "success", "share", "higher", 2, False, _success_under_budget, None, _EVALUATE),
    # Of the decisions.
    Metric(
        "entropy_swarm",
        "H swarm",
        "nats",
        None,
        2,
        False,
        lambda judged: entropy([action.swarm_id for action in judged.chosen]),
    ),
    Metric(
        "entropy_candidates",
        "H cand.",
        "nats",
        None,
        2,
        False,
        lambda judged: entropy([action.max_candidates_bin for action in judged.chosen]),
    ),
    Metric("top1_share", "top-1", "share", None, 2, False, _top1_share),
    Metric(
        "ece",
        "ECE",
        "probability",
        "lower",
        2,
        False,
        lambda judged: expected_calibration_error(judged.decisions.confidence[judged.rows], judged.matches),
    ),
    # Mean loss of what is not abstained from; of the default where it is; and how much more that is than its own there.
    Metric("risk_accepted", "risk", "loss", "lower", 2, False, lambda judged: _mean(judged.lost[~judged.abstained])),
    Metric("abstain_rate", "abst.", "share", None, 2, False, lambda judged: _mean(judged.abstained)),
    Metric(
        "risk_default",
        "default",
        "loss",
        "lower",
        2,
        False,
        lambda judged: _mean(judged.lost_by_default[judged.abstained]),
    ),
    Metric(
        "abstain_cost",
        "abst. cost",
        "loss",
        "lower",
        2,
        False,
        lambda judged: _mean((judged.lost_by_default - judged.lost)[judged.abstained]),
        None,
        (),
    ),
)
