"""Trials out of a repo's artifacts: every archive's agent, and what the event log says of a speculation's losers."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from planner.artifacts.events import StartFailure, WorkcellEvents
from planner.artifacts.records import RunRecord
from planner.context import issue_of_run
from planner.dataset.trials import Trial, split_of
from planner.encoding.subject import Subject, subject_of
from planner.past_runs import Runs

NO_SUBJECT = Subject("", "", 0.0, "")
"""Of a draft whose run recorded no context."""


def drafts_of(runs: Sequence[RunRecord]) -> list[Trial | None]:
    """Of each run what it says itself of the trial that it was, and None where it was none.

    What depends on other runs is missing: attempt and split, and without a recorded context the subject.
    """
    return [
        _draft(run, run.issue_id) if run.kind == "archive" and run.toolchain and run.issue_id else None for run in runs
    ]


def with_one_object(drafts: Sequence[Trial | None], subjects: dict[Subject, Subject]) -> Iterator[Trial | None]:
    """The same, equal subjects one object, as in ``subjects``: issues are few, and runs are many."""
    for draft in drafts:
        yield draft and draft._replace(subject=subjects.setdefault(draft.subject, draft.subject))


def _draft(run: RunRecord, issue_id: str) -> Trial:
    cut = run.status == "timeout"
    return Trial(
        trial_id=run.run_id,
        source="archive",
        job_type=run.summary["job_type"],
        tool=str(run.toolchain),
        subject=NO_SUBJECT if run.planner_input is None else subject_of(run.planner_input.facts),
        attempt=0,
        passed=None if cut else run.passed,
        # A run that was cut has no gates: it ended with its agent.
        duration_ms=run.ended_ms - run.started_ms if cut and run.agent_ms is None else run.agent_ms,
        cut=cut,
        ended_ms=run.ended_ms,
        split="",
    )


def logged_trials(
    runs: Runs,
    drafts: Sequence[Trial | None],
    events: Mapping[str, WorkcellEvents],
    issues: Mapping[str, dict[str, Any]],
    firsts_ms: Mapping[str, int | None],
    start_failures: Sequence[StartFailure] = (),
) -> list[Trial]:
    """A trial for every run of an agent; ``firsts_ms`` is the first decision of each split (dataset.trials.split_of).

    ``drafts`` are those of the runs, see :func:`drafts_of`. ``start_failures`` are attempts that no agent worked on:
    later trials count them.
    Of a loser nobody recorded how long it worked. That it failed is known where the chosen candidate failed too, for
    the kernel chooses one that passed if there is any; otherwise it is known that one of the candidates passed.
    """
    known = {draft.trial_id for draft in drafts if draft is not None}
    failures_ms: defaultdict[str | None, list[int]] = defaultdict(list)
    """Issue id -> the ends of attempts that did not pass."""
    for failure in start_failures:
        failures_ms[failure.issue_id].append(failure.ended_ms)
    for draft, issue_id in zip(drafts, runs.issue_ids, strict=True):
        if draft is not None and not draft.passed:
            failures_ms[issue_id].append(draft.ended_ms)
    losers = _losers(known, events)
    trials = []
    decisions = zip(drafts, runs.issue_ids, runs.decided_ms.tolist(), strict=True)
    for number, (draft, issue_id, decided_ms) in enumerate(decisions):
        if draft is None or issue_id is None:
            continue
        subject = draft.subject
        if subject == NO_SUBJECT:
            issue = issues.get(issue_id)
            if issue is None:
                continue
            # As far as the tracker's part does not change.
            subject = subject_of({"issue": issue_of_run(issue, runs[number], 0)})
        own = draft._replace(
            subject=subject,
            attempt=sum(end_ms <= decided_ms for end_ms in failures_ms[issue_id]),
            split=split_of(draft.ended_ms, firsts_ms),
        )
        trials.append(own)
        speculation = events.get(own.trial_id)
        if speculation is None or not speculation.speculative:
            continue
        others = [
            (cell_id, tool)
            for cell_id, tool, started_ms in losers[issue_id]
            if decided_ms <= started_ms <= own.ended_ms
        ]
        for cell_id, tool in others:
            trials.append(
                own._replace(
                    trial_id=cell_id,
                    source="event",
                    tool=tool,
                    passed=False if own.passed is False else None,
                    duration_ms=None,
                    cut=False,
                    candidates=1 + len(others) if own.passed else 0,
                    known_passers=1 if own.passed else 0,
                )
            )
    return trials


def _losers(known: set[str], events: Mapping[str, WorkcellEvents]) -> Mapping[str, list[tuple[str, str, int]]]:
    """Issue id -> id, tool and start of every candidate's workcell that left no run; ``known`` are those that did."""
    of_issue: defaultdict[str, list[tuple[str, str, int]]] = defaultdict(list)
    for cell_id, cell in events.items():
        if cell.speculative and cell.toolchain and cell.issue_id and cell.started_ms and cell_id not in known:
            of_issue[cell.issue_id].append((cell_id, cell.toolchain, cell.started_ms))
    return of_issue
