"""Trials out of a ledger: a replayed case has them recorded, a case that was run has one for every launch."""

from collections.abc import Iterable, Mapping, Sequence

from bench.judging.results import CaseResults, HoldOutBy
from planner.contracts.bench import BenchOutcome, Launch
from planner.dataset.trials import Trial, split_of
from planner.encoding.subject import Subject, subject_of


def benched_trials(cases: Mapping[str, Sequence[CaseResults]], by: HoldOutBy = "time") -> list[Trial]:
    """The trials of the cases of each split.

    A trial is never in an earlier split than its case; where splits follow one another in time, it is neither in one
    that ended before the trial did. A bench runs an issue long after its context: such a trial counts as if it had
    begun when the case was decided.
    """
    firsts_ms = {name: min((r.decided_ms for r in results), default=None) for name, results in cases.items()}
    order = list(cases)
    trials = []
    for name, results in cases.items():
        for result in results:
            for trial in _recorded(result) if result.case.trials is not None else _launched(result):
                known = split_of(trial.ended_ms, firsts_ms) if by == "time" else name
                trials.append(trial._replace(split=max(name, known, key=order.index)))
    return trials


def _recorded(result: CaseResults) -> Iterable[Trial]:
    subject, tool = _asked(result)
    for number, trial in enumerate(result.case.trials or ()):
        yield Trial(
            trial_id=f"{result.case.case_id}-t{number}",
            source="bench",
            job_type=result.case.context.job_type,
            tool=tool,
            subject=subject,
            attempt=number,
            passed=trial.passed,
            duration_ms=trial.duration_ms,
            cut=False,
            ended_ms=trial.started_ms + trial.duration_ms,
            split="train",
        )


def _launched(result: CaseResults) -> Iterable[Trial]:
    subject, _ = _asked(result)
    outcomes = [outcome for group in result.outcomes.values() for outcome in group if outcome.derived_from is None]
    for run, outcome in enumerate(outcomes):
        first = min((launch.started_ms for launch in outcome.launches), default=0)
        ended_well = sum(launch.exit_code == 0 for launch in outcome.launches)
        for number, launch in enumerate(outcome.launches):
            cut, passed = end_of_launch(outcome, launch)
            yield Trial(
                trial_id=f"{result.case.case_id}-e{run}-{number}",
                source="bench",
                job_type=result.case.context.job_type,
                tool=launch.tool,
                subject=subject,
                attempt=result.case.context.issue.dk_attempts,
                passed=passed,
                duration_ms=launch.duration_ms,
                cut=cut,
                ended_ms=result.decided_ms + launch.started_ms - first + launch.duration_ms,
                split="train",
                candidates=ended_well if passed is None and outcome.passed and not cut else 0,
            )


def end_of_launch(outcome: BenchOutcome, launch: Launch) -> tuple[bool, bool | None]:
    """Whether a launch was cut before its end, and whether its candidate passed; None where that is not known."""
    if launch.exit_code is None or (outcome.status == "timeout" and len(outcome.launches) == 1):
        return True, None
    return False, _passed(outcome, launch, sum(one.exit_code == 0 for one in outcome.launches))


def _passed(outcome: BenchOutcome, launch: Launch, ended_well: int) -> bool | None:
    """Whether this launch's candidate passed. Where several of a run that passed ended well, its artifacts do not say
    which of them did."""
    if outcome.status == "stopped_early":
        return None
    if not outcome.passed or len(outcome.launches) == 1:
        return outcome.passed
    if launch.exit_code == 0:
        return True if ended_well == 1 else None
    return False if ended_well else None


def _asked(result: CaseResults) -> tuple[Subject, str]:
    """The subject of a case, and its tool hint."""
    context = result.case.context.model_dump(exclude_unset=True)
    return subject_of(context), str(context["issue"].get("dk_tool_hint") or "")
