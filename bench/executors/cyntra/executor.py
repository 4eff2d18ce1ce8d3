"""Executes actions by the real ``cyntra`` command line (or the sandbox's), each in its own throwaway clone."""

import math
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.containment.cgroups import find_cgroups
from bench.containment.limits import Deadline, Limits
from bench.containment.namespaces import Namespaces, SandboxMode, find_bubblewrap, network_problem, why_not
from bench.containment.network import NetworkMode
from bench.containment.run_supervised import run_supervised
from bench.executors.cyntra.clone import borrowed_from, make_clone
from bench.executors.cyntra.kernel_command import find_kernel, tool_directories
from bench.executors.cyntra.needed_places import namespaces_for
from bench.executors.cyntra.overlay import overlay_config, yaml_text
from bench.executors.cyntra.parcel import RepoParcel, pack_repo, unpacked
from bench.executors.cyntra.toolchains import hide_tracker, read_launches, write_wrappers
from bench.executors.cyntra.world_jobs import START_S, WORLD_JOB_TYPE, execute_world
from bench.executors.outcome import fault, read_outcome
from bench.executors.protocol import LOG
from planner.actions import Action
from planner.artifacts.repo import Repo
from planner.artifacts.toolchains import Toolchain, find_toolchains
from planner.artifacts.tracked_issue import TrackedIssue
from planner.artifacts.universe import minute_seconds
from planner.contracts.bench import BenchCase, BenchOutcome
from planner.errors import BenchError, PlannerError
from planner.policies.heuristic import HeuristicPolicy

PASSED_ON = ("HOME", "LANG", "LC_ALL", "TERM")
"""The variables of the environment that every run may see; the user adds to them, for instance an API key's."""
SLACK_S = 600.0
"""What a run may take beyond its agents' minutes: gates have no limit of their own."""
LONGEST_RUN = Limits(wall_s=4 * 3600.0)
"""No execution is given more time, whatever its action says."""


@dataclass(frozen=True)
class CyntraExecutor:
    """What executions have in common. Made by :meth:`prepare` in the driver and sent to Ray's workers as it is."""

    instant = False  # every execution is a real run

    repo: Path
    command: tuple[str, ...]
    """The kernel's command line up to its options, its first word an absolute path."""
    base_config: dict[str, Any]
    base_text: str
    """The base config as YAML."""
    issues: dict[str, dict[str, Any]]
    toolchains: tuple[Toolchain, ...]
    rule: HeuristicPolicy
    """Today's, whose routing says in which order tools work on an issue."""
    universe_id: str | None
    limits: Limits
    """What every execution may use; its time is bounded by the action's minutes as well."""
    environment: dict[str, str] = field(repr=False)
    namespaces: Namespaces | None = None
    """Those of every run, where bubblewrap works; None leaves all to the supervisor, limits included."""
    allowed: tuple[str, ...] = ()
    """The user's own places that runs may see."""

    @classmethod
    def prepare(
        cls,
        repo: Repo,
        command: Sequence[str],
        *,
        universe_id: str | None = None,
        limits: Limits = LONGEST_RUN,
        extra_path: Sequence[Path] = (),
        pass_on: Sequence[str] = (),
        sandbox: SandboxMode = "off",
        allowed: Sequence[str] = (),
        network: NetworkMode = "on",
    ) -> "CyntraExecutor":
        """Read the repo's config and issues and find the tools; BenchError when the kernel is missing.

        ``extra_path`` directories come before the user's PATH; ``pass_on`` names more variables that runs may see.
        ``sandbox`` "require" raises BenchError where bubblewrap does not work, as do networks that it cannot keep; see
        namespaces_for for what follows it.
        """
        if sandbox == "require" and find_bubblewrap() is None:
            raise BenchError(f"--sandbox require: {why_not()}")
        if network != "on" and sandbox == "off":
            raise BenchError(f"--network {network} is kept by namespaces: leave out --sandbox off")
        if problem := network_problem(network):
            raise BenchError(f"--network {network}: {problem}")
        if sandbox != "off":
            # Here and not only in workers: a cgroup of the bench's alone is known from the process that all others are
            # children of. It is made ready, and what dead benches have left is removed.
            find_cgroups()
        words, search_path = find_kernel(command, extra_path)
        if universe_id is not None and universe_id.startswith("-"):
            raise BenchError(f"universe {universe_id!r}: Cyntra would take its name for an option; rename it")
        names = dict.fromkeys([*PASSED_ON, *pass_on])
        environment = {name: os.environ[name] for name in names if name in os.environ}
        executor = cls(
            repo=repo.root,
            command=words,
            base_config=repo.config,
            base_text=yaml_text(repo.config),
            issues=repo.issues,
            toolchains=tuple(find_toolchains(repo.config, repo.root, search_path)),
            rule=HeuristicPolicy.of_repo(repo),
            universe_id=universe_id,
            limits=limits,
            # Without any locale, Python would set one itself and hand it down.
            environment={"LANG": "C.UTF-8", **environment, "PATH": search_path},
            allowed=tuple(allowed),
        )
        return executor if sandbox == "off" else executor._with_namespaces(network)

    def packed(self, commits: Collection[str]) -> RepoParcel:
        """See TravellingExecutor."""
        return pack_repo(self.repo, commits)

    def on_this_node(self, parcel: RepoParcel | None) -> "CyntraExecutor":
        """See TravellingExecutor. Kernel and tools are the driver's where they are here too, else those on PATH."""
        programs = [Path(self.command[0]), *(tool.executable for tool in self.toolchains)]
        if parcel is None and all(program.exists() for program in programs):
            return self
        repo = self.repo if parcel is None else unpacked(parcel)
        name = Path(self.command[0]).name
        program = self.command[0] if Path(self.command[0]).exists() else name
        command, search_path = find_kernel([program, *self.command[1:]], tool_directories([name]))
        toolchains = tuple(find_toolchains(self.base_config, repo, search_path))
        lacking = {tool.name for tool in self.toolchains} - {tool.name for tool in toolchains}
        if lacking:
            raise BenchError(f"{', '.join(sorted(lacking))} not on PATH there: install the same tools on every node")
        found = replace(
            self,
            repo=repo,
            command=command,
            toolchains=tuple(tool for tool in toolchains if tool.name in {own.name for own in self.toolchains}),
            environment={**self.environment, "HOME": str(Path.home()), "PATH": search_path},
        )
        return found if self.namespaces is None else found._with_namespaces(self.namespaces.network)

    def _with_namespaces(self, network: NetworkMode) -> "CyntraExecutor":
        """With those that this machine's programs need."""
        namespaces = namespaces_for(
            self.repo,
            self.base_config,
            self.issues,
            self.command,
            self.toolchains,
            self.environment["PATH"],
            allowed=self.allowed,
            network=network,
        )
        return replace(self, namespaces=namespaces)

    def check_tools(self, cases: Iterable[BenchCase]) -> None:
        """BenchError when there is no agent's tool and any case needs one: a world job does not."""
        if not self.toolchains and any(case.context.job_type != WORLD_JOB_TYPE for case in cases):
            raise BenchError(f"{self.repo}: none of the config's toolchains is on PATH: install one of their tools")

    @property
    def source(self) -> Path:
        """Clones borrow its objects."""
        return self.repo

    def execute(
        self, case: BenchCase, action: Action, work_dir: Path, repeat: int = 0, deadline: Deadline | None = None
    ) -> BenchOutcome:
        """Clone, force the action, run Cyntra under a supervisor, read the outcome from what it wrote.

        Every ``repeat`` is a run of its own; its number seeds the evolution of a world job.
        """
        # Looked for where the execution runs: another node may have none.
        namespaces = None if find_bubblewrap() is None else self.namespaces
        cgroups = None if self.namespaces is None else find_cgroups()
        try:
            if namespaces is None and self.namespaces is not None and self.namespaces.network != "on":
                raise BenchError(f"--network {self.namespaces.network}: {why_not()}")
            outcome = self._execute(case, action, work_dir, repeat, deadline, namespaces, cgroups)
        except (PlannerError, OSError) as error:
            outcome = fault(str(error))
        kept_by = {
            "isolation": "supervisor" if namespaces is None else "namespaces",
            "limited_by": "supervisor" if cgroups is None else "cgroup",
        }
        return outcome.model_copy(update=kept_by)

    def lane_limit_ms(self, action: Action) -> int | None:
        """How long each agent of ``action`` may work; None for "NA" minutes."""
        minutes = action.max_minutes_bin
        return None if minutes == "NA" else round(1000 * minutes * self._minute_seconds)

    def wall_limit(self, action: Action, slack_s: float = SLACK_S) -> float:
        """Seconds that an execution may last: its minutes and ``slack_s``, but no more than the limits set."""
        minutes = action.max_minutes_bin
        planned = math.inf if minutes == "NA" else minutes * self._minute_seconds + slack_s
        return min(planned, self.limits.wall_s)

    def _limits(self, action: Action, slack_s: float = SLACK_S) -> Limits:
        return replace(self.limits, wall_s=self.wall_limit(action, slack_s))

    @property
    def _minute_seconds(self) -> float:
        """The real kernel knows real minutes only, whatever a sandbox's config says to its stand-in."""
        return 60.0 if Path(self.command[0]).name == "cyntra" else minute_seconds(self.base_config)

    def _execute(
        self,
        case: BenchCase,
        action: Action,
        work_dir: Path,
        repeat: int,
        deadline: Deadline | None,
        namespaces: Namespaces | None,
        cgroups: Path | None,
    ) -> BenchOutcome:
        self._check_feasible(case, action)
        if namespaces is not None:
            namespaces = namespaces.with_shown(borrowed_from(self.repo))
        if case.context.job_type == WORLD_JOB_TYPE:
            return execute_world(
                case,
                action,
                work_dir,
                repeat,
                repo=self.repo,
                issue=self.issues[case.issue_id],
                command=self.command,
                config=self.base_text,
                environment=self.environment,
                limits=self._limits(action, START_S),
                deadline=deadline,
                namespaces=namespaces,
                cgroups=cgroups,
            )
        clone, tools, temporary = work_dir / "clone", work_dir / "tools", work_dir / "tmp"
        temporary.mkdir()
        launch_log = work_dir / "launches.jsonl"
        make_clone(self.repo, case, self.issues[case.issue_id], clone, copy_universes=self.universe_id is not None)
        wrappers = write_wrappers(tools, self.toolchains, launch_log)
        hide_tracker(tools)
        self._write_config(clone / ".cyntra", case.issue_id, action, wrappers)
        log_path = work_dir / LOG
        started_ms = time.time_ns() // 1_000_000
        report = run_supervised(
            [*self.command, *self._arguments(case)],
            run_dir=clone,
            work_dir=work_dir,
            environment=self._environment(tools, temporary),
            log_path=log_path,
            limits=self._limits(action),
            deadline=deadline,
            namespaces=namespaces,
            cgroups=cgroups,
        )
        launches = read_launches(launch_log, started_ms + report.wall_ms)
        return read_outcome(clone, action, report, launches, log_path)

    def _check_feasible(self, case: BenchCase, action: Action) -> None:
        if case.issue_id not in self.issues:
            raise BenchError(f"issue {case.issue_id!r} is no longer in {self.repo / '.beads/issues.jsonl'}")
        wanted = action.max_candidates_bin
        if case.context.job_type != WORLD_JOB_TYPE and wanted != "NA" and wanted > len(self.toolchains):
            names = [toolchain.name for toolchain in self.toolchains]
            raise BenchError(f"{wanted} candidates need as many toolchains, found {len(names)}: {', '.join(names)}")

    def _write_config(self, kernel_dir: Path, issue_id: str, action: Action, wrappers: Mapping[str, Path]) -> None:
        overlay = overlay_config(self.base_config, action, self._in_order(issue_id), wrappers)
        (kernel_dir / "base.yaml").write_text(self.base_text, "utf-8")
        (kernel_dir / "config.yaml").write_text(yaml_text(overlay), "utf-8")

    def _in_order(self, issue_id: str) -> list[Toolchain]:
        """The toolchains as routing would have them work on the issue, those that it does not know last."""
        names = [toolchain.name for toolchain in self.toolchains]
        routed = self.rule.routed_tools(TrackedIssue.of(self.issues[issue_id]), names)
        order = list(dict.fromkeys([*routed, *names]))
        return sorted(self.toolchains, key=lambda toolchain: order.index(toolchain.name))

    def _arguments(self, case: BenchCase) -> list[str]:
        arguments = ["--config", ".cyntra/config.yaml", "run", "--once", "--issue", case.issue_id]
        return arguments if self.universe_id is None else [*arguments, "--universe", self.universe_id]

    def _environment(self, tools: Path, temporary: Path) -> dict[str, str]:
        return {
            **self.environment,
            "PATH": os.pathsep.join([str(tools), self.environment["PATH"]]),
            "TMPDIR": str(temporary),
        }
