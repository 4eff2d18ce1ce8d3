"""Trials out of a repo's artifacts: every archive's agent, and what the event log says of a speculation's losers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from planner.artifacts.events import StartFailure, WorkcellEvents
from planner.artifacts.recorded_context import PackedContext
from planner.artifacts.records import RunRecord
from planner.context import issue_of_run
from planner.dataset.trials import Trial, split_of
from planner.encoding.subject import Subject, subject_of
from planner.past_runs import Runs


def logged_trials(
    runs: Runs,
    events: Mapping[str, WorkcellEvents],
    issues: Mapping[str, dict[str, Any]],
    firsts_ms: Mapping[str, int | None],
    start_failures: Sequence[StartFailure] = (),
) -> list[Trial]:
    """A trial for every run of an agent; ``firsts_ms`` is the first decision of each split (dataset.trials.split_of).

    ``start_failures`` are attempts that no agent worked on: later trials count them.
    Of a loser nobody recorded how long it worked. That it failed is known where the chosen candidate failed too, for
    the kernel chooses one that passed if there is any; otherwise it is known that one of the candidates passed.
    """
    found: list[tuple[str, int, Trial]] = []
    known: set[str] = set()
    failures_ms: defaultdict[str, list[int]] = defaultdict(list)
    """Issue id -> the ends of attempts that did not pass."""
    for failure in start_failures:
        failures_ms[failure.issue_id].append(failure.ended_ms)
    for run in runs:
        if run.kind != "archive" or not run.toolchain or not run.issue_id:
            continue
        known.add(run.run_id)
        if not run.passed:
            failures_ms[run.issue_id].append(run.ended_ms)
        subject = _subject(run, issues)
        if subject is not None:
            found.append((run.issue_id, run.decided_ms, _own_trial(run, subject, firsts_ms)))
    losers = _losers(known, events)
    trials = []
    for issue_id, decided_ms, own in found:
        own = own._replace(attempt=sum(end_ms <= decided_ms for end_ms in failures_ms[issue_id]))
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


def _own_trial(run: RunRecord, subject: Subject, firsts_ms: Mapping[str, int | None]) -> Trial:
    """That of the run's archive, its attempt not yet counted."""
    cut = run.status == "timeout"
    return Trial(
        trial_id=run.run_id,
        source="archive",
        job_type=run.summary["job_type"],
        tool=str(run.toolchain),
        subject=subject,
        attempt=0,
        passed=None if cut else run.passed,
        # A run that was cut has no gates: it ended with its agent.
        duration_ms=run.ended_ms - run.started_ms if cut and run.agent_ms is None else run.agent_ms,
        cut=cut,
        ended_ms=run.ended_ms,
        split=split_of(run.ended_ms, firsts_ms),
    )


def _losers(known: set[str], events: Mapping[str, WorkcellEvents]) -> Mapping[str, list[tuple[str, str, int]]]:
    """Issue id -> id, tool and start of every candidate's workcell that left no run; ``known`` are those that did."""
    of_issue: defaultdict[str, list[tuple[str, str, int]]] = defaultdict(list)
    for cell_id, cell in events.items():
        if cell.speculative and cell.toolchain and cell.issue_id and cell.started_ms and cell_id not in known:
            of_issue[cell.issue_id].append((cell_id, cell.toolchain, cell.started_ms))
    return of_issue


def _subject(run: RunRecord, issues: Mapping[str, dict[str, Any]]) -> Subject | None:
    """From what the run recorded, else from the issue tracker, as far as that does not change; None without either."""
    if run.planner_input is not None:
        return _recorded_subject(run.planner_input)
    issue = issues.get(str(run.issue_id))
    return None if issue is None else subject_of({"issue": issue_of_run(issue, run, 0)})


def _recorded_subject(context: PackedContext) -> Subject:
    return _subject_after(context.after)


@lru_cache(maxsize=65536)
def _subject_after(after: bytes) -> Subject:
    """From the part of a packed context that follows the runs of its history, where the issue is."""
    return subject_of(orjson.loads(b'{"history":{"runs":[' + after))
