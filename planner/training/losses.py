"""What training minimises: cross-entropy with the executed or best actions, and how badly outcomes are foreseen."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from planner.actions import ActionSpace
from planner.config import TrainConfig
from planner.dataset.outcomes import UNKNOWN_MS, Outcomes
from planner.dataset.storage import Split
from planner.errors import ConfigError
from planner.models.base import NeuralPolicy, Prediction
from planner.models.heads import Values

EFFECTIVE_BETA = 0.999
"""Beyond 1 / (1 - beta) examples of one value, further ones hardly count as new (Cui et al. 2019)."""


class Loss:
    """The weighted sum of the policy's loss and, where the model has a value head, that head's."""

    def __init__(self, split: Split, model: NeuralPolicy, config: TrainConfig, device: torch.device) -> None:
        """ConfigError when the settings cannot be applied to this model and split."""
        if config.policy_weight == 0 and model.value is None:
            raise ConfigError("policy_weight 0 leaves nothing to learn: set model.value_head=true too")
        self._policy = PolicyLoss(split, model, config, device)
        self._policy_weight = config.policy_weight
        self._value = ValueLoss(split.outcomes, model.space, device) if model.value is not None else None
        self._value_weight = config.value_weight
        self.examples: NDArray[np.int64] = np.arange(len(split))
        """Those that teach something."""

    def __call__(self, prediction: Prediction, positions: NDArray[np.int64]) -> Tensor:
        """Loss of each example (b,); the prediction is for the split's ``positions`` (b,)."""
        loss = self._policy_weight * self._policy(prediction.log_probs, positions)
        if self._value is not None and prediction.values is not None:
            passing, timing = self._value(prediction.values, positions)
            loss = loss + self._value_weight * (passing + timing)
        return loss


class PolicyLoss:
    """Cross-entropy of a policy's outputs with a split's labels, example by example.

    Its targets are distributions, one (n, width) per output, so that hard and soft labels are one case.
    """

    def __init__(self, split: Split, model: NeuralPolicy, config: TrainConfig, device: torch.device) -> None:
        """ConfigError when the settings cannot be applied to this model and split."""
        joint = model.outputs == ("joint",)
        if joint and set(config.head_weights) != {1.0}:
            raise ConfigError("head_weights weigh four heads; with model.action_head joint leave them out")
        labels, actions = model.targets(np.asarray(split.labels)), model.targets(np.asarray(split.outcomes.actions))
        if (labels < 0).any() or (actions < 0).any():
            raise ConfigError("model.action_head joint: an executed action breaks the dataset's rules; take four")
        shares = soft_labels(split.outcomes, config.label_temperature) if config.labels == "soft" else None
        importance = example_weights(split) if config.cost_sensitive else np.ones(len(split))
        if config.weight_by_confidence:
            importance = importance * confidence_weights(split)
        self._importance = torch.tensor(importance, dtype=torch.float32, device=device)
        self._targets, self._weights = [], []
        for i, width in enumerate(model.widths):
            targets = np.eye(width, dtype=np.float32)[labels[:, i]]
            if shares is not None:
                targets[split.outcomes.comparable] = 0
                np.add.at(targets, (split.outcomes.example, actions[:, i]), shares)
            weights = value_weights(targets.sum(axis=0), config.value_weights, config.max_value_weight)
            head_weight = 1.0 if joint else config.head_weights[i]
            self._targets.append(torch.from_numpy(targets).to(device))
            self._weights.append(torch.tensor(head_weight * weights, dtype=torch.float32, device=device))

    def __call__(self, log_probs: Sequence[Tensor], positions: NDArray[np.int64]) -> Tensor:
        """Loss of each example (b,); ``log_probs`` as the model gives them, for the split's ``positions`` (b,)."""
        rows = torch.from_numpy(positions).to(self._importance.device)
        losses = [
            cross_entropy(head, targets[rows], weights)
            for head, targets, weights in zip(log_probs, self._targets, self._weights, strict=True)
        ]
        return self._importance[rows] * torch.stack(losses).sum(dim=0)


class ValueLoss:
    """How badly a value head foresees the outcomes of an example's executed actions, a mean over them, in nats."""

    def __init__(self, outcomes: Outcomes, space: ActionSpace, device: torch.device) -> None:
        self._bounds = np.asarray(outcomes.bounds)
        self._rows = torch.from_numpy(space.tuple_rows(np.asarray(outcomes.actions))).to(device)
        # Whether a capped action would have passed is not known: it teaches the time alone, as "longer than this".
        known = np.isfinite(outcomes.passed)
        self._passed = torch.tensor(np.where(known, outcomes.passed, 0.0).astype(np.float32), device=device)
        self._pass_known = torch.tensor(known, dtype=torch.float32, device=device)
        self._cut = torch.tensor(np.asarray(outcomes.time_is_lower_bound), device=device)
        self._log_ms = torch.from_numpy(log_times(outcomes)).to(device)

    def __call__(self, values: Values, positions: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Loss of each example's passes and of its times, (b,) each, 0 for an example without outcomes.

        The values are for the split's ``positions`` (b,).
        """
        counts = self._bounds[positions + 1] - self._bounds[positions]
        owner: NDArray[np.int64] = np.repeat(np.arange(len(positions)), counts)
        outcome = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        outcome += np.repeat(self._bounds[positions], counts)
        at, of = torch.from_numpy(outcome).to(self._rows.device), torch.from_numpy(owner).to(self._rows.device)
        rows = self._rows[at]
        passing = F.binary_cross_entropy_with_logits(values.pass_logits[of, rows], self._passed[at], reduction="none")
        timing = time_loss(values.log_ms[of, rows], values.log_ms_deviation, self._log_ms[at], self._cut[at])
        known = self._pass_known[at]
        sums = [
            losses.new_zeros(len(positions)).index_add(0, of, losses) for losses in (passing * known, known, timing)
        ]
        share = torch.from_numpy(1 / np.maximum(counts, 1)).to(passing)
        return sums[0] / sums[1].clamp(min=1), share * sums[2]


def cross_entropy(log_probs: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """-sum over values of weight · target · log-probability, (b,); ``targets`` (b, width), ``weights`` (width,)."""
    # A value that is not wanted may be forbidden, and 0 · -inf is no number.
    wanted = torch.where(targets > 0, log_probs, 0.0)
    return -(weights * targets * wanted).sum(dim=-1)


def time_loss(mean: Tensor, deviation: Tensor, log_ms: Tensor, cut: Tensor) -> Tensor:
    """Negative log-likelihood of log-normal times, (t,), without the constant; ``mean`` and ``log_ms`` (t, 2).

    A time that was ``cut`` at its limit is a lower bound and counts as "longer than this": with its survival function
    instead of its density. A time that is not known (NaN) counts nothing.
    """
    known = log_ms.isfinite()
    z = (torch.where(known, log_ms, mean.detach()) - mean) / deviation
    density = 0.5 * z**2 + deviation.log()
    losses = torch.where(cut.unsqueeze(1), -torch.special.log_ndtr(-z), density)
    return torch.where(known, losses, 0.0).sum(dim=1)


def log_times(outcomes: Outcomes) -> NDArray[np.float32]:
    """Logarithms of wall and agent time in ms of every outcome, (t, 2); NaN where a time is not known."""
    times = np.stack([outcomes.duration_ms, outcomes.agent_ms], axis=1).astype(np.float32)
    return np.where(times == UNKNOWN_MS, np.nan, np.log(np.maximum(times, 1.0))).astype(np.float32)


def soft_labels(outcomes: Outcomes, temperature: float) -> NDArray[np.float64]:
    """Each outcome's share of its example's label, (t,): softmax(utility / temperature) over the example's actions.

    0 for a capped action, which has lost, where the utility is unknown, and for examples whose actions cannot be
    compared: these keep their hard label.
    """
    known = outcomes.is_exact & outcomes.comparable[outcomes.example]
    # Utilities lie between -0.2 and 1; the best of each example is taken off, so that no exponential overflows.
    best = np.full(len(outcomes), -np.inf)
    np.maximum.at(best, outcomes.example[known], outcomes.utility[known])
    weights = np.zeros(len(known))
    weights[known] = np.exp((outcomes.utility[known] - best[outcomes.example[known]]) / temperature)
    total = np.bincount(outcomes.example, weights, len(outcomes))
    return weights / np.where(total > 0, total, 1.0)[outcomes.example]


def example_weights(split: Split) -> NDArray[np.float64]:
    """How much each example counts, (n,): the utility that a choice other than its label's loses on average.

    Capped actions are left out of the average. Scaled to a mean of 1 over the examples where it is known; the others
    count 1.
    """
    outcomes = split.outcomes
    known, example = outcomes.is_exact, outcomes.example
    is_label = (outcomes.actions == np.asarray(split.labels)[example]).all(axis=1)
    utility = np.where(known, outcomes.utility, 0.0).astype(np.float64)
    of_label = np.bincount(example, utility * is_label, len(split))
    others = np.bincount(example, known & ~is_label, len(split))
    of_others = np.bincount(example, utility * ~is_label, len(split)) / np.maximum(others, 1)
    judged = (others > 0) & (np.bincount(example, known & is_label, len(split)) > 0)
    lost = np.maximum(of_label - of_others, 0.0)
    mean = lost[judged].mean() if judged.any() else 0.0
    return np.where(judged, lost / mean, 1.0) if mean > 0 else np.ones(len(split))


def confidence_weights(split: Split) -> NDArray[np.float64]:
    """How much each example counts by the confidence of its label, (n,), with a mean of 1."""
    confidence = np.asarray(split.label_confidence, dtype=np.float64)
    return confidence / confidence.mean() if confidence.any() else np.ones(len(split))


def value_weights(counts: NDArray[np.floating], kind: str, cap: float) -> NDArray[np.float64]:
    """Weight of each of a head's values, (width,), from how often train shows them; its mean over train is 1.

    ``kind``: equal, inverse (of the count), or effective (of the effective number of examples, Cui et al. 2019). No
    weight exceeds ``cap``; values that never occur weigh 1.
    """
    seen = counts > 0
    weights = np.ones(len(counts))
    if kind == "inverse":
        weights[seen] = 1 / counts[seen]
    elif kind == "effective":
        weights[seen] = (1 - EFFECTIVE_BETA) / (1 - EFFECTIVE_BETA ** counts[seen])
    weights[seen] *= counts.sum() / (weights[seen] * counts[seen]).sum()
    return np.minimum(weights, cap)
