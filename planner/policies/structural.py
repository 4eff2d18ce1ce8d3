"""The structural model: a hierarchy of Gaussian processes over cases (issue and tool) that values every action.

A case's trials are exchangeable: each passes with probability sigmoid(logit), after a time that is log-normal around
one mean if it passes and around another if it fails. Choose it first: it learns from any logged trial, whatever plan
launched it, and values plans that nobody ran. Fitting takes scipy, deciding numpy alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.encoding.subject import Subject
from planner.policies.case_kernel import Cases
from planner.policies.case_posterior import ByCases, ByEffects, Posterior
from planner.policies.case_trials import CaseTrials
from planner.policies.case_vocabulary import MANY_CASES, CaseVocabulary
from planner.policies.latent_calibration import LatentCalibration
from planner.policies.questions import Question
from planner.policies.trial_draws import Draws, Latents, Residuals, draw_plans, draws_of, expected_plans
from planner.scoring.episodes import PlanSequence, runs_of
from planner.scoring.plan_outcome import Plan, PlanOutcomes

Array: TypeAlias = NDArray[np.float64]
Mode = Literal["known", "new"]
MODES: tuple[Mode, ...] = ("known", "new")
"""Whether a question's issue is among those of the trials, with another tool or earlier."""
FOLDS = 5
QUESTIONS = 64
"""Questions valued at once: more need memory, and no less time each."""


@dataclass(frozen=True)
class StructuralModel:
    """A fitted model."""

    vocabulary: CaseVocabulary
    cases: Cases
    posterior: Posterior
    calibration: dict[Mode, tuple[LatentCalibration, ...]]
    residuals: Residuals
    """Of log minutes."""

    def mode_of(self, subject: Subject) -> Mode:
        """How much is known of an issue."""
        return "known" if self.vocabulary.knows(subject) else "new"

    def values(
        self,
        questions: Sequence[Question],
        plans: Sequence[Plan | PlanSequence],
        *,
        posteriors: Sequence[Posterior] | None = None,
        modes: Sequence[Mode] | None = None,
    ) -> PlanOutcomes:
        """Expected outcomes (n, plans), of a sequence those of the episode; limits and times are minutes of the trials.

        By default each question is asked of the model as it is; otherwise of its own of ``posteriors``, as its own of
        ``modes``: so are questions asked of a model that has not seen their trials.
        """
        modes = modes or [self.mode_of(question.subject) for question in questions]
        found = PlanOutcomes(*(np.empty((len(questions), len(plans))) for _ in range(3)))
        groups: dict[tuple[int, int, Mode, bool], list[int]] = {}
        for at, (question, mode) in enumerate(zip(questions, modes, strict=True)):
            owner = 0 if posteriors is None else id(posteriors[at])
            groups.setdefault((owner, len(question.tools), mode, question.repeats), []).append(at)
        for (_, _, mode, _), members in groups.items():
            posterior = self.posterior if posteriors is None else posteriors[members[0]]
            for start in range(0, len(members), QUESTIONS):
                rows = members[start : start + QUESTIONS]
                part = self._values([questions[row] for row in rows], plans, posterior, mode)
                for whole, values in zip(found, part, strict=True):
                    whole[rows] = values
        return found

    def _values(
        self, questions: Sequence[Question], plans: Sequence[Plan | PlanSequence], posterior: Posterior, mode: Mode
    ) -> PlanOutcomes:
        """Of questions with as many tools each."""
        return expected_plans(*self._drawn(questions, plans, posterior, mode))

    def draws_of(self, question: Question, plans: Sequence[Plan]) -> PlanOutcomes:
        """What plans come to in each draw of what is believed of a question, (draws, plans)."""
        mode = self.mode_of(question.subject)
        return draw_plans(*self._drawn([question], plans, self.posterior, mode))

    def _drawn(
        self, questions: Sequence[Question], plans: Sequence[Plan | PlanSequence], posterior: Posterior, mode: Mode
    ) -> tuple[Latents, Draws, list[PlanSequence]]:
        """What is believed of questions with as many tools each, what is drawn, and the plans as they would run."""
        sequences = [runs_of(plan) for plan in plans]
        most = max(plan.lanes for runs in sequences for plan in runs)
        first = questions[0]
        lanes = first.lanes(most)
        n_tools = 1 if first.repeats else lanes
        cases = self.vocabulary.cases(
            [q.subject for q in questions for _ in range(n_tools)], [t for q in questions for t in q.tools[:n_tools]]
        )
        latents = self._latents(cases, n_tools, posterior, self.calibration[mode])
        attempts = max(sum(plan.attempts for plan in runs) for runs in sequences)
        draws = draws_of(self.residuals, lanes, attempts)
        allowed = [tuple(plan._replace(lanes=min(plan.lanes, lanes)) for plan in runs) for runs in sequences]
        return latents, draws, allowed

    def _latents(
        self, cases: Cases, lanes: int, posterior: Posterior, calibration: Sequence[LatentCalibration]
    ) -> Latents:
        found = posterior.foresee(self.cases, cases, lanes)
        pairs = [fix.apply(*one) for one, fix in zip(found, calibration, strict=True)]
        return Latents(np.stack([mean for mean, _ in pairs]), np.stack([covariance for _, covariance in pairs]))


@dataclass(frozen=True)
class StructuralFit:
    """A model, and the models that lack each fold of its cases, for judging it on what it has not seen."""

    model: StructuralModel
    folds: dict[Mode, NDArray[np.int64]]
    """Which fold each case is in, (n,): known issues are folded case by case, new ones by groups of issues."""
    without: dict[Mode, list[Posterior]]
    stays_known: NDArray[np.bool_]
    """Whether each case's issue has trials with another tool in the model that lacks the case, (n,)."""


def fit_structural(
    vocabulary: CaseVocabulary,
    cases: Cases,
    seen: CaseTrials,
    residuals: Residuals,
    *,
    by_issue: bool = False,
    seed: int = 0,
) -> StructuralFit:
    """Fit to cases with trials; each has one at least.

    ``by_issue``: cases of one issue are left out together, because one run launches several of its tools.
    """
    learn = ByEffects if len(cases) > MANY_CASES else ByCases
    learner = learn(cases, seen, residuals, seed)
    folds: dict[Mode, NDArray[np.int64]] = {
        "known": _folds(cases.issue if by_issue else np.arange(len(cases)), seed),
        "new": _folds(_group_keys(cases), seed),
    }
    stays_known = _stays_known(cases.issue, folds["known"])
    without: dict[Mode, list[Posterior]] = {}
    calibration = {}
    for mode in MODES:
        judged = stays_known if mode == "known" and stays_known.any() else np.ones(len(cases), dtype=bool)
        foreseen = np.zeros((3, 2, len(cases)))
        for fold in range(FOLDS):
            out = folds[mode] == fold
            posterior, foreseen[:, :, out] = learner.left_out(out)
            without.setdefault(mode, []).append(posterior)
        calibration[mode] = learner.calibrate(foreseen, judged)
    model = StructuralModel(vocabulary, cases, learner.posterior, calibration, residuals)
    return StructuralFit(model, folds, without, stays_known)


def _group_keys(cases: Cases) -> NDArray[np.int64]:
    """A number for each case's group; issues without one are a group each."""
    return np.where(cases.group >= 0, cases.group, len(cases) + cases.issue)


def _folds(keys: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Folds in which cases of one key stay together."""
    distinct, places = np.unique(keys, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(distinct)) % FOLDS)[places]


def _stays_known(issue: NDArray[np.int64], folds: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether another fold holds a case of the same issue, (n,)."""
    pairs = np.unique(np.stack([issue, folds]), axis=1)
    n_folds = np.bincount(pairs[0], minlength=int(issue.max(initial=0)) + 1)
    return n_folds[issue] > 1
