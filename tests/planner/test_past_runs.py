"""Runs as columns and texts are the runs that were read, in the order of their decisions."""

import pickle
from dataclasses import replace
from pathlib import Path

from planner.artifacts.records import RunRecord
from planner.artifacts.repo import Repo
from planner.past_runs import NEVER_MS, PackedRuns, Runs, signature_of


def with_plain_history(run: RunRecord) -> RunRecord:
    """The same, its neighbours in a list."""
    context = run.planner_input
    return run if context is None else replace(run, planner_input=replace(context, runs=list(context.runs)))


def test_every_record_comes_back_whole_from_whatever_part_it_is_in(first_runs: Path) -> None:
    runs = Repo(first_runs).runs
    parts = [PackedRuns.of(runs[start::3]) for start in range(3)]
    found = Runs(pickle.loads(pickle.dumps(parts)))
    assert list(map(with_plain_history, found)) == sorted(runs, key=lambda run: (run.decided_ms, run.run_id))
    assert sum(run.planner_input is not None and len(run.planner_input.runs) > 0 for run in found) > 10


def test_columns_say_of_each_run_what_its_record_says(first_runs: Path) -> None:
    found = Runs.of(Repo(first_runs).runs)
    ours, kernels = found.history("planner"), found.history("kernel")
    withheld = 0
    for number, run in enumerate(found):
        assert found.run_ids[number] == run.run_id and found.issue_ids[number] == run.issue_id
        assert (found.decided_ms[number], found.known_ms[number]) == (run.decided_ms, run.known_ms)
        assert (ours.started_ms[number], ours.ended_ms[number]) == (run.started_ms, run.ended_ms)
        assert ours.passed[number] == run.passed
        own = signature_of(run.summary, run.world_id, run.objective_id)
        assert ours.signatures[ours.signature_of[number]] == own
        assert found.packed(number, "planner") == (run.run_id, run.started_ms, run.summary_text)
        builder = run.planner_input and run.planner_input.builder
        assert all(found.recorded_by(name)[number] == (name == builder) for name in (None, "planner", "kernel"))
        if run.kernel_summary is None:
            withheld += 1
            assert kernels.ended_ms[number] == NEVER_MS
            continue
        assert kernels.ended_ms[number] == run.archived_ms + 1
        assert kernels.signatures[kernels.signature_of[number]] == signature_of(run.kernel_summary)
        started_ms = run.kernel_summary["started_ms"]
        assert found.packed(number, "kernel") == (run.run_id, started_ms, run.kernel_summary_text)
    assert 0 < withheld < len(found)


def test_no_runs_are_a_sequence_as_well() -> None:
    assert list(Runs.of([])) == []
