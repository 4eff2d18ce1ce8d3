"""One run of the real kernel on the user's repo, under a supervisor that leaves none of its processes behind."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.containment.limits import Deadline, Limits
from bench.containment.run_supervised import RunReport, run_supervised
from bench.executors.cyntra.kernel_command import find_kernel
from bench.executors.cyntra.toolchains import read_launches, write_wrappers
from planner.artifacts.toolchains import Toolchain
from planner.contracts.bench import Launch

LONGEST_S = 7 * 24 * 3600.0
"""The kernel has no limit of its own; the supervisor needs one."""
POLL_S = 0.2


@dataclass(frozen=True)
class Kernel:
    """The kernel's command and the environment in which it runs: the user's own, and the tools that it brings along."""

    command: tuple[str, ...]
    environment: Mapping[str, str]

    @classmethod
    def find(cls, words: Sequence[str], extra_path: Sequence[Path]) -> "Kernel":
        """BenchError when it is not there; ``extra_path`` directories come before the user's PATH."""
        command, search_path = find_kernel(words, extra_path)
        return cls(command, {"LANG": "C.UTF-8", **os.environ, "PATH": search_path})

    @property
    def search_path(self) -> str:
        """Where its tools are looked for."""
        return self.environment["PATH"]


@dataclass(frozen=True)
class Places:
    """Where one run keeps its things, below the directory of ``planner run``."""

    directory: Path
    decision_id: str

    @property
    def work_dir(self) -> Path:
        """The supervisor's: removed when the run is over, whoever survived."""
        return self.directory / "work" / self.decision_id

    @property
    def launches(self) -> Path:
        """What the wrappers log: it must outlive a run that was killed, for its tools have cost money."""
        return self.directory / "logs" / f"{self.decision_id}.launches.jsonl"

    @property
    def log(self) -> Path:
        """What the kernel printed."""
        return self.directory / "logs" / f"{self.decision_id}.log"

    def make(self, toolchains: Sequence[Toolchain]) -> dict[str, Path]:
        """Make the directories, and the wrappers that log the tools' launches, which are returned by tool."""
        self.log.parent.mkdir(exist_ok=True)
        self.work_dir.mkdir(parents=True)
        return write_wrappers(self.work_dir / "tools", toolchains, self.launches)

    def clear(self) -> None:
        """Remove the working directory."""
        shutil.rmtree(self.work_dir, ignore_errors=True)


class Interrupted(Exception):
    """Ctrl-C: the kernel's run was ended with all its processes."""


@dataclass(frozen=True)
class KernelRun:
    """How the kernel ended, and what its tools took."""

    report: RunReport
    launches: list[Launch]
    interrupted: bool


def run_kernel(
    kernel: Kernel, arguments: Sequence[str], repo: Path, places: Places, *, started_ms: int, wall_s: float
) -> KernelRun:
    """Run the kernel in ``repo``; it is ended after ``wall_s`` seconds, or when this process is interrupted."""
    deadline, outcome, over = Deadline(), _Outcome(), threading.Event()
    environment = {
        **kernel.environment,
        "PATH": os.pathsep.join([str(places.work_dir / "tools"), kernel.search_path]),
    }

    def work() -> None:
        try:
            outcome.report = run_supervised(
                [*kernel.command, *arguments],
                run_dir=repo,
                work_dir=places.work_dir,
                environment=environment,
                log_path=places.log,
                # The kernel by itself has no limits: what a run may take is the user's business.
                limits=Limits(min(wall_s, LONGEST_S), memory_bytes=None, processes=None, file_bytes=None),
                deadline=deadline,
            )
        except BaseException as error:
            outcome.error = error
        finally:
            over.set()

    # In a thread, so that a signal finds this one free to have the run ended and to wait until it is.
    with _ended_by_signals(deadline) as interrupted:
        threading.Thread(target=work, daemon=True).start()
        while not over.wait(POLL_S):
            continue
    if outcome.error is not None:
        raise outcome.error
    assert outcome.report is not None
    launches = read_launches(places.launches, started_ms + outcome.report.wall_ms)
    return KernelRun(outcome.report, launches, interrupted.is_set())


@contextmanager
def _ended_by_signals(deadline: Deadline) -> Iterator[threading.Event]:
    """Have Ctrl-C and SIGTERM end the run of ``deadline`` for the length of the block; yields whether one came.

    Not an exception: that could come at any place, also where nobody waits for the run's end.
    """
    came = threading.Event()

    def end(*_: object) -> None:
        if not came.is_set():
            came.set()
            deadline.shorten(0.0, "cancelled")

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Outcome:
    report: RunReport | None = None
    error: BaseException | None = None
