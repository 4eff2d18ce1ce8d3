"""Tools, issues, groups, sizes and words as numbers, fitted on trials; each has a place for what was never seen."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.encoding.subject import Subject
from planner.policies.case_kernel import UNKNOWN, Cases

MAX_TERMS = 2000
MANY_CASES = 1000
"""Of more cases, of an issue and a tool each, the words are summed up, and the model is the one by effects (see
planner.policies.case_effects): nearly the same, fitted in a fraction of the time, and its bundle stays small."""
WORD_DIRECTIONS = 48
Array: TypeAlias = NDArray[np.float64]
_WORD = re.compile(r"[a-z][a-z0-9_]{2,}")


@dataclass(frozen=True)
class CaseVocabulary:
    """How cases become numbers."""

    tools: tuple[str, ...]
    issues: tuple[str, ...]
    groups: tuple[str, ...]
    size_mean: float
    """Of the logarithm of minutes, over issues."""
    size_scale: float
    """0 where all have one size."""
    terms: tuple[str, ...]
    rarity: tuple[float, ...]
    """Inverse document frequency of each term."""
    directions: tuple[tuple[float, ...], ...] = ()
    """What words are summed up in where cases are many, (terms, WORD_DIRECTIONS): their main directions."""

    @classmethod
    def fit(cls, subjects: Sequence[Subject], tools: Sequence[str]) -> "CaseVocabulary":
        """The vocabulary of these issues, and of these tools."""
        by_id = {subject.issue_id: subject for subject in subjects}
        sizes = np.log([subject.size_minutes for subject in by_id.values()]) if by_id else np.zeros(1)
        frequency = Counter(word for subject in by_id.values() for word in set(_words(subject.text)))
        # A word of one issue tells nothing of others, one of all nothing at all.
        common = [(word, n) for word, n in frequency.items() if 2 <= n < len(by_id)]
        terms = sorted(sorted(common, key=lambda pair: (-pair[1], pair[0]))[:MAX_TERMS])
        found = cls(
            tools=tuple(sorted(set(tools))),
            issues=tuple(sorted(by_id)),
            groups=tuple(sorted({subject.group for subject in by_id.values()} - {""})),
            size_mean=float(sizes.mean()),
            size_scale=float(sizes.std()) if sizes.std() > 1e-6 else 0.0,
            terms=tuple(word for word, _ in terms),
            rarity=tuple(math.log((1 + len(by_id)) / (1 + n)) + 1 for _, n in terms),
        )
        n_cases = len({(subject.issue_id, tool) for subject, tool in zip(subjects, tools, strict=True)})
        if n_cases <= MANY_CASES or min(len(by_id), len(terms)) <= WORD_DIRECTIONS:
            return found
        return replace(found, directions=found._main_directions(list(by_id.values())))

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "CaseVocabulary":
        """The vocabulary that :meth:`to_document` wrote."""
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
        }
        return cls(**{**values, "directions": tuple(map(tuple, document.get("directions", ())))})

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def cases(self, subjects: Sequence[Subject], tools: Sequence[str]) -> Cases:
        """Each subject with its tool, (n,)."""
        size = np.log([subject.size_minutes for subject in subjects]) - self.size_mean
        return Cases(
            tool=self._positions("tools", tools),
            issue=self._positions("issues", [subject.issue_id for subject in subjects]),
            group=self._positions("groups", [subject.group for subject in subjects]),
            size=size / self.size_scale if self.size_scale else np.zeros(len(subjects)),
            text=self._text(subjects),
        )

    def knows(self, subject: Subject) -> bool:
        """Whether the issue was among those that it was fitted on."""
        return subject.issue_id in self._places["issues"]

    @cached_property
    def _places(self) -> dict[str, dict[str, int]]:
        names = ("tools", "issues", "groups", "terms")
        return {name: {value: at for at, value in enumerate(getattr(self, name))} for name in names}

    def _positions(self, name: str, values: Sequence[str]) -> NDArray[np.int64]:
        places = self._places[name]
        return np.array([places.get(value, UNKNOWN) for value in values], dtype=np.int64)

    def _text(self, subjects: Sequence[Subject]) -> Array:
        """TF-IDF rows with logarithmic counts, of length 1, (n, terms); or what the directions have of them."""
        directions = self._directions
        rows = np.zeros((len(subjects), directions.shape[1] if len(directions) else len(self.terms)))
        done: dict[str, int] = {}
        for at, subject in enumerate(subjects):
            if (first := done.setdefault(subject.text, at)) != at:
                rows[at] = rows[first]
                continue
            columns, values = self._terms_of(subject.text)
            if len(directions):
                rows[at] = values @ directions[columns]
            else:
                rows[at, columns] = values
        return rows

    def _terms_of(self, text: str) -> tuple[list[int], Array]:
        """The terms in a text, and how much it is about each."""
        counts = {
            column: n
            for word, n in Counter(_words(text)).items()
            if (column := self._places["terms"].get(word)) is not None
        }
        values = np.array([(1 + math.log(n)) * self.rarity[column] for column, n in counts.items()])
        return list(counts), values / max(float(np.linalg.norm(values)), 1e-300)

    @cached_property
    def _directions(self) -> Array:
        return np.array(self.directions, dtype=np.float64)

    def _main_directions(self, subjects: Sequence[Subject]) -> tuple[tuple[float, ...], ...]:
        """Those of the issues' TF-IDF rows, (terms, WORD_DIRECTIONS). Needs scipy."""
        from scipy import sparse
        from scipy.sparse.linalg import svds

        rows, columns, values = [], [], []
        for at, subject in enumerate(subjects):
            found, weights = self._terms_of(subject.text)
            rows += [at] * len(found)
            columns += found
            values += weights.tolist()
        matrix = sparse.csr_matrix((values, (rows, columns)), shape=(len(subjects), len(self.terms)))
        _, _, right = svds(matrix, WORD_DIRECTIONS, v0=np.ones(min(matrix.shape)))
        return tuple(map(tuple, right.T.tolist()))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())
