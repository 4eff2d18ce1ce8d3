"""The executor ``simulate``: the open issues of a repo that `planner simulate` wrote, their outcomes drawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.executors.places import ledger_in_repo
from bench.executors.registry import PreparedBench
from bench.options import BenchOptions
from planner.options import OptionsModel

if TYPE_CHECKING:
    from bench.planning.selections import Selection
    from planner.contracts.bench import BenchCase


class SimulateOptions(OptionsModel):
    """Nothing: the repo says which world it is."""


class SimulateKind:
    """See ExecutorKind."""

    name = "simulate"
    options = SimulateOptions

    def prepare(self, source: Path, options: BenchOptions, own: SimulateOptions) -> PreparedBench:
        """The repo's schedulable issues, each at the moment when it was filed."""
        from bench.planning.cases import build_cases, select_issues
        from bench.testbeds.simulation.executor import SimulateExecutor, simulated_origin
        from planner.artifacts.repo import Repo

        repo = Repo(source, options.kernel_dir, options.universe)
        executor = SimulateExecutor.prepare(repo)
        origin = simulated_origin(repo, executor)

        def make_cases(stored: "Sequence[BenchCase]", selection: "Selection") -> "list[BenchCase]":
            return build_cases(repo, options, selection, stored=stored, origin=origin)

        world = {"seed": executor.world.seed, "days": executor.world.days}
        return PreparedBench(
            executor=executor,
            settings={"simulation": world, "universe_id": repo.universe.universe_id},
            universe=repo.universe,
            read=len(repo.issues),
            set_aside=select_issues(repo.issues, options.issue_ids or None).set_aside,
            unreadable=repo.quarantine.entries,
            make_cases=make_cases,
        )

    def default_ledger(self, source: Path) -> Path:
        """Beside the repo's other artifacts."""
        return ledger_in_repo(source)


KIND = SimulateKind()
