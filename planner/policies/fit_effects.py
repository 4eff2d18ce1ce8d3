"""Fitting the processes of case_effects, at a cost that grows in proportion to the cases.

With S the columns, one effect of each issue and one of each case, the covariance of what was seen is
S Sᵀ + Z diag(of_issue) Zᵀ + diag(alone + noise): it is solved by Woodbury's identity, first within the issues, then
over the columns. Needs scipy.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.policies.case_effects import Columns, EffectProcess
from planner.policies.case_kernel import Cases
from planner.policies.expectation_propagation import Sites, propagate
from planner.policies.gaussian_processes import JITTER, cholesky_of, inverse_of
from planner.policies.pass_counts import PassCounts

Array: TypeAlias = NDArray[np.float64]
VARIANCE_CASES = 600
"""Cases on which the variances are fitted: a handful of numbers needs no more."""
ROWS = 2048
"""Cases whose columns are looked at together."""
BLOCK_ISSUES = 4
"""Issues of a group that are taken together for that: also many small groups tell how alike their issues are."""


class Effects:
    """All cases as effects, for processes with any variances."""

    def __init__(self, columns: Columns, cases: Cases) -> None:
        from scipy import sparse

        self.columns, self.cases = columns, cases
        places, values = columns.sparse(cases)
        n = len(cases)
        rows: NDArray[np.int64] = np.repeat(np.arange(n), places.shape[1])
        self._sparse = sparse.csr_matrix((values.ravel(), (rows, places.ravel())), shape=(n, columns.n_sparse))
        self._dense = columns.dense(cases)
        self._kinds = columns.kinds()
        _, self.issue = np.unique(cases.issue, return_inverse=True)
        self._firsts = np.unique(self.issue, return_index=True)[1]
        ones = np.ones(n)
        self._by_issue = sparse.csr_matrix((ones, (self.issue, np.arange(n))), shape=(len(self._firsts), n))

    def with_variances(self, variances: Array, constant: float) -> "System":
        """The effects with these variances of the kernels."""
        from scipy import sparse

        scale = np.sqrt(np.append(variances, constant)[self._kinds])
        n_sparse = self.columns.n_sparse
        of_issue, alone = self.columns.own(self.cases, variances)
        return System(
            constant,
            variances,
            (self._sparse @ sparse.diags(scale[:n_sparse])).tocsr(),
            self._dense * scale[n_sparse:],
            self._by_issue,
            self.issue,
            of_issue[self._firsts],
            alone,
        )


@dataclass(frozen=True)
class System:
    """What is to be solved: columns of which a case has few and those of which it has all, each scaled by its
    deviation; and the variances of what issues (issues,) and cases (n,) have of their own."""

    constant: float
    variances: Array
    sparse: Any
    dense: Array
    by_issue: Any
    issue: NDArray[np.intp]
    of_issue: Array
    alone: Array

    def passes(self, counts: PassCounts, start: Sites | None = None) -> tuple[EffectProcess, Sites]:
        """The process of gaussian_processes.passes_given, and its sites; a case of which nothing is known teaches
        nothing. ``start`` are the sites of a process of nearly the same cases."""
        known = counts.seen

        def learned(sites: Sites) -> tuple[Array, Solved, Array]:
            """Information, the solved system, and the scores, for sites of the known cases."""
            precision, shift = sites.among(known)
            shrunk = 1.0 + self.alone * precision
            solved = self.solved(precision / shrunk)
            return precision / shrunk, solved, solved.applied(shift / shrunk)

        def marginals(sites: Sites) -> tuple[Array, Array]:
            _, solved, scores = learned(sites)
            variance = (1 - solved.diagonal()[known] / sites.precision) / sites.precision
            return self.times_covariance(scores)[known], variance

        sites = propagate(counts.take(known), marginals, start and start.take(known)).sites
        information, _, scores = learned(sites)
        return self._process(scores, information, 0.0), sites.among(known)

    def times(self, means: Array, noise: Array, seen: NDArray[np.bool_], offset: float) -> EffectProcess:
        """The process of gaussian_processes.times_given, of the cases that were ``seen``."""
        information = np.where(seen, 1.0 / (self.alone + np.where(seen, noise, 1.0) + JITTER), 0.0)
        solved = self.solved(information)
        return self._process(
            solved.applied(information * (np.where(seen, means, offset) - offset)), information, offset
        )

    def solved(self, information: Array) -> "Solved":
        """For cases of which this is one by the variance of their own and of the noise."""
        weighted_sparse = self.sparse.multiply(information[:, None]).tocsr()
        weighted_dense = self.dense * information[:, None]
        weight = self.of_issue / (1.0 + self.of_issue * np.bincount(self.issue, information, len(self.of_issue)))
        left, right = self.by_issue @ weighted_sparse, self.by_issue @ weighted_dense
        weighted_left, weighted_right = left.multiply(weight[:, None]).tocsr(), right * weight[:, None]
        corner = self.sparse.T @ weighted_dense - left.T @ weighted_right
        gram = np.block(
            [
                [(self.sparse.T @ weighted_sparse - left.T @ weighted_left).toarray(), corner],
                [corner.T, self.dense.T @ weighted_dense - right.T @ weighted_right],
            ]
        )
        gram.flat[:: len(gram) + 1] += 1.0
        return Solved(self, information, weight, cholesky_of(gram))

    def times_columns(self, effects: Array) -> Array:
        """(n,)"""
        n_sparse = self.sparse.shape[1]
        found: Array = self.sparse @ effects[:n_sparse] + self.dense @ effects[n_sparse:]
        return found

    def of_columns(self, scores: Array) -> Array:
        """(columns,)"""
        return np.concatenate([self.sparse.T @ scores, self.dense.T @ scores])

    def times_covariance(self, scores: Array) -> Array:
        """The covariance of the cases times ``scores`` (n,)."""
        of_issue = self.of_issue * np.bincount(self.issue, scores, len(self.of_issue))
        return self.times_columns(self.of_columns(scores)) + of_issue[self.issue] + self.alone * scores

    def _process(self, scores: Array, information: Array, offset: float) -> EffectProcess:
        spread = inverse_of(self.solved(information).lower)
        return EffectProcess(
            self.constant, self.variances, self.of_columns(scores), spread, scores, information, offset
        )


@dataclass(frozen=True)
class Solved:
    """A system with what was seen of each case."""

    system: System
    information: Array
    weight: Array
    lower: Array

    def applied(self, informed: Array) -> Array:
        """(K + noise)⁻¹ times what was seen (n,), which comes multiplied with the information."""
        from scipy.linalg import cho_solve

        within = self._within(informed)
        effects = cho_solve((self.lower, True), self.system.of_columns(within), check_finite=False)
        return within - self._within(self.information * self.system.times_columns(effects))

    def diagonal(self) -> Array:
        """That of (K + noise)⁻¹, (n,)."""
        from scipy.linalg import solve_triangular

        system, informed = self.system, self.information
        weight = self.weight[system.issue]
        found = informed - informed**2 * weight
        sums = np.hstack(
            [
                (system.by_issue @ system.sparse.multiply(informed[:, None])).toarray(),
                system.by_issue @ (system.dense * informed[:, None]),
            ]
        )
        for start in range(0, len(found), ROWS):
            part = slice(start, start + ROWS)
            columns = np.hstack([system.sparse[part].toarray(), system.dense[part]])
            columns -= weight[part, None] * sums[system.issue[part]]
            told = solve_triangular(self.lower, columns.T, lower=True, overwrite_b=True, check_finite=False)
            found[part] -= informed[part] ** 2 * (told**2).sum(axis=0)
        return found

    def _within(self, informed: Array) -> Array:
        """The same within issues alone."""
        issue = self.system.issue
        return informed - self.information * (self.weight * np.bincount(issue, informed, len(self.weight)))[issue]


def cases_for_variances(cases: Cases, seed: int = 0) -> NDArray[np.intp]:
    """Cases that stand for all, whole issues and some of each group that is taken, at most about VARIANCE_CASES."""
    draw = np.random.default_rng(seed)
    issues, firsts, of_case = np.unique(cases.issue, return_index=True, return_inverse=True)
    group = cases.group[firsts]
    mixed = draw.permutation(len(issues))
    by_group = mixed[np.argsort(group[mixed], kind="stable")]
    starts = np.flatnonzero(np.diff(group[by_group], prepend=-2))
    rank = np.arange(len(issues)) - np.repeat(starts, np.diff(starts, append=len(issues)))
    block = np.cumsum((rank % BLOCK_ISSUES == 0).astype(np.int64)) - 1
    order = draw.permutation(block[-1] + 1)[block]
    rank_of_issue: NDArray[np.int64] = np.empty(len(issues), dtype=np.int64)
    rank_of_issue[by_group[np.argsort(order, kind="stable")]] = np.arange(len(issues))
    by_rank = np.argsort(rank_of_issue[of_case], kind="stable")
    last = rank_of_issue[of_case][by_rank[min(VARIANCE_CASES, len(cases)) - 1]]
    return np.flatnonzero(rank_of_issue[of_case] <= last)
