"""Reading a policy from predicted outcomes: the action of largest expected utility, or the cheapest that is safe.

The safe reading leaves the default plan only for an action that passes as often, as far as an ensemble can tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from planner.actions import Action, ActionSpace
from planner.encoding.inputs import Inputs
from planner.errors import CheckpointError, ConfigError
from planner.models.heads import Values
from planner.policies.policy import admitted
from planner.runs.learned import LearnedPolicy
from planner.scoring.utility import limit_ms, utility


@dataclass(frozen=True)
class ActionValues:
    """What one model, or each member of an ensemble, predicts of a list of actions, each (..., n, actions)."""

    passed: NDArray[np.float64]
    """Pass probability."""
    wall_ms: NDArray[np.float64]
    """Expected wall time, cut at the action's limit."""
    agent_ms: NDArray[np.float64]
    """Expected time of all agents together, cut at the action's limit."""

    def utility(self, minute_seconds: float) -> NDArray[np.float64]:
        """Expected utility under the default objective, see planner.scoring.utility."""
        return utility(self.passed, self.wall_ms, self.agent_ms, limit_ms(minute_seconds))


def action_values(values: Values, space: ActionSpace, minute_seconds: float) -> ActionValues:
    """A value head's output (n, n_tuples) as numbers about ``space.tuples``."""
    log_ms, deviation = values.log_ms.double(), values.log_ms_deviation.double()
    expected = expected_times(log_ms, deviation, torch.from_numpy(time_limits(space, minute_seconds)).to(log_ms))
    return ActionValues(
        values.pass_logits.double().sigmoid().cpu().numpy(),
        expected[..., 0].cpu().numpy(),
        expected[..., 1].cpu().numpy(),
    )


def expected_times(log_ms: torch.Tensor, deviation: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """E[min(T, limit)] of log-normal times T, (n, n_tuples, 2); ``limits`` (n_tuples, 2) in ms may be infinite."""
    z = (limits.log() - log_ms) / deviation
    below = (log_ms + deviation**2 / 2).exp() * torch.special.ndtr(z - deviation)
    above = torch.where(limits.isfinite(), limits, 0.0) * torch.special.ndtr(-z)
    return below + above


def time_limits(space: ActionSpace, minute_seconds: float) -> NDArray[np.float64]:
    """The most wall and agent time in ms that each of ``space.tuples`` allows, (n_tuples, 2); inf: minutes are NA."""
    actions = [space.action(row) for row in space.tuples.tolist()]
    wall = [np.inf if a.max_minutes_bin == "NA" else a.max_minutes_bin * minute_seconds * 1000 for a in actions]
    agents = [1 if a.max_candidates_bin == "NA" else a.max_candidates_bin for a in actions]
    return np.array([[limit, limit * n] for limit, n in zip(wall, agents, strict=True)]).reshape(-1, 2)


class ValueEnsemble:
    """Runs with a value head, trained with several seeds (best with ``bootstrap``), that are read together."""

    def __init__(self, runs: Sequence[Path]) -> None:
        """CheckpointError when a run has another action space than the first."""
        self._members = [LearnedPolicy(run) for run in runs]
        for run, member in zip(runs, self._members, strict=True):
            if member.space != self._members[0].space:
                raise CheckpointError(f"{run}: its action space is not that of {runs[0]}: take runs on one dataset")
        self.space = self._members[0].space
        self.minute_seconds = self._members[0].document.minute_seconds

    def predict(self, inputs: Inputs, job_type: str) -> ActionValues:
        """Values of the valid actions of ``job_type``, (members, n, n_valid) each."""
        columns = self.space.tuple_rows(self.space.valid_indices(job_type))
        values = [action_values(member.values(inputs), self.space, self.minute_seconds) for member in self._members]
        return ActionValues(
            np.stack([v.passed[:, columns] for v in values]),
            np.stack([v.wall_ms[:, columns] for v in values]),
            np.stack([v.agent_ms[:, columns] for v in values]),
        )

    def best(self, inputs: Inputs, job_type: str) -> list[Action]:
        """For each context the action of largest expected utility."""
        return self._favourites(self.utilities(inputs, job_type), job_type)

    def safe(self, inputs: Inputs, job_type: str, defaults: Sequence[Action], **settings: Any) -> list[Action]:
        """For each context the cheapest safe action; ``settings`` as in :meth:`safe_savings`."""
        return self._favourites(self.safe_savings(inputs, job_type, defaults, **settings), job_type)

    def utilities(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """Expected utility of every valid action, (n, n_valid); -inf where a context does not admit it, or where it was
        never tried in training (unless none of those admitted was)."""
        utility = self.predict(inputs, job_type).utility(self.minute_seconds).mean(axis=0)
        allowed = self._allowed(inputs, job_type, min_tried=1)
        allowed = np.where(allowed.any(axis=1, keepdims=True), allowed, admitted(inputs, self.space, job_type))
        return np.where(allowed, utility, -np.inf)

    def safe_savings(
        self,
        inputs: Inputs,
        job_type: str,
        defaults: Sequence[Action],
        *,
        delta: float = 0.02,
        confidence: float = 0.95,
        min_tried: int = 10,
    ) -> NDArray[np.float64]:
        """For every valid action, how little agent time it takes, if it is safe: see the function of this name below.

        ``defaults`` (n,), for instance of today's rule. Actions with fewer than ``min_tried`` outcomes in training are
        not safe, and a default that has fewer is the only one that is: about what nobody has seen, members that were
        built alike can agree and be wrong.
        """
        valid = self.space.valid_actions(job_type)
        columns = np.array([valid.index(action) for action in defaults], dtype=np.int64)
        values = self.predict(inputs, job_type)
        comparable = self._tried(job_type)[columns] >= min_tried
        allowed = self._allowed(inputs, job_type, min_tried) & comparable[:, None]
        return safe_savings(values, columns, allowed, delta=delta, confidence=confidence)

    def _favourites(self, scores: NDArray[np.float64], job_type: str) -> list[Action]:
        return [self.space.valid_actions(job_type)[at] for at in scores.argmax(axis=1)]

    def _allowed(self, inputs: Inputs, job_type: str, min_tried: int) -> NDArray[np.bool_]:
        """Which valid actions each context admits and every member has seen that often, (n, n_valid)."""
        return admitted(inputs, self.space, job_type) & (self._tried(job_type) >= min_tried)

    def _tried(self, job_type: str) -> NDArray[np.int64]:
        """Outcomes of each valid action that every member has learned from at least, (n_valid,)."""
        columns = self.space.tuple_rows(self.space.valid_indices(job_type))
        return np.min([member.tried()[columns] for member in self._members], axis=0)


def safe_savings(
    values: ActionValues, defaults: NDArray[np.int64], allowed: NDArray[np.bool_], *, delta: float, confidence: float
) -> NDArray[np.float64]:
    """Minus the expected agent time in ms of the safe actions, -inf of the others, (n, actions): the largest is the
    cheapest action that passes as often as the default.

    ``values`` (members, n, actions) of two members at least; ``defaults`` (n,) positions; ``allowed`` (n, actions). An
    action is safe when the lower confidence bound of its pass probability, mean - z · standard deviation over the
    members, is at most ``delta`` below the default's mean; the default itself always is. The members disagree where
    data is scarce, and there the default stays; that is also so where they disagree about the default itself.
    """
    if len(values.passed) < 2:
        raise ConfigError("the safe reading needs an ensemble of two runs at least, to know how sure it is")
    rows = np.arange(len(defaults))
    mean, spread = values.passed.mean(axis=0), values.passed.std(axis=0, ddof=1)
    lower = mean - NormalDist().inv_cdf(confidence) * spread
    safe = allowed & (lower >= (mean[rows, defaults] - delta)[:, None])
    safe[rows, defaults] = True
    return np.where(safe, -values.agent_ms.mean(axis=0), -np.inf)
