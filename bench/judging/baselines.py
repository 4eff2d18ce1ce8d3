"""Rules that are fitted on a bench's learning cases, to set policies against: the best action of relatives."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.judging.results import CaseResults
from planner.actions import ActionSpace
from planner.context import N_SIMILAR
from planner.contracts.kernel import PlannerInput
from planner.encoding.inputs import inputs_of_contexts
from planner.encoding.tokens import SPECIALS
from planner.policies.neighbours import nearest_rows
from planner.policies.tabular import CLIP, feature_rows

NEIGHBOURS = 16


def group_of(context: PlannerInput) -> tuple[str, str]:
    """The group whose best action a case gets: job type with the tool hint, or, without a hint, the first tag."""
    issue = context.issue
    return context.job_type, issue.dk_tool_hint or next(iter(issue.tags), "")


def of_one_group(learning: Sequence[CaseResults], held_out: Sequence[CaseResults]) -> list[NDArray[np.intp]]:
    """For each held-out case the learning cases of its group; none for a group that learning never saw."""
    members: dict[tuple[str, str], list[int]] = {}
    for at, result in enumerate(learning):
        members.setdefault(group_of(result.case.context), []).append(at)
    return [np.array(members.get(group_of(result.case.context), []), dtype=np.intp) for result in held_out]


def nearest(
    learning: Sequence[CaseResults], held_out: Sequence[CaseResults], space: ActionSpace
) -> list[NDArray[np.intp]]:
    """For each held-out case its NEIGHBOURS nearest learning cases of the same job type, by the context's features.

    Features are standardised over the learning cases.
    """
    rows = feature_rows(inputs_of_contexts([_context(r) for r in [*learning, *held_out]], space, SPECIALS, N_SIMILAR))
    known = rows[: len(learning)]
    spread = known.std(axis=0)
    scaled = np.clip((rows - known.mean(axis=0)) / np.where(spread > 1e-6, spread, 1.0), -CLIP, CLIP)
    job_types = np.array([result.case.context.job_type for result in [*learning, *held_out]])
    found: list[NDArray[np.intp]] = []
    for at in range(len(learning), len(rows)):
        alike = np.flatnonzero(job_types[: len(learning)] == job_types[at])
        near, _ = nearest_rows(scaled[at : at + 1], scaled[alike], NEIGHBOURS)
        found.append(alike[near[0]])
    return found


def _context(result: CaseResults) -> dict[str, object]:
    return result.case.context.model_dump(exclude_unset=True)
