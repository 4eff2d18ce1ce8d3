"""A run that others can be taught by: one that knows what every action is worth, in any context."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.errors import CheckpointError
from planner.policies.questions import question_of
from planner.runs.fitted import FittedPolicy, load_run_policy
from planner.runs.learned import LearnedPolicy
from planner.scoring.plan_outcome import PlanOutcomes

Array: TypeAlias = NDArray[np.float64]
Contexts: TypeAlias = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Teacher:
    """A policy that values every valid action of code contexts."""

    policy: FittedPolicy | LearnedPolicy

    @classmethod
    def load(cls, run: Path) -> "Teacher":
        """The teacher in ``run``; CheckpointError when that is no run, or one that values no actions."""
        policy = load_run_policy(run)
        if isinstance(policy, LearnedPolicy) and policy.reading is None:
            raise CheckpointError(
                f"{run}: {policy.name} does not say what every action is worth: take a run of --arch structural, "
                "trial_forest or both, or one with model.action_head=trials, as --teacher"
            )
        return cls(policy)

    @property
    def name(self) -> str:
        return self.policy.name

    @property
    def space(self) -> ActionSpace:
        return self.policy.space

    def utilities(self, contexts: Contexts) -> Array:
        """What it decides by, (n, n_valid): the largest wins. Where its gate is shut, that of fixed actions."""
        if isinstance(self.policy, FittedPolicy):
            return self.policy.policy.utilities(contexts)
        assert self.policy.reading is not None
        return self.policy.reading.utilities(self.policy.beliefs_of(contexts), contexts)

    def foreseen(self, contexts: Contexts) -> PlanOutcomes:
        """What it expects of every action, (n, n_valid), times in minutes of budget."""
        if isinstance(self.policy, FittedPolicy):
            fitted = self.policy.policy
            return fitted.values.values([question_of(context, fitted.kernel_config) for context in contexts])
        assert self.policy.reading is not None
        return self.policy.reading.values(self.policy.beliefs_of(contexts), contexts)
