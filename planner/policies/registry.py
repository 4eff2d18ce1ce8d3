"""The one list of baselines: policies that are fitted on a dataset in one go, to set trained runs beside.

A policy is one file: a class with a ``name``, a ``space``, ``__init__(dataset)`` and ``score(inputs, job_type)`` (see
planner.policies.policy), under ``@baseline()``. A file in planner/policies is found by itself; a package outside
announces its module under the entry point group ENTRY_POINTS, or calls ``baseline()`` before a report is made.

What a policy may read: all of the Dataset when it is fitted (``dataset.splits["train"]``, with the outcomes of every
executed action, ``dataset.info``), and of each context its Inputs (arrays, and ``inputs.contexts()`` for the documents
themselves) when it decides.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Literal, TypeVar

import planner.policies
from planner.dataset.storage import Dataset
from planner.errors import ConfigError, DatasetError
from planner.policies.policy import Policy
from planner.policy_names import ENTRY_POINTS

Report = Literal["compare", "evaluate", "bench"]
"""`planner compare`, `planner evaluate`, and `planner evaluate --bench`."""
REPORTS: tuple[Report, ...] = ("compare", "evaluate", "bench")
MIN_TRIALS = 20
"""Whole trials that a dataset needs before anything is learned from single launches."""


@dataclass(frozen=True)
class Baseline:
    """How a baseline is fitted, and where it is shown."""

    name: str
    """Its name in every table, words with spaces between them; on the command line also with underscores."""
    fit: Callable[[Dataset], Policy]
    needs_outcomes: bool
    """It learns from the outcomes of several actions per example, as a bench gives them, and not from labels."""
    reports: tuple[Report, ...]
    needs_trials: bool = False
    """It learns from single launches of agents (planner.dataset.trials)."""

    def fits(self, dataset: Dataset) -> bool:
        """Whether train holds what it learns from."""
        if self.needs_trials and dataset.info.trials.get("whole", 0) < MIN_TRIALS:
            return False
        return not self.needs_outcomes or bool(dataset.splits["train"].outcomes.comparable.any())


_registered: dict[str, Baseline] = {}
Fit = TypeVar("Fit", bound=Callable[..., Policy])


def baseline(
    *, needs_outcomes: bool = False, needs_trials: bool = False, reports: tuple[Report, ...] = REPORTS
) -> Callable[[Fit], Fit]:
    """Register the class below (or a function with a ``name``); ConfigError when its name is taken."""

    def register(fit: Fit) -> Fit:
        # A class declares its name; a function can only be given one.
        name: str = fit.name  # type: ignore[attr-defined]
        known = _registered.setdefault(name, Baseline(name, fit, needs_outcomes, reports, needs_trials))
        if known.fit is not fit:
            raise ConfigError(f"baseline {name!r}: {known.fit} has this name already; give {fit} another one")
        return fit

    return register


def withdraw(name: str) -> None:
    """Forget a baseline, for instance one that a test added."""
    del _registered[name]


def baselines(report: Report | None = None, dataset: Dataset | None = None) -> dict[str, Baseline]:
    """Name -> baseline, of those that ``report`` shows and that can be fitted on ``dataset`` (default: all).

    Those that learn from labels come first, then by name, so that no table depends on what was imported when.
    """
    for module in pkgutil.iter_modules(planner.policies.__path__):
        importlib.import_module(f"planner.policies.{module.name}")
    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()
    ordered = sorted(_registered.values(), key=lambda one: (one.needs_outcomes, _place(one.name), one.name))
    return {
        one.name: one
        for one in ordered
        if (report is None or report in one.reports) and (dataset is None or one.fits(dataset))
    }


def fit_baselines(report: Report, dataset: Dataset) -> dict[str, Policy]:
    """Name -> fitted baseline, of those that ``report`` shows. One that learns from trials is left out where too few of
    train's had ended in time to learn from."""
    fitted: dict[str, Policy] = {}
    for name, one in baselines(report, dataset).items():
        try:
            fitted[name] = one.fit(dataset)
        except DatasetError:
            if not one.needs_trials:
                raise
    return fitted


_SIMPLEST_FIRST = ("most frequent", "single best", "per group", "nearest neighbours")


def _place(name: str) -> int:
    return _SIMPLEST_FIRST.index(name) if name in _SIMPLEST_FIRST else len(_SIMPLEST_FIRST)
