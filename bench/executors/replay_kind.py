"""The executor ``replay``: every problem of a folder of recorded trials with every agent that tried it, or the cases
of a bench that `planner export-table` wrote."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.executors.registry import PreparedBench
from bench.options import BenchOptions
from planner.errors import BenchError
from planner.options import OptionsModel, option

if TYPE_CHECKING:
    from bench.executors.recorded_executions import RecordedExecutions
    from bench.planning.selections import Selection
    from planner.contracts.bench import BenchCase

SECTION = "Of replays alone"
TRIALS = 6
"""Trials of a case that are used; a case with fewer is set aside. Enough for three candidates of two iterations."""


class ReplayOptions(OptionsModel):
    """How recorded trials are read."""

    trials: int = option(TRIALS, "Recorded trials of a case that are used (replay).", section=SECTION, ge=1)
    minute_seconds: float = option(
        60.0, "Seconds that a minute of budget lasts in recorded trials (replay).", section=SECTION, ge=0.001
    )
    recorded: Literal["trials", "executions"] | None = option(
        None,
        "What is replayed: trials, from which outcomes of all actions follow, or the executions of an exported bench, "
        "each as it was (replay). [default: executions where the folder has them and they were run]",
        section=SECTION,
    )


class ReplayKind:
    """See ExecutorKind."""

    name = "replay"
    options = ReplayOptions

    def prepare(self, source: Path, options: BenchOptions, own: ReplayOptions) -> PreparedBench:
        """The cases of the tables in the folder ``source``."""
        from bench.executors.recorded_executions import EXECUTIONS, RecordedExecutions

        folder = source.resolve()
        if own.recorded != "trials" and (own.recorded or (folder / EXECUTIONS).is_file()):
            executor = RecordedExecutions.prepare(folder)
            # What was looked up in trials once is looked up in them again: then more actions have outcomes.
            if own.recorded or not all(case.trials for case in executor.cases):
                return _of_executions(folder, executor, options)
        return _of_trials(folder, options, own)

    def default_ledger(self, source: Path) -> Path:
        """None: recorded trials are not ours to write to."""
        raise BenchError("recorded trials have no place for a ledger: name its file with --ledger")


def _of_trials(folder: Path, options: BenchOptions, own: ReplayOptions) -> PreparedBench:
    """Each problem and agent at the moment of its first trial, its outcomes derived from the trials."""
    from bench.executors.replay import ReplayExecutor
    from bench.planning.cases import add_cases
    from planner.artifacts.universe import NO_UNIVERSE

    wanted = options.issue_ids or None
    executor = ReplayExecutor.prepare(folder, n_trials=own.trials, minute_seconds=own.minute_seconds)

    def make_cases(stored: "Sequence[BenchCase]", selection: "Selection") -> "list[BenchCase]":
        kept = [case for case in stored if wanted is None or case.issue_id in wanted]
        known = {case.case_id for case in kept}
        drafts = (draft for draft in executor.drafts(wanted, folder.name) if draft.choice.case_id not in known)
        return add_cases(kept, stored, drafts, selection, options.n_actions, options.limit)

    return PreparedBench(
        executor=executor,
        settings={"replay": folder.name, "trials": own.trials, "minute_seconds": own.minute_seconds},
        universe=NO_UNIVERSE,
        read=len(executor.cases) + len(executor.too_few),
        set_aside=executor.too_few,
        unreadable=(),
        make_cases=make_cases,
    )


def _of_executions(folder: Path, executor: "RecordedExecutions", options: BenchOptions) -> PreparedBench:
    """The cases of an exported bench with the actions that were run, whatever K says, and their outcomes."""
    from planner.artifacts.universe import NO_UNIVERSE

    observed = executor.observed(options.issue_ids or None)
    if not observed:
        raise BenchError(
            f"{folder}: none of its executions has an outcome" + (" of these issues" if options.issue_ids else "")
        )
    have_outcomes = {case.case_id for case in executor.observed(None)}
    known = {key: executor.settings[key] for key in ("minute_seconds", "simulation") if key in executor.settings}
    return PreparedBench(
        executor=executor,
        settings={"replay": folder.name, "recorded": "executions", **known},
        universe=NO_UNIVERSE,
        read=len(executor.cases),
        set_aside={
            case.issue_id: "none of its executions has an outcome"
            for case in executor.cases
            if case.case_id not in have_outcomes
        },
        unreadable=(),
        make_cases=lambda stored, selection: observed[: options.limit],
        objective=executor.settings.get("objective"),
    )


KIND = ReplayKind()
