"""Which plans are worth trying: those that may turn out better than what is tried anyway."""

from collections.abc import Sequence

import numpy as np

from planner.policies.questions import Question
from planner.policies.readings import Reading
from planner.policies.structural import StructuralModel
from planner.scoring.plan_outcome import Plan


def informative_plans(
    model: StructuralModel, question: Question, plans: Sequence[Plan], tried: Sequence[Plan], reading: Reading, n: int
) -> list[tuple[int, float]]:
    """Positions of at most ``n`` plans, and by how much knowing what each comes to would better the decision, in
    expectation, beside the plans that are ``tried`` anyway and the earlier ones. Those that can win nothing are left
    out.

    The gain is the mean, over draws of what is believed, of how far the plan is above the best of these.
    """
    worth = reading(model.draws_of(question, [*plans, *tried]))
    known = worth[:, len(plans) :].max(axis=1)
    worth = worth[:, : len(plans)]
    found: list[tuple[int, float]] = []
    while len(found) < n:
        gains = np.maximum(worth - known[:, None], 0.0).mean(axis=0)
        at = int(gains.argmax())
        if not gains[at] > 0:
            break
        found.append((at, float(gains[at])))
        known = np.maximum(known, worth[:, at])
    return found
