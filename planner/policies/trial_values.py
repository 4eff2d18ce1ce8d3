"""Values of all plans from trials: a structural model, a forest, or the mean of both, judged on what they had not seen.

Fitting goes: trials to cases, the structural model, what is known of each question (outcomes that came, and where none
did the model's own belief), the forest on that, and both again without each fold, which says whether the gate opens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from planner.dataset.trials import Trials
from planner.errors import DatasetError
from planner.policies.case_trials import CaseTrials, sum_trials
from planner.policies.case_vocabulary import CaseVocabulary
from planner.policies.questions import Question
from planner.policies.readings import MIN_GROUPS, Gate, Logged, Reading, judge_from_logs, judge_gate, settled
from planner.policies.structural import FOLDS, MODES, Mode, StructuralFit, StructuralModel, fit_structural
from planner.policies.trial_forest import TrialForest
from planner.policies.trial_plans import scores_of_rule
from planner.policies.unseen_candidates import pass_shares
from planner.scoring.episodes import PlanSequence
from planner.scoring.plan_outcome import Plan, PlanOutcomes

Array: TypeAlias = NDArray[np.float64]
one_blas_thread = threadpool_limits.wrap(limits=1, user_api="blas")
"""The products are small, and threads that wait for each other spin: beside other work on two cores a fit to 1,666
cases took 81 s and 42 s of CPU with two of them, 7 s and 4 s with one."""
Member = Literal["structural", "trial_forest"]
MINUTE_MS = 60_000.0
MIN_TRIALS = 4
SHARES = (0.5, 0.25, 0.75, 0.0, 1.0)
"""Shares of the first of two members that are tried; of equals the first is taken."""
MIN_WHOLE, MIN_WHOLE_SHARE = 8, 0.25
"""Trials, and share of all, that must have ended by themselves before logs alone open a gate: what comes of the others
is believed and was never seen."""
MIN_JUDGED = 10
"""Questions that a gate needs at least, to be judged apart from the others."""
COMPARED_SHARE = 0.5
"""Share of the questions of which several plans must have been tried, for plans to be compared by what came."""


@dataclass(frozen=True)
class Known:
    """What came of questions: outcomes (n, plans) in the trials' minutes, NaN where nobody tried or recorded."""

    questions: list[Question]
    outcomes: PlanOutcomes
    rule: NDArray[np.intp]
    """Which plan today's rule runs for each question, (n,)."""

    @property
    def tried(self) -> NDArray[np.bool_]:
        """Whose passes are known, (n, plans)."""
        return np.isfinite(self.outcomes.passed)


@dataclass(frozen=True)
class Judged:
    """What the models foresaw of questions that they had not seen, and what came of them, by mode."""

    of_members: dict[Mode, tuple[PlanOutcomes, ...]]
    """What each member foresaw."""
    came: PlanOutcomes
    """Of plans that nobody tried, what a model that knows the question's trials believes."""
    tried: NDArray[np.bool_]
    rule: NDArray[np.intp]
    """Which plan today's rule runs for each question, (n,)."""
    rows: dict[Mode, NDArray[np.intp]]
    """The questions that are judged in each mode."""
    groups: NDArray[np.int64]
    lacking: str = ""
    """Why logs alone open no gate: too few trials ended by themselves."""

    @property
    def keeps_rule(self) -> bool:
        """Whether a shut gate leaves the choice to today's rule: of most questions at most one plan was run, so that
        nobody knows which fixed plan is best."""
        return bool(np.mean(self.tried.sum(axis=1) > 1) < COMPARED_SHARE) if len(self.tried) else True

    @property
    def foreseen(self) -> dict[Mode, PlanOutcomes]:
        """What the members foresaw on average."""
        return {mode: _mean(parts) for mode, parts in self.of_members.items()}

    def shares(self, reading: Reading) -> dict[Mode, Array]:
        """How much each member counts, (members,): of SHARES those with which following them came to most; alike where
        nobody knows what other plans would have come to, or there were no questions."""
        return {mode: self._shares(reading, mode, rows) for mode, rows in self.rows.items()}

    def _shares(self, reading: Reading, mode: Mode, rows: NDArray[np.intp]) -> Array:
        n_members = len(self.of_members[mode])
        if n_members != 2 or self.keeps_rule or not len(rows):
            return np.full(n_members, 1 / n_members)
        came = reading(self.came)[rows]
        choices = [np.array([first, 1 - first]) for first in SHARES]
        chosen = [reading(_weighted(self.of_members[mode], shares))[rows].argmax(axis=1) for shares in choices]
        return choices[int(np.argmax([came[np.arange(len(rows)), plans].mean() for plans in chosen]))]

    def gates(self, reading: Reading) -> dict[Mode, Gate]:
        """A gate for each mode."""
        return {mode: self._gate(reading, mode, rows) for mode, rows in self.rows.items()}

    def _gate(self, reading: Reading, mode: Mode, rows: NDArray[np.intp]) -> Gate:
        if not self.keeps_rule:
            foreseen = _weighted(self.of_members[mode], self._shares(reading, mode, rows))
            return judge_gate(reading(foreseen)[rows], reading(self.came)[rows], self.groups[rows])
        rows = rows[self.tried[rows].any(axis=1)]
        ran = self.tried[rows].argmax(axis=1)
        foreseen, believed = (PlanOutcomes(*(kind[rows] for kind in of)) for of in (self.foreseen[mode], self.came))
        gate = judge_from_logs(reading, foreseen, believed, Logged(ran, self.rule[rows], self.groups[rows]))
        return replace(gate, lacking=gate.lacking or self.lacking)

    def fixed_scores(self, reading: Reading) -> Array:
        """The mean score of each plan, (plans,): what is known without looking at a question."""
        return reading(self.came).mean(axis=0)


@dataclass(frozen=True)
class TrialValues:
    """Fitted members, and how they did."""

    structural: StructuralModel
    forest: TrialForest | None
    members: tuple[Member, ...]
    plans: tuple[Plan | PlanSequence, ...]
    judged: Judged

    def values(self, questions: Sequence[Question]) -> PlanOutcomes:
        """The members' mean expected outcomes (n, plans), times in minutes."""
        return _mean(self._of_members(questions))

    @one_blas_thread
    def _of_members(self, questions: Sequence[Question]) -> list[PlanOutcomes]:
        parts = []
        if "structural" in self.members:
            parts.append(self.structural.values(questions, self.plans))
        if self.forest is not None:
            parts.append(self.forest.values(questions))
        return parts

    def scores(self, questions: Sequence[Question], reading: Reading, rule: NDArray[np.intp]) -> Array:
        """What to maximise, (n, plans): the reading's scores of what the members foresee, each with its share; or where
        the gate is shut those of fixed plans, or of the plan of today's ``rule``, (n,)."""
        gates, shares = self.judged.gates(reading), self.judged.shares(reading)
        modes = [self.structural.mode_of(question.subject) for question in questions]
        weights = np.array([shares[mode] for mode in modes]).reshape(len(modes), len(self.members))
        found = settled(reading(_weighted(self._of_members(questions), weights[:, None])))
        shut = np.array([not gates[mode].open for mode in modes], dtype=bool)
        kept = scores_of_rule(rule, len(self.plans)) if self.judged.keeps_rule else self.judged.fixed_scores(reading)
        return np.where(shut[:, None], kept, found)


@one_blas_thread
def fit_trial_values(
    trials: Trials,
    known: Known,
    plans: Sequence[Plan | PlanSequence],
    limit: float,
    members: Sequence[Member] = ("structural", "trial_forest"),
    *,
    minute_ms: float = MINUTE_MS,
    seed: int = 0,
) -> TrialValues:
    """Fit to trials and to what came of questions; limits of plans, and ``limit``, are minutes of ``minute_ms``.

    DatasetError when too few trials tell anything.
    """
    used = trials.take((trials.usable | trials.one_of_several) & (trials.job_type == "code"))
    if used.usable.sum() < MIN_TRIALS or not (used.timed & ~used.cut).any():
        raise DatasetError(
            f"{used.usable.sum()} trials, {int((used.timed & ~used.cut).sum())} of them with an end of their own and a "
            "time: too few to learn from; let Cyntra run more issues, or bench some"
        )
    vocabulary = CaseVocabulary.fit(used.subjects, used.tool.tolist())
    case, places = cases_of(used)
    firsts = np.unique(case, return_index=True)[1]
    cases = vocabulary.cases([used.subjects[at] for at in firsts], used.tool[firsts].tolist())
    shares, log_time = pass_shares(used), np.log(used.duration_ms / minute_ms)
    seen, residuals = sum_trials(case, len(firsts), shares.share, log_time, used.cut, shares.odds)
    fit = fit_structural(vocabulary, cases, seen, residuals, by_issue=_several_tools(known.questions), seed=seed)
    own = np.array([places.get((q.subject.issue_id, q.tools[0]), -1) for q in known.questions], dtype=np.int64)
    came = _completed(known, fit.model.values(known.questions, plans))
    groups = _group_numbers(known.questions)
    parts: list[dict[Mode, PlanOutcomes]] = []
    forest = None
    if "structural" in members:
        parts.append({mode: _structural_unseen(fit, mode, known.questions, own, plans) for mode in MODES})
    if "trial_forest" in members:
        learn = _Forests(vocabulary, seen, fit, known.questions, own, came, limit, seed)
        forest = learn.of_all()
        parts.append({mode: learn.unseen(mode) for mode in MODES})
    judged = Judged(
        of_members={mode: tuple(part[mode] for part in parts) for mode in MODES},
        came=came,
        tried=known.tried,
        rule=known.rule,
        rows={mode: _judged_rows(fit, mode, own) for mode in MODES},
        groups=groups,
        lacking=_lacking(used),
    )
    return TrialValues(fit.model, forest, tuple(members), tuple(plans), judged)


def cases_of(trials: Trials) -> tuple[NDArray[np.int64], dict[tuple[str, str], int]]:
    """Which case each trial is of, and the number of each (issue, tool)."""
    places: dict[tuple[str, str], int] = {}
    case = [
        places.setdefault((subject.issue_id, tool), len(places))
        for subject, tool in zip(trials.subjects, trials.tool.tolist(), strict=True)
    ]
    return np.array(case, dtype=np.int64), places


def _lacking(trials: Trials) -> str:
    whole = int((trials.timed & ~trials.cut).sum())
    if whole >= max(MIN_WHOLE, MIN_WHOLE_SHARE * trials.usable.sum()):
        return ""
    return f"{whole} of {int(trials.usable.sum())} trials ended by themselves"


def _several_tools(questions: Sequence[Question]) -> bool:
    return any(len(question.tools) > 1 for question in questions)


def _completed(known: Known, believed: PlanOutcomes) -> PlanOutcomes:
    """What came, and what a model that has seen it believes of what nobody tried or recorded."""
    return PlanOutcomes(*(np.where(np.isfinite(a), a, b) for a, b in zip(known.outcomes, believed, strict=True)))


def _structural_unseen(
    fit: StructuralFit,
    mode: Mode,
    questions: Sequence[Question],
    own: NDArray[np.int64],
    plans: Sequence[Plan | PlanSequence],
) -> PlanOutcomes:
    posteriors = [fit.model.posterior if case < 0 else fit.without[mode][fit.folds[mode][case]] for case in own]
    return fit.model.values(questions, plans, posteriors=posteriors, modes=[mode] * len(questions))


@dataclass(frozen=True)
class _Forests:
    """Forests on all questions, or on those outside a fold."""

    vocabulary: CaseVocabulary
    seen: CaseTrials
    fit: StructuralFit
    questions: list[Question]
    own: NDArray[np.int64]
    came: PlanOutcomes
    limit: float
    seed: int

    def of_all(self) -> TrialForest:
        return self._forest(np.arange(len(self.questions)), None)

    def unseen(self, mode: Mode) -> PlanOutcomes:
        """What forests that lack each question's fold foresee of it."""
        folds = self.fit.folds[mode]
        of_question = np.where(self.own >= 0, folds[self.own], 0)
        found = PlanOutcomes(*(np.zeros_like(kind) for kind in self.came))
        for fold in range(FOLDS):
            out = np.flatnonzero(of_question == fold)
            rest = np.flatnonzero(of_question != fold)
            if not len(out) or not len(rest):
                continue
            part = self._forest(rest, folds != fold).values([self.questions[row] for row in out])
            for whole, values in zip(found, part, strict=True):
                whole[out] = values
        return found

    def _forest(self, rows: NDArray[np.intp], kept: NDArray[np.bool_] | None) -> TrialForest:
        return TrialForest(
            self.vocabulary,
            self.fit.model.cases,
            self.seen,
            [self.questions[row] for row in rows],
            self.own[rows],
            PlanOutcomes(*(kind[rows] for kind in self.came)),
            self.limit,
            kept=kept,
            seed=self.seed,
        )


def _judged_rows(fit: StructuralFit, mode: Mode, own: NDArray[np.int64]) -> NDArray[np.intp]:
    """The questions with trials; for known issues those of which another case stays when theirs is left out."""
    with_trials = own >= 0
    kept = with_trials & np.where(with_trials, fit.stays_known[own], False) if mode == "known" else with_trials
    return np.flatnonzero(kept if kept.sum() >= MIN_JUDGED else with_trials)


def _group_numbers(questions: Sequence[Question]) -> NDArray[np.int64]:
    """What the bootstrap draws together: groups, or where there are too few of them to tell anything, issues."""
    keys = [q.subject.group or f"issue {q.subject.issue_id}" for q in questions]
    if len(set(keys)) < MIN_GROUPS:
        keys = [q.subject.issue_id for q in questions]
    return np.unique(keys, return_inverse=True)[1].astype(np.int64) if keys else np.zeros(0, dtype=np.int64)


def _weighted(parts: Sequence[PlanOutcomes], shares: Array) -> PlanOutcomes:
    """The members' outcomes (n, plans) with their ``shares``, (members,) or of each question (n, 1, members)."""
    return PlanOutcomes(*((np.stack(kind, axis=-1) * shares).sum(axis=-1) for kind in zip(*parts, strict=True)))


def _mean(parts: Sequence[PlanOutcomes]) -> PlanOutcomes:
    return PlanOutcomes(*(np.mean(kind, axis=0) for kind in zip(*parts, strict=True)))
