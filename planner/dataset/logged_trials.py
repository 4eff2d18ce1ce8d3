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


def logged_trials(
    runs: Sequence[RunRecord],
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
    archived = [run for run in runs if run.kind == "archive" and run.toolchain and run.issue_id]
    attempts = _attempts(archived, start_failures)
    losers = _losers(archived, events)
    trials = []
    for run in archived:
        subject = _subject(run, issues)
        if subject is None:
            continue
        cut = run.status == "timeout"
        own = Trial(
            trial_id=run.run_id,
            source="archive",
            job_type=run.summary["job_type"],
            tool=str(run.toolchain),
            subject=subject,
            attempt=attempts[run.run_id],
            passed=None if cut else run.passed,
            # A run that was cut has no gates: it ended with its agent.
            duration_ms=run.ended_ms - run.started_ms if cut and run.agent_ms is None else run.agent_ms,
            cut=cut,
            ended_ms=run.ended_ms,
            split=split_of(run.ended_ms, firsts_ms),
        )
        trials.append(own)
        for cell_id, tool in losers.get(run.run_id, ()):
            failed = not run.passed
            trials.append(
                own._replace(
                    trial_id=cell_id,
                    source="event",
                    tool=tool,
                    passed=False if failed and not cut else None,
                    duration_ms=None,
                    cut=False,
                    candidates=0 if failed else 1 + len(losers[run.run_id]),
                    known_passers=0 if failed else 1,
                )
            )
    return trials


def _attempts(runs: Sequence[RunRecord], start_failures: Sequence[StartFailure]) -> dict[str, int]:
    """Run id -> attempts at its issue that had ended without passing when it was decided."""
    ends_ms: defaultdict[str, list[int]] = defaultdict(list)
    for run in runs:
        if not run.passed:
            ends_ms[str(run.issue_id)].append(run.ended_ms)
    for failure in start_failures:
        ends_ms[failure.issue_id].append(failure.ended_ms)
    return {run.run_id: sum(end_ms <= run.decided_ms for end_ms in ends_ms[str(run.issue_id)]) for run in runs}


def _losers(runs: Sequence[RunRecord], events: Mapping[str, WorkcellEvents]) -> dict[str, list[tuple[str, str]]]:
    """Run id -> workcell and tool of every other candidate: of the same issue, started within the run's time."""
    known = {run.run_id for run in runs}
    of_issue: defaultdict[str, list[tuple[str, WorkcellEvents]]] = defaultdict(list)
    for cell_id, cell in events.items():
        if cell.speculative and cell.toolchain and cell.issue_id and cell.started_ms and cell_id not in known:
            of_issue[cell.issue_id].append((cell_id, cell))
    found: dict[str, list[tuple[str, str]]] = {}
    for run in runs:
        own = events.get(run.run_id)
        if own is None or not own.speculative:
            continue
        found[run.run_id] = [
            (cell_id, str(cell.toolchain))
            for cell_id, cell in of_issue[str(run.issue_id)]
            if cell.started_ms is not None and run.decided_ms <= cell.started_ms <= run.ended_ms
        ]
    return found


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
