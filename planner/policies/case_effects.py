"""The processes over very many cases: effects that cases share, and what an issue and a case have of their own.

The kernels of case_kernel are sums of products of effects: of each tool, each group, each tool on each group, the size,
the words. Written so, all that different issues have in common is a few hundred columns; within an issue there is one
effect more, and one of each case. That is the same model at a cost in proportion to the cases, but for two things:

* "size, near" is its series in powers of the size, cut after SIZE_TERMS;
* of more than MAX_COLUMNS the rarest groups, and tools on groups, are no columns: their cases share nothing beyond
  their issue.

What is cut off of a case's own variance goes to its issue or to the case, so that this stays as it was (a block
approximation: Snelson & Ghahramani 2007, "Local and global sparse Gaussian process approximations"). Foreseeing takes
numpy alone.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.policies.case_kernel import Cases, own_kernels

Array: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.int64]
MAX_COLUMNS = 640
SIZE_TERMS = 16
"""Enough for sizes within three standard deviations: what is left of the variance is below a hundredth."""
CHUNK = 256
"""Questions foreseen at once: each takes as many rows of columns as its issue has cases."""
NO_COLUMN = -1
CONSTANT = -1
"""The kernel of the level that all cases share."""


@dataclass(frozen=True)
class Columns:
    """Which effect is which column, for the kernels ``names`` between cases."""

    names: tuple[str, ...]
    n_tools: int
    of_group: Places
    """The column of each group, (groups,), or NO_COLUMN."""
    of_pair: Places
    """The column of each tool on each group, (tools, groups), or NO_COLUMN."""
    n_words: int
    """Directions of the words."""

    @classmethod
    def of(cls, names: tuple[str, ...], cases: Cases) -> "Columns":
        """The columns for these cases; of groups and pairs those with the most cases, if there are too many."""
        n_tools, n_groups = (1 + int(kind.max(initial=-1)) for kind in (cases.tool, cases.group))
        n_words = cases.text.shape[1] if "text" in names else 0
        known = (cases.tool >= 0) & (cases.group >= 0)
        groups = np.bincount(cases.group[cases.group >= 0], minlength=n_groups) * ("group" in names)
        pairs = np.bincount((cases.tool * n_groups + cases.group)[known], minlength=n_tools * n_groups)
        counts = np.concatenate([groups, pairs * ("tool and group" in names)])
        first = 1 + n_tools * (("tool" in names) + ("size by tool" in names))
        room = MAX_COLUMNS - first - n_words - ("size, linear" in names) - SIZE_TERMS * ("size, near" in names)
        kept = np.argsort(-counts, kind="stable")[: max(room, 0)]  # of equals the first: the same every time
        kept = np.sort(kept[counts[kept] > 0])
        places = np.full(len(counts), NO_COLUMN)
        places[kept] = first + np.arange(len(kept))
        return cls(names, n_tools, places[:n_groups], places[n_groups:].reshape(n_tools, n_groups), n_words)

    @property
    def n_sparse(self) -> int:
        """Columns of which a case has few: the constant, tools, sizes by tool, groups, pairs."""
        kept = int((self.of_group >= 0).sum() + (self.of_pair >= 0).sum())
        return 1 + self.n_tools * (("tool" in self.names) + ("size by tool" in self.names)) + kept

    def kinds(self) -> Places:
        """The kernel of each column, as a position in ``names`` or CONSTANT: the sparse ones first."""
        place = {name: at for at, name in enumerate(self.names)}
        kinds = np.full(self.n_sparse, CONSTANT)
        first = 1
        for name in ("tool", "size by tool"):
            if name in place:
                kinds[first : first + self.n_tools] = place[name]
                first += self.n_tools
        for name, columns in (("group", self.of_group), ("tool and group", self.of_pair)):
            kinds[columns[columns >= 0]] = place.get(name, CONSTANT)
        widths = (("size, linear", 1), ("size, near", SIZE_TERMS), ("text", self.n_words))
        return np.concatenate([kinds, *(np.full(n, place[name]) for name, n in widths if name in place)])

    def sparse(self, cases: Cases) -> tuple[Places, Array]:
        """Of each case, its columns and what it has there, (n, at most 5) each; 0 where it has none."""
        columns: list[Places] = [np.zeros(len(cases), dtype=np.int64)]
        values = [np.ones(len(cases))]
        known_tool = (cases.tool >= 0) & (cases.tool < self.n_tools)
        first = 1
        for name, value in (("tool", np.ones(len(cases))), ("size by tool", cases.size)):
            if name in self.names:
                columns.append(np.where(known_tool, first + cases.tool, 0))
                values.append(np.where(known_tool, value, 0.0))
                first += self.n_tools
        for found in self._kept(cases):
            columns.append(np.maximum(found, 0))
            values.append((found >= 0).astype(np.float64))
        return np.stack(columns, axis=1), np.stack(values, axis=1)

    def dense(self, cases: Cases) -> Array:
        """What each case has in the columns of which all have some: sizes and words, (n, columns)."""
        parts = [np.zeros((len(cases), 0))]
        if "size, linear" in self.names:
            parts.append(cases.size[:, None])
        if "size, near" in self.names:
            parts.append(_size_series(cases.size))
        if "text" in self.names:
            parts.append(cases.text)
        return np.hstack(parts)

    def whole(self, cases: Cases) -> Array:
        """All columns, (n, columns)."""
        columns, values = self.sparse(cases)
        found = np.zeros((len(cases), self.n_sparse))
        np.add.at(found, (np.arange(len(cases))[:, None], columns), values)
        return np.hstack([found, self.dense(cases)])

    def own(self, cases: Cases, variances: Array) -> tuple[Array, Array]:
        """Variances of what each case shares with its issue alone, and of what it has alone, (n,) each."""
        variance = dict(zip(self.names, variances.tolist(), strict=True))
        group, pair = self._kept(cases)
        of_issue = np.full(len(cases), variance.get("issue", 0.0))
        of_issue += variance.get("group", 0.0) * ((group < 0) & (cases.group >= 0))
        if "size, near" in variance:
            of_issue += variance["size, near"] * (1.0 - (_size_series(cases.size) ** 2).sum(axis=1))
        no_pair = (pair < 0) & (cases.group >= 0) & (cases.tool >= 0)
        return of_issue, variance.get("case", 0.0) + variance.get("tool and group", 0.0) * no_pair

    def _kept(self, cases: Cases) -> tuple[Places, Places]:
        """The columns of each case's group, and of its tool on it, or NO_COLUMN."""
        n_groups = len(self.of_group)
        known = (cases.group >= 0) & (cases.group < n_groups)
        pair = known & (cases.tool >= 0) & (cases.tool < self.n_tools)
        of_group = np.append(self.of_group, NO_COLUMN)[np.where(known, cases.group, n_groups)]
        flat: Places = np.append(self.of_pair.ravel(), NO_COLUMN)
        return of_group, flat[np.where(pair, cases.tool * n_groups + cases.group, len(flat) - 1)]


def _size_series(size: Array) -> Array:
    """exp(-(s - s')²/2) = Σ f_k(s) f_k(s') with f_k(s) = exp(-s²/2) s^k / √k!, (n, SIZE_TERMS)."""
    powers = np.arange(SIZE_TERMS)
    scale = np.array([math.sqrt(math.factorial(k)) for k in powers])
    return np.exp(-(size[:, None] ** 2) / 2) * size[:, None] ** powers / scale


class CaseIndex(NamedTuple):
    """Known cases by issue and tool: both numbers as one, in order, and the cases' places in that order."""

    keys: Places
    order: Places

    @classmethod
    def of(cls, cases: Cases, n_tools: int) -> "CaseIndex":
        """The index of cases whose tools are below ``n_tools``."""
        keys = cases.issue * n_tools + cases.tool
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], order)


@dataclass(frozen=True)
class EffectProcess:
    """A fitted process: what foreseeing takes of it. A case that it did not learn from has information 0."""

    constant: float
    variances: Array
    """Of each kernel, (J,)."""
    effects: Array
    """Of each column, scaled by its deviation, (columns,)."""
    spread: Array
    """Their covariance, given what was learned, (columns, columns)."""
    scores: Array
    """(n,): the mean of a new case is its covariance with the n known ones times these."""
    information: Array
    """(n,): one by the variance that is a case's alone with that of what was seen of it."""
    offset: float = 0.0
    """Added to every mean."""


@dataclass(frozen=True)
class EffectPosterior:
    """The three processes, by effects; see planner.policies.case_posterior."""

    columns: Columns
    index: CaseIndex
    processes: tuple[EffectProcess, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the kernels."""
        return self.columns.names

    def foresee(self, known: Cases, asked: Cases, lanes: int) -> list[tuple[Array, Array]]:
        """Means (m, lanes) and covariances (m, lanes, lanes) under each process."""
        step = CHUNK * lanes
        parts = [
            self._foresee(known, asked.take(np.arange(start, min(start + step, len(asked)))), lanes)
            for start in range(0, len(asked), step)
        ]
        return [
            (np.concatenate([mean for mean, _ in kind]), np.concatenate([covariance for _, covariance in kind]))
            for kind in zip(*parts, strict=True)
        ]

    def _foresee(self, known: Cases, asked: Cases, lanes: int) -> list[tuple[Array, Array]]:
        columns, index, n_tools = self.columns, self.index, self.columns.n_tools
        issues, of_question = np.unique(asked.issue, return_inverse=True)
        starts = np.searchsorted(index.keys, issues * n_tools)
        lengths = np.searchsorted(index.keys, (issues + 1) * n_tools) - starts
        owner: NDArray[np.intp] = np.repeat(np.arange(len(issues)), lengths)
        firsts = np.cumsum(lengths) - lengths
        rows = index.order[np.arange(len(owner)) + (starts - firsts)[owner]]
        keys = asked.issue * n_tools + asked.tool
        at = np.minimum(np.searchsorted(index.keys, keys), len(index.keys) - 1)
        is_known = (index.keys[at] == keys) & (asked.issue >= 0) & (asked.tool >= 0)
        own_row = index.order[at]
        here, there = columns.whole(asked), columns.whole(known.take(rows))
        kinds, own = columns.kinds(), own_kernels(columns.names, asked, lanes)
        found = []
        for process in self.processes:
            scale = np.sqrt(np.append(process.variances, process.constant)[kinds])
            shared = here * scale
            informed = process.information[rows]
            of_issue, alone = columns.own(asked, process.variances)
            total, score = (
                np.bincount(owner, kind[rows], len(issues))[of_question]
                for kind in (process.information, process.scores)
            )
            sums = np.zeros((len(issues), len(scale)))
            if len(rows):
                filled = lengths > 0
                sums[filled] = np.add.reduceat(informed[:, None] * there, firsts[filled], axis=0) * scale
            # In the words of the module's docstring: K* P K*' for P = (K + noise)^-1, by Woodbury's identity twice.
            weight = of_issue / (1.0 + of_issue * total)
            mine = np.where(is_known, process.information[own_row], 0.0) * alone
            unlearned = shared - (weight * (1.0 - mine))[:, None] * sums[of_question] - mine[:, None] * shared
            mean = process.offset + shared @ process.effects + of_issue * score
            mean += alone * np.where(is_known, process.scores[own_row], 0.0)
            of_lanes = (len(asked) // lanes, lanes)
            covariance = process.constant + np.tensordot(process.variances, own, axes=1)
            covariance -= _products(shared, shared, of_lanes)
            covariance += _products(unlearned @ process.spread, unlearned, of_lanes)
            first, mine, alone = weight.reshape(of_lanes)[:, :1, None], mine.reshape(of_lanes), alone.reshape(of_lanes)
            level = (of_issue * total).reshape(of_lanes)[:, :1, None]
            covariance -= first * (level + mine[:, :, None] + mine[:, None] - mine[:, :, None] * mine[:, None])
            covariance -= np.eye(lanes) * (alone * mine)[:, :, None]
            found.append((mean.reshape(of_lanes), covariance))
        return found


def _products(left: Array, right: Array, of_lanes: tuple[int, int]) -> Array:
    """Inner products of the lanes of each question, (m, lanes, lanes)."""
    found: Array = left.reshape(*of_lanes, -1) @ right.reshape(*of_lanes, -1).transpose(0, 2, 1)
    return found
