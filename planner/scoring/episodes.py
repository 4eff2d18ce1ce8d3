"""What plans come to one after another: an issue that failed comes back, until it passes or its attempts are used up.

An episode runs a sequence of plans. Each run meets trials that no earlier one has used, and it is made only if all
earlier ones failed; passes, minutes and dollars of the runs are added up. A second run of recorded trials is
independent of the first, given its case: a real one sees what the first left behind.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.scoring.orders import EXACT_ORDERS, trial_orders
from planner.scoring.plan_outcome import Plan, PlanOutcomes, plan_outcomes

Array: TypeAlias = NDArray[np.float64]
PlanSequence: TypeAlias = tuple[Plan, ...]
"""The plans of an episode in their order."""


def runs_of(plan: Plan | PlanSequence) -> PlanSequence:
    """A plan by itself is a sequence of one."""
    return (plan,) if isinstance(plan, Plan) else plan


def observed_sequences(plans: Sequence[Plan], n_runs: int, n_trials: int) -> list[PlanSequence]:
    """The sequences of ``n_runs`` plans that so many recorded trials tell the outcome of."""
    found: list[PlanSequence] = [()]
    for _ in range(n_runs):
        found = [(*head, plan) for head in found for plan in plans if n_trials_of((*head, plan)) <= n_trials]
    return found


def n_trials_of(sequence: PlanSequence) -> int:
    """Trials that a sequence needs at most."""
    return sum(plan.n_trials for plan in sequence)


def expected_sequences(
    sequences: Sequence[PlanSequence],
    passed: Sequence[bool] | Array,
    times: Sequence[float] | Array,
    *,
    at_most: int = EXACT_ORDERS,
    seed: int = 0,
) -> PlanOutcomes:
    """What sequences come to on recorded trials, (n_trials,) each, over the orders of these: (sequences,) each."""
    orders, _ = trial_orders(len(passed), at_most=at_most, seed=seed)
    share, time = np.asarray(passed, dtype=np.float64)[orders], np.asarray(times, dtype=np.float64)[orders]
    return sequence_outcomes(sequences, share, time, time)


def sequence_outcomes(
    sequences: Sequence[PlanSequence],
    passed: Array,
    time_passed: Array,
    time_failed: Array,
    *,
    lane_stride: int | None = None,
) -> PlanOutcomes:
    """Expected outcomes (..., sequences) over draws of trials (..., draws, trials), as in plan_outcomes.

    The trials of one draw are independent given it, but a draw in which the first run fails is more likely one of a
    hopeless case: so the second run's outcomes are means over the draws, each by how likely the first failed in it.
    With ``lane_stride`` each lane has as many attempts, and a later run takes those that follow in it.
    """
    tree = _tree_of(tuple(sequences))
    lead, n_draws = passed.shape[:-2], passed.shape[-2]
    totals = PlanOutcomes(*(np.zeros((*lead, len(tree.nodes))) for _ in range(3)))
    failing: dict[PlanSequence, Array] = {(): np.ones((*lead, n_draws))}
    for offset, heads in tree.stages(lane_stride is not None):
        plans = list(dict.fromkeys(plan for head in heads for plan in tree.next_plans[head]))
        column = {plan: at for at, plan in enumerate(plans)}
        rest = [kind[..., offset:] for kind in (passed, time_passed, time_failed)]
        outcomes = plan_outcomes(plans, *rest, lane_stride=lane_stride)
        weights = np.stack([failing[head] for head in heads], axis=-2) / n_draws
        means = [weights @ kind for kind in outcomes]
        for row, head in enumerate(heads):
            columns = [column[plan] for plan in tree.next_plans[head]]
            nodes = [tree.nodes[(*head, plan)] for plan in tree.next_plans[head]]
            for total, mean in zip(totals, means, strict=True):
                before = total[..., tree.nodes[head], None] if head else 0.0
                total[..., nodes] = before + mean[..., row, columns]
            for plan in tree.next_plans[head]:
                if (*head, plan) in tree.next_plans:
                    failing[*head, plan] = failing[head] * (1.0 - outcomes.passed[..., column[plan]])
    ends = [tree.nodes[sequence] for sequence in sequences]
    return PlanOutcomes(*(total[..., ends] for total in totals))


@lru_cache(maxsize=4)
def _tree_of(sequences: tuple[PlanSequence, ...]) -> "_Tree":
    """Made once for all contexts that are asked alike."""
    return _Tree(sequences)


class _Tree:
    """Sequences by what they have in common: their beginnings."""

    def __init__(self, sequences: Iterable[PlanSequence]) -> None:
        self.nodes: dict[PlanSequence, int] = {}
        """Every beginning that is not empty, numbered."""
        self.next_plans: dict[PlanSequence, list[Plan]] = {}
        """What follows each beginning that goes on."""
        for sequence in sequences:
            for length in range(1, len(sequence) + 1):
                part = sequence[:length]
                if part not in self.nodes:
                    self.nodes[part] = len(self.nodes)
                    self.next_plans.setdefault(part[:-1], []).append(part[-1])

    def stages(self, in_lanes: bool) -> list[tuple[int, list[PlanSequence]]]:
        """The beginnings that go on, by the trials that they have used, shorter ones first."""
        groups: dict[tuple[int, int], list[PlanSequence]] = {}
        for head in self.next_plans:
            used = sum(plan.attempts if in_lanes else plan.n_trials for plan in head)
            groups.setdefault((len(head), used), []).append(head)
        return [(used, heads) for (_, used), heads in sorted(groups.items())]
