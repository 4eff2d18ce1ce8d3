"""What is believed of the latents of cases, learned from trials: pass logit, mean log time of passing and of failing.

Two learners have one way of being asked. ByCases keeps every case beside every other: exact, at a cost that grows with
the cube of their number. ByEffects (planner.policies.case_effects) is nearly the same model at a cost in proportion.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.policies.case_effects import CaseIndex, Columns, EffectPosterior
from planner.policies.case_kernel import Cases, components_in, kernels, own_kernels
from planner.policies.case_trials import CaseTrials
from planner.policies.expectation_propagation import Sites
from planner.policies.fit_effects import Effects, cases_for_variances
from planner.policies.gaussian_processes import (
    Process,
    combined,
    fit_passes,
    fit_times,
    passes_given,
    time_offset,
    times_without,
)
from planner.policies.latent_calibration import LatentCalibration, calibrate_passes, calibrate_times
from planner.policies.pass_counts import PassCounts
from planner.policies.trial_draws import Residuals

Array: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.intp]
MIN_NOISE = 1e-4
"""Variance of a log time, where those of each case are all the same: a hundredth of a time."""


@dataclass(frozen=True)
class CasePosterior:
    """The three processes, each with the positions of the cases that it learned from."""

    names: tuple[str, ...]
    """Of the kernels."""
    processes: tuple[Process, ...]
    rows: tuple[Rows, ...]

    def foresee(self, known: Cases, asked: Cases, lanes: int) -> list[tuple[Array, Array]]:
        """Means (m, lanes) and covariances (m, lanes, lanes) under each process, of m · lanes cases that come question
        by question: one issue with several tools. ``known`` are the model's cases."""
        cross, own = kernels(self.names, asked, known), own_kernels(self.names, asked, lanes)
        return [
            process.foresee(cross[:, :, rows], own) for process, rows in zip(self.processes, self.rows, strict=True)
        ]


Posterior: TypeAlias = CasePosterior | EffectPosterior


class _Learner:
    """What both learners learn from."""

    def __init__(self, cases: Cases, seen: CaseTrials, residuals: Residuals) -> None:
        self.cases = cases
        self._sources = _sources(seen, residuals)

    def calibrate(self, foreseen: Array, judged: NDArray[np.bool_]) -> tuple[LatentCalibration, ...]:
        """Corrections of the processes by means and variances, (3, 2, n), that models without them have foreseen."""
        return tuple(
            source.calibrate(foreseen[kind, 0], foreseen[kind, 1], judged) for kind, source in enumerate(self._sources)
        )


class ByCases(_Learner):
    """Every case beside every other."""

    def __init__(self, cases: Cases, seen: CaseTrials, residuals: Residuals, seed: int = 0) -> None:
        super().__init__(cases, seen, residuals)
        self._names = components_in(cases)
        kernel = kernels(self._names, cases, cases)
        self._own = own_kernels(self._names, cases)
        processes = tuple(source.fit(kernel) for source in self._sources)
        self._summed = [combined(kernel, process.variances) for process in processes]
        self.posterior = CasePosterior(self._names, processes, tuple(source.rows for source in self._sources))

    def left_out(self, out: NDArray[np.bool_]) -> tuple[CasePosterior, Array]:
        """The processes with the same variances, without the cases that are ``out``; and the mean and variance that
        they foresee of each of these, (3, 2, out)."""
        rows = tuple(source.rows[~out[source.rows]] for source in self._sources)
        fitted = zip(self._sources, self._summed, self.posterior.processes, strict=True)
        processes = tuple(source.without(summed, out, process) for source, summed, process in fitted)
        asked, found = np.flatnonzero(out), []
        for process, kept, summed in zip(processes, rows, self._summed, strict=True):
            own = combined(self._own[:, asked], process.variances)
            mean, covariance = process.foresee_summed(_square(summed, asked, kept), own)
            found.append([mean[:, 0], covariance[:, 0, 0]])
        return CasePosterior(self._names, processes, rows), np.array(found)


class ByEffects(_Learner):
    """Cases by their effects; the variances are those of ByCases for a part of the cases."""

    def __init__(self, cases: Cases, seen: CaseTrials, residuals: Residuals, seed: int = 0) -> None:
        super().__init__(cases, seen, residuals)
        part = cases_for_variances(cases, seed)
        names = components_in(cases)
        kernel = kernels(names, cases.take(part), cases.take(part))
        fitted = [source.fit(kernel) for source in _sources(seen.take(part), residuals)]
        effects = Effects(Columns.of(names, cases), cases)
        self._systems = [effects.with_variances(process.variances, process.constant) for process in fitted]
        self._columns = effects.columns
        self._index = CaseIndex.of(cases, self._columns.n_tools)
        self._sites: Sites | None = None
        self.posterior = self._without(np.zeros(len(cases), dtype=bool))

    def left_out(self, out: NDArray[np.bool_]) -> tuple[EffectPosterior, Array]:
        """As ByCases has it."""
        posterior = self._without(out)
        found = posterior.foresee(self.cases, self.cases.take(np.flatnonzero(out)), 1)
        return posterior, np.array([[mean[:, 0], covariance[:, 0, 0]] for mean, covariance in found])

    def _without(self, out: NDArray[np.bool_]) -> EffectPosterior:
        passes, *times = self._sources
        assert isinstance(passes, _Passes)
        process, sites = self._systems[0].passes(passes.counts.without(out), self._sites)
        self._sites = self._sites or sites
        processes = [process]
        for system, source in zip(self._systems[1:], times, strict=True):
            assert isinstance(source, _Times)
            rows = source.rows
            offset = time_offset(source.means[rows], source.noise[rows])
            processes.append(system.times(source.means, source.noise, np.isfinite(source.means) & ~out, offset))
        return EffectPosterior(self._columns, self._index, tuple(processes))


@dataclass(frozen=True)
class _Passes:
    """What the process of logits learns from."""

    rows: Rows
    counts: PassCounts
    """Of all cases."""

    def fit(self, kernel: Array) -> Process:
        return fit_passes(_part(kernel, self.rows), self.counts.take(self.rows))

    def without(self, summed: Array, out: NDArray[np.bool_], fitted: Process) -> Process:
        kept = ~out[self.rows]
        rows = self.rows[kept]
        start = fitted.sites and fitted.sites.take(kept)
        return passes_given(_square(summed, rows, rows), self.counts.take(rows), fitted.variances, start=start)

    def calibrate(self, mean: Array, variance: Array, judged: NDArray[np.bool_]) -> LatentCalibration:
        rows = self.rows[judged[self.rows]]
        return calibrate_passes(mean[rows], variance[rows], self.counts.take(rows))


@dataclass(frozen=True)
class _Times:
    """What a process of mean log times learns from."""

    rows: Rows
    means: Array
    noise: Array

    def fit(self, kernel: Array) -> Process:
        return fit_times(_part(kernel, self.rows), self.means[self.rows], self.noise[self.rows])

    def without(self, summed: Array, out: NDArray[np.bool_], fitted: Process) -> Process:
        return times_without(fitted, self.means[self.rows], ~out[self.rows])

    def calibrate(self, mean: Array, variance: Array, judged: NDArray[np.bool_]) -> LatentCalibration:
        rows = self.rows[judged[self.rows]]
        return calibrate_times(mean[rows], variance[rows], self.means[rows], self.noise[rows])


def _sources(seen: CaseTrials, residuals: Residuals) -> tuple[_Passes | _Times, ...]:
    sources: list[_Passes | _Times] = [_Passes(np.flatnonzero(seen.counts.seen), seen.counts)]
    for times, scatter in ((seen.passing, residuals.passing), (seen.failing, residuals.failing)):
        with np.errstate(divide="ignore"):
            noise = max(float(np.mean(scatter**2)), MIN_NOISE) / times.counts
        sources.append(_Times(np.flatnonzero(times.counts > 0), times.means, noise))
    return tuple(sources)


def _part(kernel: Array, rows: Rows) -> Array:
    return kernel if len(rows) == kernel.shape[1] else kernel[:, rows[:, None], rows[None]]


def _square(summed: Array, rows: Rows, columns: Rows) -> Array:
    return summed[rows[:, None], columns[None]]
