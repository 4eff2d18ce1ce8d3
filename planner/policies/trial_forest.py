"""Extra trees (scikit-learn) that foresee what every plan comes to, from the tool, the size or words, and history.

Choose it beside the structural model: it assumes less about how cases are alike, and the mean of both is better than
either where neither fits well.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.policies.case_kernel import UNKNOWN, Cases
from planner.policies.case_trials import CaseTrials
from planner.policies.case_vocabulary import CaseVocabulary
from planner.policies.questions import Question
from planner.scoring.plan_outcome import PlanOutcomes

Array: TypeAlias = NDArray[np.float64]
TREES = 120
LEAF = 3
COMPONENTS = 15
"""Principal components of the outcomes that are learned."""
WORD_DIRECTIONS = 12
PRIOR_TRIALS = 6.0
"""A rate is shrunk to that of all as if so many trials had passed that often."""


class TrialForest:
    """Trees fitted on questions whose outcomes are known."""

    def __init__(
        self,
        vocabulary: CaseVocabulary,
        cases: Cases,
        seen: CaseTrials,
        questions: Sequence[Question],
        own: NDArray[np.int64],
        outcomes: PlanOutcomes,
        limit: float,
        *,
        kept: NDArray[np.bool_] | None = None,
        seed: int = 0,
    ) -> None:
        """Fit to ``outcomes`` (n, plans) of ``questions`` (n,), of which ``own`` (n,) is the case, -1 for none.

        History is that of the cases that are ``kept``, for a question in training without its own case. ``limit`` is in
        the unit of the outcomes' times.
        """
        from sklearn.decomposition import PCA
        from sklearn.ensemble import ExtraTreesRegressor

        self._vocabulary, self._limit = vocabulary, limit
        self._history = _History(cases, seen, np.ones(len(cases), dtype=bool) if kept is None else kept)
        self._directions = _directions(cases)
        targets = np.hstack([outcomes.passed, outcomes.wall / limit, outcomes.agent / (2 * limit)])
        self._components = PCA(min(COMPONENTS, *targets.shape), random_state=seed).fit(targets)
        self._trees = ExtraTreesRegressor(
            TREES, min_samples_leaf=LEAF, max_features=0.5, random_state=seed, n_jobs=1
        ).fit(self._features(questions, own), self._components.transform(targets))

    def values(self, questions: Sequence[Question]) -> PlanOutcomes:
        """Expected outcomes, (n, plans)."""
        nobody: NDArray[np.int64] = np.full(len(questions), -1, dtype=np.int64)
        found = self._components.inverse_transform(self._trees.predict(self._features(questions, nobody)))
        passed, wall, agent = np.split(found, 3, axis=1)
        return PlanOutcomes(passed, wall * self._limit, agent * 2 * self._limit)

    def _features(self, questions: Sequence[Question], own: NDArray[np.int64]) -> Array:
        """(n, features)."""
        asked = self._vocabulary.cases([q.subject for q in questions], [q.tools[0] for q in questions])
        tools = asked.tool[:, None] == np.arange(len(self._vocabulary.tools))
        return np.column_stack([tools, asked.size, asked.text @ self._directions, self._history.features(asked, own)])


def _directions(cases: Cases) -> Array:
    """The main directions of the issues' words, (terms, at most WORD_DIRECTIONS)."""
    _, first = np.unique(cases.issue, return_index=True)
    _, _, right = np.linalg.svd(cases.text[first], full_matrices=False)
    return right[:WORD_DIRECTIONS].T


class _History:
    """How trials of a tool, an issue, a group, and a tool on a group went; (n,) sums over cases."""

    def __init__(self, cases: Cases, seen: CaseTrials, kept: NDArray[np.bool_]) -> None:
        self._cases, self._kept = cases, kept
        times = sum(
            np.where(t.counts > 0, t.counts * np.nan_to_num(t.means), 0.0) for t in (seen.passing, seen.failing)
        )
        counts = seen.passing.counts + seen.failing.counts
        self._sums = np.stack([seen.passes, seen.trials, np.asarray(times), counts]) * kept
        passes, trials, time, timed = self._sums.sum(axis=1)
        self._rate, self._time = (passes + 1) / (trials + 2), time / max(timed, 1.0)

    def features(self, asked: Cases, own: NDArray[np.int64]) -> Array:
        """Rates, mean log times and counts of what is like each case, without its ``own``."""
        columns: list[Array] = []
        for left, right in (
            (asked.tool, self._cases.tool),
            (asked.issue, self._cases.issue),
            (asked.group, self._cases.group),
        ):
            passes, trials, time, timed = self._like(left, right, own)
            rate = (passes + PRIOR_TRIALS * self._rate) / (trials + PRIOR_TRIALS)
            columns += [rate, (time + self._time) / (timed + 1), trials]
        of_tool, n_groups = columns[0], 1 + max(int(asked.group.max(initial=0)), int(self._cases.group.max(initial=0)))
        left, right = (
            np.where((c.tool >= 0) & (c.group >= 0), c.tool * n_groups + c.group, UNKNOWN) for c in (asked, self._cases)
        )
        passes, trials, *_ = self._like(left, right, own)
        columns.append((passes + PRIOR_TRIALS * of_tool) / (trials + PRIOR_TRIALS))
        return np.column_stack(columns)

    def _like(self, left: NDArray[np.int64], right: NDArray[np.int64], own: NDArray[np.int64]) -> Array:
        """Sums over the known cases with the same number, (4, n)."""
        size = 2 + max(int(left.max(initial=0)), int(right.max(initial=0)))
        totals = np.stack([np.bincount(right + 1, kind, size) for kind in self._sums])
        totals[:, 0] = 0.0  # what is unknown is like nothing
        found = totals[:, left + 1]
        mine = (own >= 0) & (left != UNKNOWN)
        found[:, mine] -= self._sums[:, own[mine]]
        return found
