"""What trials say of a case's chance to pass: how many passed, how many failed, how many were cut before they could.

Each says as much as it knows. A trial that was cut is no share of a pass: a share would say that its case passes about
that often, where in truth it may be one that always passes or never.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class PassCounts:
    """Of n cases, (n,) each."""

    passes: Array
    """Fractions where nobody knows whether a candidate passed, see planner.policies.unseen_candidates."""
    trials: Array
    """Those that ended by themselves."""
    cut: Array
    """Those that did not."""
    odds: Array
    """How many times likelier one that would have passed is to run into its cut than one that would have failed: of
    several the geometric mean. Any number where none was cut."""

    @classmethod
    def whole(cls, passes: Array, trials: Array) -> "PassCounts":
        """Of trials that all ended by themselves."""
        return cls(passes, trials, np.zeros(len(passes)), np.ones(len(passes)))

    def __len__(self) -> int:
        return len(self.passes)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Of which cases there is anything, (n,)."""
        return self.trials + self.cut > 0

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "PassCounts":
        """Those of the cases at these positions."""
        return PassCounts(self.passes[rows], self.trials[rows], self.cut[rows], self.odds[rows])

    def without(self, out: NDArray[np.bool_]) -> "PassCounts":
        """The same cases, of those that are ``out`` (n,) nothing known."""
        passes, trials, cut = (np.where(out, 0.0, a) for a in (self.passes, self.trials, self.cut))
        return PassCounts(passes, trials, cut, self.odds)

    def log_likelihood(self, logits: Array) -> Array:
        """Of logits (n, k) of passing, up to what does not depend on them: with p a trial's chance to pass,
        p^passes · (1 - p)^(trials - passes) · (1 - p + odds · p)^cut."""
        passes, trials, cut, odds = (a[:, None] for a in (self.passes, self.trials, self.cut, self.odds))
        softplus = np.logaddexp(0, logits)
        return passes * logits - trials * softplus + cut * np.log1p((odds - 1) * np.exp(logits - softplus))
