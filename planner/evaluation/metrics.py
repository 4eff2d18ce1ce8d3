"""Metrics of decisions on logged runs. Only the executed action's outcome is known, so outcome metrics look at the
examples in which the policy chose the executed swarm and number of candidates."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.actions import HEADS, Action
from planner.evaluation.decisions import Decisions, losses
from planner.scoring.bootstrap import mean_interval

ECE_BINS = 10


@dataclass(frozen=True)
class Logged:
    """What is known of n logged runs: executed action, whether it passed, its duration in ms."""

    labels: list[Action]
    passed: NDArray[np.bool_]
    duration_ms: NDArray[np.int64]
    minute_seconds: float


def metrics(
    decisions: Decisions, logged: Logged, rows: NDArray[np.intp], *, abstain_below: float, default: Decisions
) -> dict[str, float | int | None]:
    """Every metric over the examples ``rows``; a value that has no example to stand on is None.

    accuracy_*: share of examples whose executed value the policy chose, per head; exact_match: all four.
    log_likelihood: mean joint log-probability of the executed action. same_topology: examples in which swarm and
    candidates agree; over these mean_duration_s, and success_under_budget, the share that passed within the chosen
    minutes. entropy_*: of the decisions, in nats. top1_share: the most frequent decision's share. ece: expected
    calibration error of the joint confidence, equal-mass bins. regret: mean utility lost against the best executed
    action, over the examples of which several actions were executed; capped_choices: those of them in which a capped
    action is chosen, whose regret is a lower bound. abstain_rate: share below ``abstain_below``; in
    terms of the loss (regret where it is known, else disagreement with the executed action, see decisions.losses):
    risk_accepted, the mean loss of the other decisions; risk_default, that of ``default`` where the policy abstained;
    abstain_cost, how much more that is than the policy's own there.
    """
    chosen, labels = [decisions.actions[i] for i in rows], [logged.labels[i] for i in rows]
    match = np.array([a == b for a, b in zip(chosen, labels, strict=True)], dtype=float)
    exact, low, high = mean_interval(match)
    result: dict[str, float | int | None] = {"examples": len(rows)}
    for head in HEADS:
        hits = [getattr(a, head) == getattr(b, head) for a, b in zip(chosen, labels, strict=True)]
        result[f"accuracy_{head}"] = _mean(hits)
    result |= {"exact_match": _number(exact), "exact_match_low": _number(low), "exact_match_high": _number(high)}
    result["log_likelihood"] = _mean(decisions.label_log_prob[rows])
    result |= _outcomes(chosen, labels, logged, rows)
    result["entropy_swarm"] = entropy([action.swarm_id for action in chosen])
    result["entropy_candidates"] = entropy([action.max_candidates_bin for action in chosen])
    result["top1_share"] = max(Counter(chosen).values()) / len(chosen) if chosen else None
    result["ece"] = expected_calibration_error(decisions.confidence[rows], match)
    abstained = decisions.confidence[rows] < abstain_below
    lost, lost_by_default = losses(decisions, logged.labels)[rows], losses(default, logged.labels)[rows]
    result["risk_accepted"] = _mean(lost[~abstained])
    result["risk_default"] = _mean(lost_by_default[abstained])
    result["abstain_rate"] = _mean(abstained)
    result["abstain_cost"] = _mean((lost_by_default - lost)[abstained])
    result["capped_choices"] = 0 if decisions.capped is None else int(decisions.capped[rows].sum())
    regret = decisions.regret[rows]
    mean, low, high = mean_interval(regret[np.isfinite(regret)])
    result |= {"regret": _number(mean), "regret_low": _number(low), "regret_high": _number(high)}
    return result


def _outcomes(
    chosen: Sequence[Action], labels: Sequence[Action], logged: Logged, rows: NDArray[np.intp]
) -> dict[str, float | int | None]:
    same = np.array([a[:2] == b[:2] for a, b in zip(chosen, labels, strict=True)], dtype=bool)
    durations = logged.duration_ms[rows] / 1000
    limits = [np.inf if a.max_minutes_bin == "NA" else a.max_minutes_bin * logged.minute_seconds for a in chosen]
    within = logged.passed[rows] & (durations <= np.array(limits))
    return {
        "same_topology": int(same.sum()),
        "mean_duration_s": _mean(durations[same]),
        "success_under_budget": _mean(within[same]),
    }


def entropy(values: Sequence[Hashable]) -> float | None:
    """Entropy in nats of how often each value occurs; None for no values."""
    if not values:
        return None
    shares = np.array(list(Counter(values).values())) / len(values)
    return float(-(shares * np.log(shares)).sum()) + 0.0


def expected_calibration_error(
    confidence: NDArray[np.float64], correct: NDArray[np.float64], bins: int = ECE_BINS
) -> float | None:
    """Mean |confidence - accuracy| over ``bins`` bins of equal mass; None without examples or without confidences."""
    if not len(confidence) or np.isnan(confidence).any():
        return None
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, min(bins, len(order))) if len(part)]
    gaps = [abs(confidence[part].mean() - correct[part].mean()) * len(part) for part in parts]
    return float(sum(gaps) / len(order))


def _mean(values: Sequence[bool] | NDArray[np.generic]) -> float | None:
    array = np.asarray(values, dtype=np.float64)
    return _number(float(array.mean())) if len(array) else None


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
