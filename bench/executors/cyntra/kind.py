"""The executor ``cyntra``: the issues of a repo under git, each execution a run of the kernel in its own clone."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bench.containment.limits import GIB, Limits
from bench.containment.namespaces import SandboxMode
from bench.containment.network import NetworkMode
from bench.executors.cyntra.kernel_command import tool_directories
from bench.executors.places import ledger_in_repo
from bench.executors.registry import PreparedBench
from bench.options import COST, RUN, BenchOptions
from planner.errors import BenchError
from planner.options import OptionsModel, option

if TYPE_CHECKING:
    from bench.executors.cyntra.executor import CyntraExecutor
    from planner.artifacts.repo import Repo


class CyntraOptions(OptionsModel):
    """What the kernel is called by, and what each of its runs may use."""

    cyntra: str = option("cyntra", "Kernel command, may be several words; `cyntra-sandbox` in a sandbox.", section=RUN)
    env: list[str] = option(
        [], "Environment variable that runs may see, for instance an API key's; may be repeated.", section=RUN
    )
    wall_limit: float = option(
        4 * 3600.0,
        "Seconds an execution may last at most; otherwise its action's minutes, for code 10 more.",
        section=COST,
        ge=1.0,
    )
    max_memory: float = option(8.0, "GiB that all processes of an execution may use together.", section=COST, ge=0.1)
    max_processes: int = option(2048, "Processes and threads of an execution together.", section=COST, ge=4)
    sandbox: SandboxMode = option(
        "auto",
        "Whether bubblewrap gives every execution namespaces of its own, which hide your home, the repo and other "
        "processes: auto (where it works, see --doctor), require, or off.",
        section=RUN,
    )
    allow_path: list[str] = option(
        [],
        "Place in your home that executions need to read, or with :rw after it to write; may be repeated.",
        section=RUN,
    )
    network: NetworkMode = option(
        "on",
        "What executions in namespaces reach: on (the network), off (nothing), or loopback-blocked (the network, but "
        "nothing that listens on this machine; needs pasta, see --doctor).",
        section=RUN,
    )

    @property
    def command(self) -> list[str]:
        """The kernel's command line; BenchError for a text that is none."""
        return command_words(self.cyntra)

    @property
    def limits(self) -> Limits:
        """What every execution may use."""
        return Limits(self.wall_limit, memory_bytes=round(self.max_memory * GIB), processes=self.max_processes)


class CyntraKind:
    """See ExecutorKind."""

    name = "cyntra"
    options = CyntraOptions

    def prepare(self, source: Path, options: BenchOptions, own: CyntraOptions) -> PreparedBench:
        """The repo's schedulable issues from the commit of its branch main."""
        from bench.executors.repo_bench import bench_of_repo
        from bench.planning.cases import git_origin
        from planner.artifacts.repo import Repo

        repo = Repo(source, options.kernel_dir, options.universe)
        executor = prepared_executor(repo, own)
        command = [Path(own.command[0]).name, *own.command[1:]]
        settings = {"command": command, "universe_id": executor.universe_id}
        origin = git_origin(repo, executor.environment["PATH"])
        prepared = bench_of_repo(repo, options, executor, settings, origin, check=executor.check_tools)
        return replace(prepared, programs={tool.name: tool.executable.name for tool in executor.toolchains})

    def default_ledger(self, source: Path) -> Path:
        """Beside the repo's other artifacts."""
        return ledger_in_repo(source)


def prepared_executor(repo: "Repo", own: CyntraOptions) -> "CyntraExecutor":
    """What runs the kernel on this repo; BenchError when it is missing."""
    from bench.executors.cyntra.executor import CyntraExecutor
    from planner.artifacts.universe import NO_UNIVERSE

    return CyntraExecutor.prepare(
        repo,
        own.command,
        universe_id=None if repo.universe is NO_UNIVERSE else repo.universe.universe_id,
        limits=own.limits,
        extra_path=tool_directories(own.command),
        pass_on=own.env,
        sandbox=own.sandbox,
        allowed=own.allow_path,
        network=own.network,
    )


def command_words(text: str) -> list[str]:
    """The words of a kernel's command line; BenchError for a text that is none."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BenchError(f"--cyntra {text!r}: {error}: write it as a shell takes it") from None
    if not words:
        raise BenchError("--cyntra is empty: name the kernel's command")
    return words


KIND = CyntraKind()
