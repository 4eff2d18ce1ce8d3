"""Whether the kernel can be driven here: it is started, and runs a trivial issue in a clone of the repo.

What goes wrong would make every execution of a bench a fault; better to know before the first one. The same runs show
how long the kernel itself takes, which caps leave to noise.
"""

import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from bench.containment.limits import Limits
from bench.doctor.check import PROBE_LIMIT_S, Check, attempt
from bench.executors.cyntra.executor import CyntraExecutor
from bench.executors.cyntra.kind import CyntraOptions, prepared_executor
from bench.executors.cyntra.overlay import SERIAL, SPECULATE
from bench.executors.fault_reasons import cure_of
from bench.executors.kernel_start import record_start
from bench.executors.outcome import LOG_TAIL_CHARACTERS
from bench.planning.cases import case_id_of, main_commit
from planner.actions import Action
from planner.artifacts.beads import issue_context
from planner.artifacts.repo import Repo
from planner.artifacts.toolchains import Toolchain, toolchain_names
from planner.context import planner_input
from planner.contracts.bench import BenchCase, BenchOutcome
from planner.contracts.document import validate
from planner.errors import PlannerError

ISSUE = "planner-doctor"
DISPATCH_LIMIT_S = 60.0
SERIAL_DISPATCHES = 3
"""The start-up is the middle one of their times."""
MINUTES = 15
"""Of the forced plan; a trivial run takes a second of them."""


@dataclass(frozen=True)
class KernelSetting:
    """In which repo a bench would call the kernel, and how."""

    repo: Path
    options: CyntraOptions
    kernel_dir: Path | None = None
    universe: str | None = None

    @property
    def name(self) -> str:
        """The command as a ledger records it."""
        command = self.options.command
        return " ".join([Path(command[0]).name, *command[1:]])


def kernel_checks(place: Path, setting: KernelSetting, ledger_dir: Path) -> list[Check]:
    """Version, universe, and a trivial run of each swarm, in the empty directory ``place``; the start-up is recorded in
    ``ledger_dir``."""
    try:
        repo = Repo(setting.repo, setting.kernel_dir, setting.universe)
        executor, case = _trivial(repo, setting, place)
    except PlannerError as error:
        return [Check("trivial run", False, f"no execution could begin: {error}", cure_of(str(error)))]
    return [_version(executor, place), *_dispatches(executor, case, place, setting, ledger_dir)]


def _trivial(repo: Repo, setting: KernelSetting, place: Path) -> tuple[CyntraExecutor, BenchCase]:
    """The repo's executor with a tool that does nothing in each tool's place, and an issue that asks for nothing."""
    executor = replace(prepared_executor(repo, setting.options), limits=Limits(DISPATCH_LIMIT_S))
    program = place / "trivial-tool"
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o700)
    tools = executor.toolchains or [Toolchain(name, name, program) for name in toolchain_names(repo.config)[:1]]
    issue = {
        "id": ISSUE,
        "title": "A trivial run",
        "description": "Nothing is to be done.",
        "status": "open",
        "tags": [],
        "dk_quality_gates": {"trivial": "true"},
    }
    commit = main_commit(repo.root)
    context = planner_input(
        issue=issue_context(issue, 0),
        universe=repo.universe,
        job_type="code",
        similar_runs=[],
        created_ms=time.time_ns() // 1_000_000,
    )
    document = {
        "schema_version": "cyntra.bench_case.v1",
        "case_id": case_id_of(ISSUE, commit, repo.universe.universe_id),
        "issue_id": ISSUE,
        "base_commit": commit,
        "context": context,
        "actions": [Action(SERIAL, 1, MINUTES, "NA")._asdict()],
    }
    replaced = tuple(replace(tool, executable=program) for tool in tools)
    namespaces = executor.namespaces and executor.namespaces.with_shown([program])
    ready = replace(executor, toolchains=replaced, issues={ISSUE: issue}, namespaces=namespaces)
    return ready, validate(BenchCase, document, ISSUE)


def _version(executor: CyntraExecutor, place: Path) -> Check:
    """What the kernel calls itself; a stand-in need not say it."""

    def ask() -> str:
        done = _run(executor, ["--version"], place)
        lines = (done.stdout or done.stderr).strip().splitlines()
        return lines[-1] if done.returncode == 0 and lines else ""

    found = attempt("kernel version", "check that the kernel's command can be run", ask)
    return found if found.finding else replace(found, ok=None, finding=f"{executor.command[0]} does not say it")


def _dispatches(
    executor: CyntraExecutor, case: BenchCase, place: Path, setting: KernelSetting, ledger_dir: Path
) -> Iterator[Check]:
    serial = [_dispatch(executor, case, Action(SERIAL, 1, MINUTES, "NA"), place) for _ in range(SERIAL_DISPATCHES)]
    clone = place / "run-1" / "clone"
    if executor.universe_id is not None and clone.is_dir():
        yield _universe(executor, clone)
    yield _run_check(SERIAL, serial)
    if not any(_trouble(outcome) for outcome in serial):
        starts = [outcome.duration_ms - max(launch.duration_ms for launch in outcome.launches) for outcome in serial]
        start_ms = max(0, median(starts))
        path = record_start(ledger_dir, setting.name, start_ms, time.time_ns() // 1_000_000)
        finding = f"{start_ms / 1000:.2f} s of {SERIAL_DISPATCHES} runs ({min(starts)} to {max(starts)} ms), in {path}"
        yield Check("kernel start-up", True, finding)
    if (n_tools := len(executor.toolchains)) > 1:
        wide = Action(SPECULATE, min(3, n_tools), MINUTES, "NA")
        yield _run_check(f"{SPECULATE} with {wide.max_candidates_bin}", [_dispatch(executor, case, wide, place)])


def _universe(executor: CyntraExecutor, clone: Path) -> Check:
    """The kernel's own opinion of the universe, in a clone."""

    def ask() -> str:
        command = ["--config", ".cyntra/config.yaml", "universe", "validate", str(executor.universe_id)]
        done = _run(executor, command, clone)
        if done.returncode == 0:
            return f"{executor.universe_id} is valid"
        if "No such command" in done.stderr or "invalid choice" in done.stderr:
            return ""
        said = " ".join((done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").split())
        raise OSError(f"the kernel does not accept {executor.universe_id}: {said[-LOG_TAIL_CHARACTERS:]}")

    found = attempt("universe", "mend universes/, or choose another one with --universe", ask)
    return found if found.finding else replace(found, ok=None, finding=f"{executor.command[0]} cannot validate one")


def _dispatch(executor: CyntraExecutor, case: BenchCase, action: Action, place: Path) -> BenchOutcome:
    work_dir = place / f"run-{sum(1 for _ in place.glob('run-*')) + 1}"
    work_dir.mkdir()
    return executor.execute(case, action, work_dir)


def _run_check(swarm: str, outcomes: Sequence[BenchOutcome]) -> Check:
    name = f"trivial run, {swarm}"
    trouble = next((text for outcome in outcomes if (text := _trouble(outcome))), None)
    if trouble is None:
        times = ", ".join(f"{outcome.duration_ms / 1000:.2f}" for outcome in outcomes)
        return Check(name, True, f"passes with a tool that does nothing, in {times} s")
    return Check(name, False, trouble, cure_of(trouble))


def _trouble(outcome: BenchOutcome) -> str | None:
    """Why a trivial run was none that a bench could use."""
    if outcome.status == "fault":
        return f"every execution would be a fault: {outcome.fault}"
    if outcome.stopped_by is not None:
        return (
            f"a run of a tool that does nothing had to be stopped ({outcome.stopped_by}) after {DISPATCH_LIMIT_S:g} s"
        )
    if not outcome.passed or not outcome.launches:
        codes = ", ".join(outcome.fail_codes) or "no fail code"
        return f"a tool that ended well and a gate that is `true` came to {outcome.status} ({codes}): nothing can pass"
    return None


def _run(executor: CyntraExecutor, arguments: Sequence[str], directory: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*executor.command, *arguments],
        cwd=directory,
        env=executor.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PROBE_LIMIT_S,
    )
