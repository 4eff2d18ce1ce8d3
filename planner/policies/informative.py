"""Which plans are worth trying: those that may turn out better than the best as far as anybody knows."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.encoding.subject import Question
from planner.policies.readings import Reading
from planner.policies.structural import StructuralModel
from planner.scoring.plan_outcome import Plan

Array: TypeAlias = NDArray[np.float64]


def gains_from_knowing(model: StructuralModel, question: Question, plans: Sequence[Plan], reading: Reading) -> Array:
    """By how much knowing what each plan comes to would better the decision, in expectation, (plans,).

    The mean over draws of what is believed by how much the plan beats the one that is best on average.
    """
    worth = reading(model.draws_of(question, plans))
    best = worth.mean(axis=0).argmax()
    return np.maximum(worth - worth[:, best, None], 0.0).mean(axis=0)
