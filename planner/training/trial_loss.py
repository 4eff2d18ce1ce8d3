"""What a trial head minimises: how badly it foresees the trials of each example, in nats.

A trial that was cut at its limit has neither passed nor failed: it would have passed later or failed later, and counts
with the probability of either (the censored likelihood). The trials of an example share how hard its issue is, which
nobody knows: their likelihood is a mean over it.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from planner.config import TrainConfig
from planner.dataset.storage import Dataset
from planner.errors import ConfigError, DatasetError
from planner.models.base import NeuralPolicy, Prediction
from planner.models.trial_head import TrialBeliefs, TrialHead
from planner.policies.pass_counts import PassCounts
from planner.policies.trial_values import MIN_TRIALS
from planner.training.trial_examples import ExampleTrials, trials_of_examples

NODES = 31
"""Of the Gauss-Hermite rule over how hard an issue is."""
UNKNOWN_SHARE = 0.1
"""Weight with which a trial teaches what is believed of a tool that is not known, too."""
MIN_SPREAD = 0.1
"""Of log times, where train shows less."""
LEFT_OUT = ("labels", "cost_sensitive", "weight_by_confidence", "head_weights", "value_weights", "policy_weight")
"""Settings about labels, of which there are none here."""


class TrialLoss:
    """How badly a trial head foresees the trials of a split's examples."""

    def __init__(self, trials: ExampleTrials, tools: tuple[str, ...], device: torch.device) -> None:
        places = {tool: at for at, tool in enumerate(tools)}
        self._bounds = trials.bounds
        of_trials = [places.get(tool, len(tools)) for tool in trials.tools.tolist()]
        self._tool = torch.tensor(of_trials, dtype=torch.int64, device=device)
        self._unknown = torch.full_like(self._tool, len(tools))
        self._passed = torch.tensor(np.nan_to_num(trials.passed), dtype=torch.float32, device=device)
        self._cut = torch.tensor(trials.cut, device=device)
        log_odds = np.where(np.isfinite(trials.passed) | trials.cut, np.nan, np.log(trials.odds))
        self._log_odds = torch.tensor(log_odds, dtype=torch.float32, device=device)
        self._log_minutes = torch.tensor(trials.log_minutes, dtype=torch.float32, device=device)
        self._per_example = max(len(trials.tools) / max((np.diff(trials.bounds) > 0).sum(), 1), 1.0)
        self.examples: NDArray[np.int64] = np.flatnonzero(np.diff(trials.bounds) > 0)
        """Those that have trials."""

    def __call__(self, prediction: Prediction, positions: NDArray[np.int64]) -> Tensor:
        """Loss of each example (b,), in units of a typical one's trials; the prediction is for ``positions`` (b,)."""
        assert prediction.trials is not None
        known, unknown = (self._log_likelihood(prediction.trials, positions, own) for own in (True, False))
        return -(known + UNKNOWN_SHARE * unknown) / self._per_example

    def log_likelihood(self, beliefs: TrialBeliefs, positions: NDArray[np.int64]) -> Tensor:
        """Of the trials of each example, together, (b,)."""
        return self._log_likelihood(beliefs, positions, True)

    def n_trials(self, positions: NDArray[np.int64]) -> int:
        """Trials of these examples."""
        return int((self._bounds[positions + 1] - self._bounds[positions]).sum())

    def _log_likelihood(self, beliefs: TrialBeliefs, positions: NDArray[np.int64], own: bool) -> Tensor:
        starts, counts = self._bounds[positions], self._bounds[positions + 1] - self._bounds[positions]
        owner: NDArray[np.int64] = np.repeat(np.arange(len(positions)), counts)
        trial = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(starts, counts)
        at, of = (torch.from_numpy(rows).to(self._tool.device) for rows in (trial, owner))
        tool = (self._tool if own else self._unknown)[at]
        nodes, log_weights = _normal_nodes(beliefs.pass_logits)
        logits = beliefs.pass_logits[of, tool, None] + beliefs.issue_deviation * nodes
        of_trials = trial_log_likelihood(
            logits,
            beliefs.log_minutes[of, tool],
            beliefs.log_deviations[of, tool],
            passed=self._passed[at],
            cut=self._cut[at],
            log_odds=self._log_odds[at],
            log_minutes=self._log_minutes[at],
        )
        total = of_trials.new_zeros(len(positions), NODES).index_add(0, of, of_trials)
        return torch.logsumexp(total + log_weights, dim=1)


def trial_log_likelihood(
    logits: Tensor,
    means: Tensor,
    log_deviations: Tensor,
    *,
    passed: Tensor,
    cut: Tensor,
    log_odds: Tensor,
    log_minutes: Tensor,
) -> Tensor:
    """Log-likelihood of t trials at each of several pass logits (t, nodes), the result has the same shape.

    ``passed`` (t,) is 1 or 0 where that is known; where nobody saw it ``log_odds`` (t,) is what is known of it, see
    ExampleTrials, elsewhere NaN. Times are log-normal, ``means`` and ``log_deviations`` (t, 2) of passing and of
    failing trials; ``log_minutes`` (t,) is NaN where no time is known.
    """
    known = log_minutes.isfinite()
    time = torch.where(known, log_minutes, means.detach()[:, 0])
    z = (time[:, None] - means) / log_deviations.exp()
    density = torch.where(known[:, None], -0.5 * z**2 - log_deviations, 0.0)
    beyond = torch.special.log_ndtr(-z)
    log_pass, log_fail = F.logsigmoid(logits), F.logsigmoid(-logits)
    whole = torch.where(passed[:, None] > 0, log_pass + density[:, :1], log_fail + density[:, 1:])
    later = torch.logaddexp(log_pass + beyond[:, :1], log_fail + beyond[:, 1:])
    unseen = torch.logaddexp(log_pass + log_odds.nan_to_num()[:, None], log_fail)
    return torch.where(cut[:, None], later, torch.where(log_odds.isfinite()[:, None], unseen, whole))


def _normal_nodes(like: Tensor) -> tuple[Tensor, Tensor]:
    """Points and log weights of an expectation over the standard normal, (NODES,) each."""
    points, weights = np.polynomial.hermite_e.hermegauss(NODES)
    return like.new_tensor(points), like.new_tensor(np.log(weights / weights.sum()))


def known_tools(dataset: Dataset, model_settings: dict[str, object]) -> tuple[str, ...]:
    """The tools that a model with these settings tells apart: those of train's trials; none without a trial head."""
    if model_settings.get("action_head") != "trials":
        return ()
    return trials_of_examples(dataset, "train").known_tools


def trial_loss(dataset: Dataset, model: NeuralPolicy, config: TrainConfig, device: torch.device) -> TrialLoss:
    """The loss over train. ConfigError when a setting is about labels; DatasetError without trials to learn from."""
    defaults = TrainConfig.model_fields
    for name in LEFT_OUT:
        if getattr(config, name) != defaults[name].get_default(call_default_factory=True):
            raise ConfigError(f"{name}: a trial head learns from trials and has no labels: leave it out")
    if config.select_by == "regret":
        raise ConfigError("select_by regret: a trial head is selected by how it foresees trials: leave it out")
    trials = trials_of_examples(dataset, "train")
    whole = np.isfinite(trials.log_minutes) & ~trials.cut
    told = int((trials.cut | np.isfinite(trials.passed)).sum())
    if told < MIN_TRIALS or not whole.any():
        raise DatasetError(
            f"{dataset.path}: train holds {told} trials of known contexts, {int(whole.sum())} of them "
            f"with a time: a trial head needs {MIN_TRIALS} and one; let Cyntra run more issues, or bench some"
        )
    return TrialLoss(trials, model.tools, device)


def logits_of_issues(trials: ExampleTrials) -> tuple[float, float]:
    """Mean and standard deviation of the examples' pass logits, were they drawn from a normal: the likeliest of a grid.

    With one trial each nothing tells how much issues differ; a prior then keeps the deviation near 1.
    """
    known, unseen = np.isfinite(trials.passed), ~np.isfinite(trials.passed) & ~trials.cut
    n, n_unseen = (np.bincount(trials.example[rows], minlength=len(trials)) * 1.0 for rows in (known, unseen))
    log_odds = np.bincount(trials.example[unseen], np.log(trials.odds[unseen]), len(trials)) / np.maximum(n_unseen, 1)
    counts = PassCounts(
        np.bincount(trials.example[known], trials.passed[known], len(trials)), n, n_unseen, np.exp(log_odds)
    )
    points, weights = np.polynomial.hermite_e.hermegauss(NODES)
    best, found = -np.inf, (0.0, 1.0)
    for mean in np.linspace(-4, 4, 33):
        for deviation in np.exp(np.linspace(-2, 2, 33)):
            terms = counts.log_likelihood((mean + deviation * points)[None])
            likelihood = np.log(np.exp(terms) @ (weights / weights.sum())).sum()
            likelihood -= (np.log(deviation) ** 2 + (mean / 2) ** 2) / 2
            if likelihood > best:
                best, found = likelihood, (float(mean), float(deviation))
    return found


def start_from_trials(head: TrialHead, trials: ExampleTrials) -> None:
    """Let a head start from the pass logits and the times that train shows."""
    timed = np.isfinite(trials.log_minutes)
    every = trials.log_minutes[timed]
    kinds = [trials.log_minutes[timed & (trials.passed == kind)] for kind in (1, 0)]
    shown = [kind if len(kind) > 1 else every for kind in kinds]
    head.start_from(
        *logits_of_issues(trials),
        torch.tensor([kind.mean() for kind in shown], dtype=torch.float32),
        torch.tensor([max(kind.std(), MIN_SPREAD) for kind in shown], dtype=torch.float32),
    )
