"""The selection that asks trained runs: their favourite actions, and those they are least sure about."""

import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.planning.selections import Choice
from planner.actions import Action
from planner.contracts.kernel import context_builder
from planner.encoding.inputs import inputs_of_contexts
from planner.errors import BenchError
from planner.runs.learned import LearnedPolicy


class PolicySelection:
    """Half of the free places go to the actions with the largest mean probability, half to the most uncertain ones.

    With several runs an action is uncertain as far as they disagree (standard deviation of its probability); a single
    run cannot disagree with itself, so the second half is then drawn from its distribution, seeded per case.
    """

    def __init__(self, runs: Sequence[Path], seed: int) -> None:
        if not runs:
            raise BenchError("--select policy needs a trained run: name it with --policy, which may be repeated")
        self._policies = [LearnedPolicy(run) for run in runs]
        self._seed = seed
        self.name = f"policy {', '.join(run.name for run in runs)}, seed {seed}"

    def count(self, actions: Iterable[Action]) -> None:
        """Nothing to note: the choice depends on the case alone."""

    def choose(self, choice: Choice, n_actions: int) -> list[Action]:
        """The fixed actions, then favourites, then uncertain ones; an action that no run knows comes last."""
        actions, rest = choice.fixed[:n_actions], choice.rest
        free = min(n_actions - len(actions), len(rest))
        if free <= 0:
            return actions
        probabilities = np.stack([self._probabilities(policy, choice, rest) for policy in self._policies])
        favourites = _largest(probabilities.mean(axis=0), -(-free // 2))
        uncertainty = self._uncertainty(probabilities, choice.case_id)
        uncertainty[favourites] = -np.inf
        uncertain = _largest(uncertainty, free - len(favourites))
        return actions + [rest[index] for index in (*favourites, *uncertain)]

    def _uncertainty(self, probabilities: NDArray[np.float64], case_id: str) -> NDArray[np.float64]:
        """(actions,); larger is less certain."""
        if len(probabilities) > 1:
            return probabilities.std(axis=0)
        draw = random.Random(f"{self._seed}/{case_id}")
        # The largest of log p + Gumbel noise are a draw without replacement from p.
        noise = np.array([-np.log(-np.log(draw.uniform(1e-12, 1 - 1e-12))) for _ in probabilities[0]])
        return np.log(np.maximum(probabilities[0], 1e-30)) + noise

    def _probabilities(self, policy: LearnedPolicy, choice: Choice, actions: Sequence[Action]) -> NDArray[np.float64]:
        """The run's probability of each action, (actions,); 0 for one that its space lacks."""
        document = policy.document
        if document.context_builder not in (None, context_builder(choice.context)):
            raise BenchError(
                f"--policy {policy.name} learned from contexts of the profile {document.context_builder}: bench with "
                f"--profile {document.context_builder}"
            )
        inputs = inputs_of_contexts(
            [choice.context], policy.space, document.vocabulary, document.dataset_n_similar, document.token_profile
        )
        job_type = str(choice.context["job_type"])
        known = policy.space.valid_actions(job_type)
        log_probabilities = policy.score(inputs, job_type)[0]
        of = dict(zip(known, np.exp(log_probabilities).tolist(), strict=True))
        return np.array([of.get(action, 0.0) for action in actions])


def _largest(values: NDArray[np.float64], n: int) -> list[int]:
    """The positions of the ``n`` largest values, of equals the first."""
    return np.argsort(-values, kind="stable")[:n].tolist()
