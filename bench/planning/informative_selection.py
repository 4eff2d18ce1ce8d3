"""The selection that asks a structural run which actions' outcomes would better a case's decision most."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.planning.selections import Choice
from planner.actions import Action
from planner.errors import BenchError
from planner.policies.informative import informative_plans
from planner.policies.questions import question_of
from planner.policies.trial_plans import CODE, plans_of_actions
from planner.policies.trial_policy import TrialPolicy
from planner.runs.fitted import FittedPolicy, is_fitted


class InformativeSelection:
    """The fixed actions, then those of which knowing more would win most, beside these and each other."""

    def __init__(self, runs: Sequence[Path]) -> None:
        if len(runs) != 1 or not is_fitted(runs[0]):
            raise BenchError(
                "--select informative needs one run of `planner train --arch structural`: name it with --policy"
            )
        self._policy: TrialPolicy = FittedPolicy.load(runs[0]).policy
        self.name = f"informative, {runs[0].name}"

    def count(self, actions: Iterable[Action]) -> None:
        """Nothing to note: the choice depends on the case alone."""

    def choose(self, choice: Choice, n_actions: int) -> list[Action]:
        """Actions that can win nothing more come last, as they all do in jobs other than code."""
        actions, rest = choice.fixed[:n_actions], choice.rest
        free = min(n_actions - len(actions), len(rest))
        if free > 0 and choice.context["job_type"] == CODE:
            policy = self._policy
            question = question_of(choice.context, policy.kernel_config)
            plans, tried = (plans_of_actions(part, policy.kernel_config) for part in (rest, actions))
            found = informative_plans(policy.values.structural, question, plans, tried, policy.reading, free)
            rest = list(dict.fromkeys([*(rest[at] for at, _ in found), *rest]))
        return actions + rest[: max(free, 0)]
