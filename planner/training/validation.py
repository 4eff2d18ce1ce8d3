"""How good a model is on the validation split after an epoch, and whether it has collapsed to a few decisions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from planner.actions import HEADS, ActionSpace
from planner.config import TrainConfig
from planner.dataset.storage import Dataset, inputs_of_split
from planner.errors import ConfigError
from planner.models.base import NeuralPolicy
from planner.models.trial_head import TrialBeliefs
from planner.runs.checkpoint import RunState, Selection
from planner.runs.learned import predict
from planner.runs.value import action_values
from planner.scoring.regret import regrets
from planner.scoring.reliability import expected_calibration_error
from planner.scoring.utility import DEFAULT_METRICS, check_metrics, recorded_metrics
from planner.training.losses import ValueLoss
from planner.training.trial_examples import trials_of_examples
from planner.training.trial_loss import TrialLoss

MIN_COMPARED = 30
"""Validation examples with compared actions below which chance, not the policy, would decide the smallest regret."""
COLLAPSE_SHARE = 0.2
"""Decisions whose entropy is below this share of the labels' have collapsed."""
LEAST_LOG = -1e4
"""Stands for the log-probability of a value that a context's rules forbid."""
COLLAPSE_ENTROPY = 0.1
"""Entropy of the labels, in nats, below which there is nothing to collapse from."""


@torch.no_grad()
def validate(model: NeuralPolicy, dataset: Dataset, config: TrainConfig, device: torch.device) -> dict[str, float]:
    """Metrics on validation, all means over its examples; nothing when it is empty.

    val_trial_log_likelihood: of a trial head, and nothing else: of a trial's pass and time.
    val_log_likelihood: joint log-likelihood of the label; val_pass_* and val_time_log_likelihood: of passes and times
    under the value head, if there is one. val_loss_*: of each head, minus the label's log-likelihood; val_accuracy_*:
    how often the joint decision has the label's value there, val_exact_match: in all heads; val_ece: how far the
    decision's confidence is from that. val_regret: over the examples whose actions have been compared, if any, the
    utility lost by what would be chosen among them: by the policy, or by expected utility where the value head alone is
    trained. For swarm and candidates, entropies in nats: val_entropy_*, of the head (how sure it is of one example);
    val_decision_entropy_*, of the decisions over all examples; val_label_entropy_*, of the labels. Every worker
    computes the same numbers, so that all agree when to stop.
    """
    split = dataset.splits["val"]
    if not len(split):
        return {}
    model.eval()
    inputs = inputs_of_split(split)
    prediction = predict(model, inputs, config.n_similar, device)
    if prediction.trials is not None:
        return _foreseen_trials(prediction.trials, model, dataset)
    outputs = [head.double().cpu().numpy() for head in prediction.log_probs]
    labels = np.asarray(split.labels)
    likelihood = [head[np.arange(len(split)), model.targets(labels)[:, i]] for i, head in enumerate(outputs)]
    metrics = {"val_log_likelihood": float(np.sum(likelihood)) / len(split)}
    joint = joint_over_tuples(model.space, outputs, inputs.job_types)
    preference = joint
    if prediction.values is not None:
        losses = ValueLoss(split.outcomes, model.space, device)(prediction.values, np.arange(len(split)))
        for name, loss in zip(("pass", "time"), losses, strict=True):
            metrics[f"val_{name}_log_likelihood"] = -float(loss.double().mean())
        if config.policy_weight == 0:
            minute_seconds = dataset.info.minute_seconds
            recorded = recorded_metrics(dataset.info.objective)
            check_metrics(recorded, DEFAULT_METRICS, str(dataset.path), "val_regret of a value head")
            preference = action_values(prediction.values, model.space, minute_seconds).utility(minute_seconds)
    if split.outcomes.comparable.any():
        rows = model.space.tuple_rows(np.asarray(split.outcomes.actions))
        metrics["val_regret"] = float(regrets(preference[split.outcomes.example, rows], split.outcomes).mean())
    heads = outputs if len(outputs) > 1 else model.space.marginals(outputs[0])
    decided = model.space.tuples[joint.argmax(axis=1)]
    metrics |= _agreement(heads, decided, labels)
    exact = (decided == labels).all(axis=1).astype(np.float64)
    ece = expected_calibration_error(np.exp(joint.max(axis=1)), exact)
    metrics |= {"val_exact_match": float(exact.mean())} | ({} if ece is None else {"val_ece": ece})
    for i, name in enumerate(("swarm", "candidates")):
        metrics[f"val_entropy_{name}"] = float(entropy(heads[i]).mean())
        metrics[f"val_decision_entropy_{name}"] = label_entropy(decided[:, i])
        metrics[f"val_label_entropy_{name}"] = label_entropy(labels[:, i])
    return metrics


def _agreement(
    heads: Sequence[NDArray[np.float64]], decided: NDArray[np.int64], labels: NDArray[np.int64]
) -> dict[str, float]:
    """Each head's loss on the labels (n, heads), and how often ``decided`` (n, heads) agrees with them."""
    rows = np.arange(len(labels))
    found = {}
    for i, (name, head) in enumerate(zip(HEADS, heads, strict=True)):
        found[f"val_loss_{name}"] = -float(np.maximum(head[rows, labels[:, i]], LEAST_LOG).mean())
        found[f"val_accuracy_{name}"] = float((decided[:, i] == labels[:, i]).mean())
    return found


def _foreseen_trials(beliefs: TrialBeliefs, model: NeuralPolicy, dataset: Dataset) -> dict[str, float]:
    """A mean over validation's trials; nothing when it has none."""
    trials = trials_of_examples(dataset, "val")
    if not len(trials.tools):
        return {}
    found = TrialLoss(trials, model.tools, beliefs.pass_logits.device).log_likelihood(beliefs, np.arange(len(trials)))
    return {"val_trial_log_likelihood": float(found.double().sum()) / len(trials.tools)}


def joint_over_tuples(
    space: ActionSpace, outputs: Sequence[NDArray[np.float64]], job_types: NDArray[np.str_]
) -> NDArray[np.float64]:
    """Joint log-probabilities over ``space.tuples``, (n, n_tuples); -inf for tuples that a job type does not have."""
    joint: NDArray[np.float64] = np.full((len(job_types), len(space.tuples)), -np.inf)
    for job_type in np.unique(job_types).tolist():
        rows = np.flatnonzero(job_types == job_type)
        columns = space.tuple_rows(space.valid_indices(job_type))
        joint[np.ix_(rows, columns)] = space.joint_log_probs([head[rows] for head in outputs], job_type)
    return joint


def entropy(log_probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy in nats of each row of log-probabilities (n, width); values of probability 0 count as 0."""
    return -(np.exp(log_probs) * np.maximum(log_probs, LEAST_LOG)).sum(axis=-1)


def label_entropy(positions: NDArray[np.int64]) -> float:
    """Entropy in nats of how often each value occurs."""
    shares = np.unique(positions, return_counts=True)[1] / len(positions)
    return float(-(shares * np.log(shares)).sum()) + 0.0


def collapse_note(metrics: dict[str, Any]) -> str | None:
    """A sentence that says which head has collapsed, if any has: it decides alike where the labels differ."""
    collapsed = [
        f"{name} (entropy of its decisions {metrics[f'val_decision_entropy_{name}']:.2f} nats, of the labels "
        f"{metrics[f'val_label_entropy_{name}']:.2f})"
        for name in ("swarm", "candidates")
        if metrics[f"val_label_entropy_{name}"] > COLLAPSE_ENTROPY
        and metrics[f"val_decision_entropy_{name}"] < COLLAPSE_SHARE * metrics[f"val_label_entropy_{name}"]
    ]
    return f"on validation it has collapsed to nearly one decision: {', '.join(collapsed)}" if collapsed else None


def selection(dataset: Dataset, config: TrainConfig) -> Selection:
    """What the best epoch of a run is best in; ConfigError when that cannot be known on this dataset."""
    if config.model.get("action_head") == "trials":
        return "trial_log_likelihood"
    compared = int(dataset.splits["val"].outcomes.comparable.sum())
    if config.select_by == "regret" and not compared:
        raise ConfigError("select_by regret: no validation example has compared actions; set select_by=log_likelihood")
    if config.select_by == "regret":
        return "regret"
    if config.policy_weight == 0:
        # Passes are what is hard to foresee and what the safe reading stands on; regret would judge the other reading.
        return "pass_log_likelihood"
    return "regret" if config.select_by == "auto" and compared >= MIN_COMPARED else "log_likelihood"


def after_epoch(state: RunState, metrics: dict[str, Any], config: TrainConfig) -> RunState:
    """The run's state once ``metrics['epoch']`` is over: is it the best so far, and is it time to stop?"""
    epoch, score = metrics["epoch"], metrics.get(f"val_{state.selected_by}")
    state = state.model_copy(update={"epoch": epoch})
    if score is None:
        state.best_epoch, state.note = epoch, "validation is empty: no early stopping, the last epoch counts as best"
    elif state.best_metric is None or _is_better(score, state.best_metric, state.selected_by):
        state.best_metric, state.best_epoch = score, epoch
        state.note = None if state.selected_by == "trial_log_likelihood" else collapse_note(metrics)
    state.finished = epoch + 1 == config.epochs or epoch - state.best_epoch >= config.patience
    return state


def _is_better(score: float, best: float, selected_by: Selection) -> bool:
    return score < best if selected_by == "regret" else score > best
