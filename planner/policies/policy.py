"""What every policy that gives probabilities has in common, and how its scores respect each context's own space."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.encoding.inputs import Inputs


class Policy(Protocol):
    """A fitted policy."""

    name: str
    space: ActionSpace

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """Log-probability of every valid action, (n, n_valid) in the order of ``space.valid_actions(job_type)``.

        All contexts are of ``job_type``; rows are normalised, -inf where a context's own space lacks the action.
        """
        ...


def admitted(inputs: Inputs, space: ActionSpace, job_type: str) -> NDArray[np.bool_]:
    """Which valid actions of ``space`` each context's own space admits, (n, n_valid)."""
    indices = space.valid_indices(job_type)
    offsets = np.cumsum([0, *space.widths[:-1]])
    return np.asarray(inputs.masks)[:, indices + offsets].all(axis=2)


def admitted_tuples(inputs: Inputs, space: ActionSpace) -> NDArray[np.bool_]:
    """Which of ``space.tuples`` are valid for each context's job type and admitted by its own space, (n, n_tuples)."""
    allowed: NDArray[np.bool_] = np.zeros((len(inputs), len(space.tuples)), dtype=bool)
    for job_type in np.unique(inputs.job_types):
        rows = np.flatnonzero(inputs.job_types == job_type)
        columns = space.tuple_rows(space.valid_indices(str(job_type)))
        allowed[np.ix_(rows, columns)] = admitted(inputs.take(rows), space, str(job_type))
    return allowed


def normalise(weights: NDArray[np.float64], allowed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Non-negative weights (n, n_valid) as log-probabilities over the allowed actions of each row."""
    kept = np.where(allowed, weights, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(kept) - np.log(kept.sum(axis=1, keepdims=True))
