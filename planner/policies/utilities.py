"""Train's outcomes as a table of utilities, for policies that foresee what each action would be worth."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.dataset.storage import Dataset, Split
from planner.policies.gains import check_compared
from planner.scoring.preferences import NEVER_TRIED, mean_gains


class Known(NamedTuple):
    """What train holds of one job type: its comparable examples (n,), and each one's utilities (n, n_valid)."""

    rows: NDArray[np.intp]
    utilities: NDArray[np.float64]


def known_utilities(dataset: Dataset) -> dict[str, Known]:
    """Job type -> what train knows of it; DatasetError when train compares no actions."""
    check_compared(dataset)
    split = dataset.splits["train"]
    comparable = split.outcomes.comparable
    job_types = np.array(split.table["job_type"])
    return {
        job_type: _known(split, np.flatnonzero(comparable & (job_types == job_type)), dataset.space, job_type)
        for job_type in np.unique(job_types[comparable]).tolist()
    }


def _known(split: Split, rows: NDArray[np.intp], space: ActionSpace, job_type: str) -> Known:
    """An action that an example did not execute gets what the example's other outcomes and the action's gain foretell.

    That is the additive model: utility = how easy the example is + the action's mean gain. A capped action gets the
    same, but no more than its bound.
    """
    outcomes, gains = split.outcomes, mean_gains(split.outcomes)
    valid = [tuple(action) for action in space.valid_indices(job_type).tolist()]
    column = {action: at for at, action in enumerate(valid)}
    gain = np.array([gains.get(action, NEVER_TRIED) for action in valid])
    table = np.full((len(rows), len(valid)), np.nan)
    bound = np.full((len(rows), len(valid)), np.inf)
    for at, row in enumerate(rows.tolist()):
        span = slice(*outcomes.bounds[row : row + 2].tolist())
        columns = [column[tuple(action)] for action in outcomes.actions[span].tolist()]
        capped = np.asarray(outcomes.capped[span])
        table[at, columns] = np.where(capped, np.nan, outcomes.utility[span])
        bound[at, columns] = np.where(capped, outcomes.utility[span], np.inf)
    ease = np.nanmean(table - gain, axis=1, keepdims=True)
    return Known(rows, np.where(np.isnan(table), np.minimum(ease + gain, bound), table))
