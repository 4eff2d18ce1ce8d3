"""Algorithm selectors of the literature, fitted on a scenario's dataset: the rivals that benchmarks.aslib sets beside.

Each learns every solver's loss on every problem, PAR10 as a share of the penalty, and foresees a preference for each.
"""

import itertools
from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor

from planner.actions import ActionSpace
from planner.dataset.storage import Dataset, inputs_of_split
from planner.encoding.inputs import Inputs
from planner.errors import ConfigError
from planner.policies.policy import admitted, normalise
from planner.policies.tabular import feature_rows
from planner.policies.utilities import known_utilities

TREES = 50
"""For each of LEAVES."""
FEATURE_SHARE = 1 / 3
"""Of the features that a split looks at: the usual share for regression (Breiman 2001)."""
LEAVES = (1, 2, 3, 5, 10)
"""Problems in a leaf at least. A loss is the penalty or next to nothing, and a leaf of one repeats that noise, while a
large one blurs what many problems tell: the mean over several sizes need not choose."""
PAIR_TREES = 50
RANDOM_TREES = 400
FOREST_SHARES = (0.5, 0.0, 1.0)
"""Of the joint forest in what both foresee; of equals the first."""
GATE_SHARES = np.linspace(0.0, 0.9, 10)
"""Shares of the problems that the gates tried may leave to the single best solver, besides all of them."""


class Selector(ABC):
    """Fitted on ``losses`` (n, S) of the problems ``rows`` (n, F); takes the solver that it prefers most."""

    name: str

    def __init__(self, dataset: Dataset, seed: int = 0) -> None:
        self.space: ActionSpace = dataset.space
        (known,) = known_utilities(dataset).values()
        rows = feature_rows(inputs_of_split(dataset.splits["train"]))[known.rows]
        self.fit(rows, -known.utilities, seed)

    @abstractmethod
    def fit(self, rows: NDArray[np.float64], losses: NDArray[np.float64], seed: int) -> None:
        """Learn from problems and losses."""

    @abstractmethod
    def preference(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much each solver is preferred on each problem, (n, S)."""

    def score(self, inputs: Inputs, job_type: str) -> NDArray[np.float64]:
        """All of the probability on the preferred solver; of equals, on the first."""
        allowed = admitted(inputs, self.space, job_type)
        preference = np.where(allowed, self.preference(feature_rows(inputs)), -np.inf)
        return normalise(np.eye(allowed.shape[1])[preference.argmax(axis=1)], allowed)


class JointForest(Selector):
    """Forests whose trees foresee the losses of all solvers together, a third of the features per split."""

    name = "joint forest"

    def fit(self, rows: NDArray[np.float64], losses: NDArray[np.float64], seed: int) -> None:
        """See the class."""
        self._forests = [
            RandomForestRegressor(
                TREES, max_features=FEATURE_SHARE, min_samples_leaf=leaf, oob_score=True, random_state=seed, n_jobs=-1
            ).fit(rows, losses)
            for leaf in LEAVES
        ]

    def out_of_bag(self) -> NDArray[np.float64]:
        """Losses of the problems learned from, (n, S), each foreseen by the trees that did not see it."""
        return np.mean([forest.oob_prediction_ for forest in self._forests], axis=0)

    def preference(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The foreseen loss, negated."""
        return -np.mean([forest.predict(rows) for forest in self._forests], axis=0)


class ExtraTrees(Selector):
    """Extremely randomised trees that foresee the losses of all solvers together, grown on all problems.

    All features per split and leaves of one, as for regression in Geurts, Ernst and Wehenkel 2006: nothing is tuned.
    """

    name = "extra trees"

    def fit(self, rows: NDArray[np.float64], losses: NDArray[np.float64], seed: int) -> None:
        """See the class."""
        self._trees = ExtraTreesRegressor(RANDOM_TREES, random_state=seed, n_jobs=-1).fit(rows, losses)

    def preference(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The foreseen loss, negated."""
        foreseen: NDArray[np.float64] = self._trees.predict(rows)
        return -foreseen


class MixedTrees(JointForest):
    """The joint forest and the extra trees together: the share of each is the one that loses least out of bag.

    Extra trees see all problems and have no bag; as many that are grown on resamples stand for them in the choice.
    """

    name = "joint forest and extra trees"

    def fit(self, rows: NDArray[np.float64], losses: NDArray[np.float64], seed: int) -> None:
        """See the class."""
        super().fit(rows, losses, seed)
        self._trees = ExtraTreesRegressor(RANDOM_TREES, random_state=seed, n_jobs=-1).fit(rows, losses)
        bagged = ExtraTreesRegressor(RANDOM_TREES, bootstrap=True, oob_score=True, random_state=seed, n_jobs=-1)
        unseen = bagged.fit(rows, losses).oob_prediction_
        mixed = [share * self.out_of_bag() + (1 - share) * unseen for share in FOREST_SHARES]
        lost = [losses[np.arange(len(losses)), foreseen.argmin(axis=1)].mean() for foreseen in mixed]
        self.share = FOREST_SHARES[int(np.argmin(lost))]

    def preference(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The foreseen loss, negated."""
        foreseen: NDArray[np.float64] = self._trees.predict(rows)
        return self.share * super().preference(rows) - (1 - self.share) * foreseen


class GatedForest(JointForest):
    """The joint forest behind a gate: it leaves the single best solver only where it foresees a large enough gain.

    How large is chosen out of bag; where no gate loses less than the single best itself, the gate stays shut.
    """

    name = "gated joint forest"

    def fit(self, rows: NDArray[np.float64], losses: NDArray[np.float64], seed: int) -> None:
        """See the class."""
        super().fit(rows, losses, seed)
        self.single_best = int(losses.mean(axis=0).argmin())
        self.gate = choose_gate(self.out_of_bag(), losses, self.single_best)

    def preference(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The foreseen loss, negated; that of the single best is made smaller by the gate."""
        preference = super().preference(rows)
        preference[:, self.single_best] += self.gate
        return preference


def choose_gate(foreseen: NDArray[np.float64], losses: NDArray[np.float64], single_best: int) -> float:
    """The foreseen gain that leaving the single best must exceed, for the least loss; inf where leaving never pays.

    ``foreseen`` (n, S) must come from models that did not see the problem. Of gates that lose alike, the largest.
    """
    at = np.arange(len(losses))
    chosen = foreseen.argmin(axis=1)
    gain = foreseen[:, single_best] - foreseen[at, chosen]
    gates = [np.inf, *np.quantile(gain, GATE_SHARES[:0:-1]).tolist(), 0.0]
    lost = [np.where(gain > gate, losses[at, chosen], losses[:, single_best]).mean() for gate in gates]
    return float(gates[int(np.argmin(lost))])


class PairwiseForest(Selector):
    """A forest per pair of solvers says which is better and votes for it; a problem weighs what the wrong one costs.

    As in SATzilla 2012 (Xu et al.), but that ties of votes go to the solver of the least loss by the joint forest.
    """

    name = "pairwise cost-sensitive forest"

    def fit(self, rows: NDArray[np.float64], losses: NDArray[np.float64], seed: int) -> None:
        """See the class; solvers that never differ on a problem have no vote between them."""
        self._joint = JointForest.__new__(JointForest)
        self._joint.fit(rows, losses, seed)
        self._forests: list[tuple[int, int, Any]] = []
        for a, b in itertools.combinations(range(losses.shape[1]), 2):
            difference = losses[:, b] - losses[:, a]
            if (difference != 0).any():
                forest = RandomForestClassifier(PAIR_TREES, random_state=seed, n_jobs=-1)
                self._forests.append((a, b, forest.fit(rows, difference > 0, sample_weight=abs(difference))))

    def preference(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Votes, and below one vote the joint forest."""
        of_joint = self._joint.preference(rows)
        votes = np.zeros_like(of_joint)
        for a, b, forest in self._forests:
            for_a = forest.predict(rows)
            votes[:, a] += for_a
            votes[:, b] += ~for_a
        # Losses lie between 0 and 1, so that a tie never outweighs a vote.
        return votes + 0.5 * of_joint


class AsfSelector(Selector):
    """A selector of the library asf at its own defaults: a rival here, and no dependency of the planner."""

    name = "asf"
    selector: str

    def fit(self, rows: NDArray[np.float64], losses: NDArray[np.float64], seed: int) -> None:
        """ConfigError when the library is not installed."""
        try:
            selectors = import_module("asf.selectors")
            pandas = import_module("pandas")
        except ImportError as error:
            raise ConfigError(f"the asf policies need the package asf ({error}): pip install asf") from None
        self._frame = pandas.DataFrame
        np.random.seed(seed)  # its models draw from the global generator
        self._fitted = getattr(selectors, self.selector)()
        self._n = losses.shape[1]
        self._fitted.fit(self._features(rows), self._frame(losses, columns=[str(i) for i in range(self._n)]))

    def preference(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """1 for the solver that it chooses."""
        chosen = self._fitted.predict(self._features(rows))
        return np.eye(self._n)[[int(chosen[str(i)][0][0]) for i in range(len(rows))]]

    def _features(self, rows: NDArray[np.float64]) -> Any:
        return self._frame(
            rows, columns=[f"f{i}" for i in range(rows.shape[1])], index=[str(i) for i in range(len(rows))]
        )


class AsfPairwise(AsfSelector):
    """Its weighted pairwise classifier, a random forest per pair."""

    name = "asf pairwise classifier"
    selector = "PairwiseClassifier"


class AsfRegression(AsfSelector):
    """Its performance model, a random forest per solver."""

    name = "asf performance model"
    selector = "PerformanceModel"
