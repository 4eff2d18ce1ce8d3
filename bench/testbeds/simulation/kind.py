"""The executor ``simulate``: the open issues of a repo that `planner simulate` wrote, their outcomes drawn."""

from pathlib import Path

from bench.executors.places import ledger_in_repo
from bench.executors.registry import PreparedBench
from bench.options import BenchOptions
from planner.options import OptionsModel


class SimulateOptions(OptionsModel):
    """Nothing: the repo says which world it is."""


class SimulateKind:
    """See ExecutorKind."""

    name = "simulate"
    options = SimulateOptions

    def prepare(self, source: Path, options: BenchOptions, own: SimulateOptions) -> PreparedBench:
        """The repo's schedulable issues, each at the moment when it was filed."""
        from bench.executors.repo_bench import bench_of_repo
        from bench.testbeds.simulation.executor import SimulateExecutor, simulated_origin
        from planner.artifacts.repo import Repo

        repo = Repo(source, options.kernel_dir, options.universe)
        executor = SimulateExecutor.prepare(repo)
        world = {"seed": executor.world.seed, "days": executor.world.days}
        settings = {"simulation": world, "universe_id": repo.universe.universe_id}
        return bench_of_repo(repo, options, executor, settings, simulated_origin(repo, executor))

    def default_ledger(self, source: Path) -> Path:
        """Beside the repo's other artifacts."""
        return ledger_in_repo(source)


KIND = SimulateKind()
