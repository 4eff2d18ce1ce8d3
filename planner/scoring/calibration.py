"""Calibration: a temperature per head, and an abstain threshold that is chosen with a guarantee instead of typed in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LOG_TEMPERATURES = np.arange(-120, 121) * (math.log(20) / 120)
PRIOR_DEVIATION = 0.5
"""Of the logarithm of a temperature around 0, before any example is seen: mostly within a factor of 1.6 of 1."""
FOLDS = 5


@dataclass(frozen=True)
class Threshold:
    """Accept a decision when its confidence is at least ``value``.

    ``accepted`` and ``risk`` are those of the validation examples; ``guaranteed`` is False when no threshold could be
    shown to keep the promise, and then ``value`` is above 1: every decision is left to the default.
    """

    value: float
    accepted: int
    examples: int
    risk: float | None
    max_risk: float
    confidence: float
    guaranteed: bool


def scale(log_probs: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """log softmax(log_probs / temperature) along the last axis; -inf stays -inf."""
    scaled = log_probs / temperature
    top = scaled.max(axis=-1, keepdims=True)
    return scaled - top - np.log(np.exp(scaled - top).sum(axis=-1, keepdims=True))


def fit_temperature(log_probs: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The most probable temperature in [0.05, 20]: 1 without examples, and the nearer to 1 the fewer there are.

    ``log_probs`` (n, width), ``labels`` (n,) positions. One parameter per head (Guo et al. 2017), here its maximum a
    posteriori under a Gaussian prior on its logarithm, that is ridge shrinkage towards the policy as it is: the
    likelihood alone takes a few lucky examples for proof that the policy is always right.
    """
    rows = np.arange(len(labels))
    losses = [
        -scale(log_probs, math.exp(t))[rows, labels].sum() + t**2 / (2 * PRIOR_DEVIATION**2) for t in _LOG_TEMPERATURES
    ]
    return float(math.exp(_LOG_TEMPERATURES[int(np.argmin(losses))]))


def out_of_fold(
    head_log_probs: Sequence[NDArray[np.float64]], labels: NDArray[np.int64], groups: NDArray[np.int64]
) -> list[NDArray[np.float64]]:
    """Each head (n, width) scaled with temperatures that were fitted without the example; ``labels`` (n, heads).

    Examples of one of the ``groups`` (n,) are left out together, in FOLDS parts.
    """
    fold = np.unique(groups, return_inverse=True)[1] % FOLDS
    scaled = [head.copy() for head in head_log_probs]
    for number in np.unique(fold).tolist():
        out = fold == number
        temperatures = temperatures_of([head[~out] for head in head_log_probs], labels[~out])
        for head, temperature in zip(scaled, temperatures, strict=True):
            head[out] = scale(head[out], temperature)
    return scaled


def choose_threshold(
    confidence: NDArray[np.float64], loss: NDArray[np.float64], *, max_risk: float, level: float
) -> Threshold:
    """The smallest threshold at which accepted decisions lose less than ``max_risk`` on average, sure to ``level``.

    ``loss`` (n,) lies in [0, 1]: 1 for a disagreement with the label, or a regret. Learn-then-Test (Angelopoulos et al.
    2021) with fixed-sequence testing from the most confident decisions down, and Hoeffding-Bentkus p-values: thresholds
    are lowered as long as each one's null hypothesis "risk above max_risk" is rejected at 1 - level.
    """
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence, losses = confidence[order], loss[order]
    mean_loss = np.cumsum(losses) / np.arange(1, len(losses) + 1)
    ends = np.flatnonzero(np.append(sorted_confidence[:-1] != sorted_confidence[1:], True)[: len(losses)])
    smallest = smallest_sample(max_risk, level)
    accepted = 0
    for end in ends:
        n = int(end) + 1
        # Fewer examples than could ever reject decide nothing; the sequence starts where a rejection is possible.
        if n < smallest:
            continue
        if hoeffding_bentkus(float(mean_loss[end]), n, max_risk) > 1 - level:
            break
        accepted = n
    return Threshold(
        value=float(sorted_confidence[accepted - 1]) if accepted else 1.01,
        accepted=accepted,
        examples=len(losses),
        risk=float(mean_loss[accepted - 1]) if accepted else None,
        max_risk=max_risk,
        confidence=level,
        guaranteed=accepted > 0,
    )


def smallest_sample(max_risk: float, level: float) -> int:
    """How many faultless examples it takes at least before the promise can be made."""
    return math.ceil(math.log(1 - level) / math.log(1 - max_risk))


def hoeffding_bentkus(risk: float, n: int, max_risk: float) -> float:
    """A p-value of "the expected loss exceeds max_risk", given the mean ``risk`` of ``n`` losses in [0, 1]."""
    if risk >= max_risk:
        return 1.0
    hoeffding = math.exp(-n * _binary_divergence(risk, max_risk))
    bentkus = math.e * _binomial_cdf(math.ceil(round(n * risk, 9)), n, max_risk)
    return min(1.0, hoeffding, bentkus)


def _binary_divergence(a: float, b: float) -> float:
    first = a * math.log(a / b) if a > 0 else 0.0
    second = (1 - a) * math.log((1 - a) / (1 - b)) if a < 1 else 0.0
    return first + second


def _binomial_cdf(k: int, n: int, p: float) -> float:
    """P(Binomial(n, p) <= k)."""
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p)
        for i in range(min(k, n) + 1)
    ]
    return min(1.0, math.fsum(math.exp(value) for value in logs))


def temperatures_of(head_log_probs: Sequence[NDArray[np.float64]], labels: NDArray[np.int64]) -> list[float]:
    """One temperature per head, be it four or a joint one; ``labels`` (n, heads)."""
    return [fit_temperature(head, labels[:, i]) for i, head in enumerate(head_log_probs)]
