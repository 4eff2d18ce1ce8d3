"""Running tools and gates for the stand-in kernel, so that none of their processes outlives it or a timeout."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, NamedTuple

_POLL_SECONDS = 0.004
_running: list[subprocess.Popen[bytes]] = []


class Exit(NamedTuple):
    """How a process ended; `code` is None when it ran past its limit and was killed."""

    code: int | None
    seconds: float


class GateRun(NamedTuple):
    """A gate's result."""

    exit_code: int
    milliseconds: int
    stdout: str
    stderr: str


class Interrupted(BaseException):
    """SIGTERM or SIGINT arrived."""


@contextmanager
def nothing_left_running() -> Iterator[None]:
    """Turn signals into Interrupted and kill what still runs when the block is left."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(signal.Signals(number).name)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for process in list(_running):
            kill_tree(process)
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def child_environment(extra: dict[str, str]) -> dict[str, str]:
    """The kernel's environment, its own interpreter first: a version manager's shim starts ten times slower."""
    folder = str(Path(sys.executable).parent)
    path = os.pathsep.join((folder, os.environ.get("PATH", os.defpath)))
    return {**os.environ, "PATH": path, **extra}


def start(
    command: Sequence[str], directory: Path, environment: dict[str, str], stdin: Path | None, stdout: Path, stderr: Path
) -> subprocess.Popen[bytes]:
    """Start a tool; it stays in the kernel's process group, where a driver that kills the group finds it."""
    with stdout.open("wb") as out, stderr.open("wb") as err, _opened(stdin) as source:
        process = subprocess.Popen(command, cwd=directory, env=environment, stdin=source, stdout=out, stderr=err)
    _running.append(process)
    return process


def wait_all(processes: Sequence[subprocess.Popen[bytes]], limits: Sequence[float]) -> list[Exit]:
    """Wait for every process for at most its limit in seconds from now; kill those that take longer."""
    began = time.monotonic()
    exits: dict[int, Exit] = {}
    while len(exits) < len(processes):
        for index, (process, limit) in enumerate(zip(processes, limits, strict=True)):
            if index in exits:
                continue
            code, seconds = process.poll(), time.monotonic() - began
            if code is None and seconds >= limit:
                kill_tree(process)
                exits[index] = Exit(None, seconds)
            elif code is not None:
                _running.remove(process)
                exits[index] = Exit(code, seconds)
        time.sleep(_POLL_SECONDS)
    return [exits[index] for index in range(len(processes))]


def run_gate(command: str, directory: Path) -> GateRun:
    """Run a gate's shell command; like Cyntra without a time limit."""
    began = time.monotonic()
    process = subprocess.Popen(
        command,
        shell=True,
        cwd=directory,
        env=child_environment({}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    _running.append(process)
    stdout, stderr = process.communicate()
    _running.remove(process)
    milliseconds = int(1000 * (time.monotonic() - began))
    return GateRun(process.returncode, milliseconds, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with its descendants; they are stopped first, so that none starts another meanwhile."""
    stopped: set[int] = set()
    found = {process.pid}
    while found - stopped:
        for pid in found - stopped:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGSTOP)
        stopped |= found
        found = _descendants(process.pid)
    for pid in stopped:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    if process in _running:
        _running.remove(process)


def _descendants(root: int) -> set[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in _process_table():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = [root]
    while waiting:
        for pid in children.get(waiting.pop(), []):
            found.add(pid)
            waiting.append(pid)
    return found


def _process_table() -> Iterator[tuple[int, int]]:
    """(process, parent) of every process: from /proc where there is one, else from ps."""
    if not Path("/proc/self/stat").exists():
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
        yield from ((int(line.split()[0]), int(line.split()[1])) for line in listing.splitlines())
        return
    for name in os.listdir("/proc"):  # noqa: PTH208 - Path objects for every process are slow
        if name.isdigit():
            with suppress(OSError):
                # The command's name, in brackets, may itself hold blanks and brackets.
                yield int(name), int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[bytes] | int]:
    if path is None:
        yield subprocess.DEVNULL
        return
    with path.open("rb") as file:
        yield file
