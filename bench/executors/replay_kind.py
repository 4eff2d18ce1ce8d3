"""The executor ``replay``: every problem of a folder of recorded trials with every agent that tried it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.executors.registry import PreparedBench
from bench.options import BenchOptions
from planner.errors import BenchError
from planner.options import OptionsModel, option

if TYPE_CHECKING:
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


class ReplayKind:
    """See ExecutorKind."""

    name = "replay"
    options = ReplayOptions

    def prepare(self, source: Path, options: BenchOptions, own: ReplayOptions) -> PreparedBench:
        """The cases of the tables in the folder ``source``, each at the moment of its first trial."""
        from bench.executors.replay import ReplayExecutor
        from bench.planning.cases import add_cases
        from planner.artifacts.universe import NO_UNIVERSE

        folder, wanted = source.resolve(), options.issue_ids or None
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

    def default_ledger(self, source: Path) -> Path:
        """None: recorded trials are not ours to write to."""
        raise BenchError("recorded trials have no place for a ledger: name its file with --ledger")


KIND = ReplayKind()
