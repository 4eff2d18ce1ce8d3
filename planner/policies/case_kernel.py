"""How alike two cases are, as a sum of kernels with a variance each: cases share a tool, an issue, a group, a size.

A case is one issue with one tool. The kernels are those of a crossed hierarchy: k0 + v · [same tool] + ... + v · [same
case]; each variance says how much that tells, and is fitted.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
UNKNOWN = -1
"""A tool, issue or group that the vocabulary lacks: it is like no other."""
COMPONENTS = (
    "tool",
    "issue",
    "group",
    "tool and group",
    "size, linear",
    "size, near",
    "size by tool",
    "text",
    "case",
)


@dataclass(frozen=True)
class Cases:
    """n cases as numbers. tool, issue, group (n,) int, UNKNOWN where not in the vocabulary; size (n,) standardised log
    size, 0 where not known; text (n, terms) TF-IDF rows of length 1, or 0 without text."""

    tool: NDArray[np.int64]
    issue: NDArray[np.int64]
    group: NDArray[np.int64]
    size: Array
    text: Array

    def __len__(self) -> int:
        return len(self.tool)

    def take(self, rows: NDArray[np.intp]) -> "Cases":
        """The cases at these positions."""
        return Cases(self.tool[rows], self.issue[rows], self.group[rows], self.size[rows], self.text[rows])


def components_in(cases: Cases) -> tuple[str, ...]:
    """The kernels that these cases can say anything about."""
    lacking: set[str] = set()
    if not np.ptp(cases.size):
        lacking |= {"size, linear", "size, near", "size by tool"}
    if not cases.text.any():
        lacking.add("text")
    if len(np.unique(cases.tool)) < 2:
        lacking |= {"tool", "tool and group", "size by tool"}
    if len(np.unique(cases.group)) < 2:
        lacking |= {"group", "tool and group"}
    return tuple(name for name in COMPONENTS if name not in lacking)


def kernels(names: tuple[str, ...], left: Cases, right: Cases) -> Array:
    """Every named kernel between ``left`` (n) and ``right`` (m), with variance 1: (len(names), n, m)."""
    tool, issue, group = (
        _same(getattr(left, name), getattr(right, name)).astype(np.float64) for name in ("tool", "issue", "group")
    )
    product = left.size[:, None] * right.size[None]
    found = np.empty((len(names), len(left), len(right)))
    for at, name in enumerate(names):
        match name:
            case "tool":
                found[at] = tool
            case "issue":
                found[at] = issue
            case "group":
                found[at] = group
            case "tool and group":
                found[at] = tool * group
            case "size, linear":
                found[at] = product
            case "size, near":
                found[at] = np.exp(-((left.size[:, None] - right.size[None]) ** 2) / 2)
            case "size by tool":
                found[at] = tool * product
            case "text":
                found[at] = left.text @ right.text.T
            case "case":
                found[at] = tool * issue
    return found


def own_kernels(names: tuple[str, ...], cases: Cases, lanes: int = 1) -> Array:
    """Every named kernel between the cases of one question, (len(names), m, lanes, lanes), for m · lanes cases that
    come question by question: one issue with several tools. Also what no vocabulary has is like itself."""
    sizes, lengths = (a.reshape(-1, lanes)[:, 0] for a in (cases.size**2, (cases.text**2).sum(axis=1)))
    same_tool = np.eye(lanes)[None]
    of_one = {"size, linear": sizes, "size by tool": sizes, "text": lengths}
    found = np.empty((len(names), len(sizes), lanes, lanes))
    for at, name in enumerate(names):
        found[at] = of_one.get(name, np.ones(len(sizes)))[:, None, None]
        if name in ("tool", "tool and group", "size by tool", "case"):
            found[at] *= same_tool
    return found


def _same(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.bool_]:
    return (left[:, None] == right[None]) & (left[:, None] != UNKNOWN)
