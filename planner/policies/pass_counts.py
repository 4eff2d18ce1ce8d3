"""What trials say of a case's chance to pass: how many passed, how many failed, of how many nobody knows.

Each says as much as it knows. A trial that was cut, or that lost against another candidate before anyone saw whether it
passed, is no share of a pass: a share would say that its case passes about that often, where in truth it may be one
that always passes or never.
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
    trials: Array
    """Those of which it is known whether they passed."""
    unsure: Array
    """Those of which it is not."""
    odds: Array
    """How many times likelier what is known of such a one is if it would pass than if it would fail: of several the
    geometric mean. Any number where there is none."""

    @classmethod
    def known(cls, passes: Array, trials: Array) -> "PassCounts":
        """Of trials of which it is known whether they passed."""
        return cls(passes, trials, np.zeros(len(passes)), np.ones(len(passes)))

    def __len__(self) -> int:
        return len(self.passes)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Of which cases there is any trial, (n,)."""
        return self.trials + self.unsure > 0

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "PassCounts":
        """Those of the cases at these positions."""
        return PassCounts(self.passes[rows], self.trials[rows], self.unsure[rows], self.odds[rows])

    def without(self, out: NDArray[np.bool_]) -> "PassCounts":
        """The same cases, of those that are ``out`` (n,) nothing known."""
        passes, trials, unsure = (np.where(out, 0.0, a) for a in (self.passes, self.trials, self.unsure))
        return PassCounts(passes, trials, unsure, self.odds)

    def log_likelihood(self, logits: Array) -> Array:
        """Of logits (n, k), or (1, k) for all, up to what does not depend on them: with p a trial's chance to pass,
        p^passes · (1 - p)^(trials - passes) · (1 - p + odds · p)^unsure."""
        passes, trials, unsure, odds = (a[:, None] for a in (self.passes, self.trials, self.unsure, self.odds))
        softplus = np.logaddexp(0, logits)
        return passes * logits - trials * softplus + unsure * np.log1p((odds - 1) * np.exp(logits - softplus))
