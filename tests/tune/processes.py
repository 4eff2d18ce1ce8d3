"""Real `planner` commands as children of a test, and a look at what they leave behind."""

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

BIN = Path(sys.executable).parent
MARK = "PLANNER_TEST_MARK"
ENDING_S = 60.0
"""How long Ray's processes may take to end on a busy machine."""
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Processes of Ray that hold no work and look only once a minute whether the one that started them was killed."""


def new_environment() -> dict[str, str]:
    """An environment without this session's Ray, marked so that every descendant can be found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    path = os.pathsep.join([str(BIN), kept.get("PATH", "")])
    return {
        **kept,
        "PATH": path,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": uuid.uuid4().hex * 2,
        "COLUMNS": "200",
        MARK: uuid.uuid4().hex,
    }


def start_planner(
    environment: dict[str, str], *arguments: object, program: tuple[str, ...] = (str(BIN / "planner"),)
) -> subprocess.Popen[str]:
    """`planner ARGUMENTS` in a process group of its own."""
    return subprocess.Popen(
        [*program, *map(str, arguments)],
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_planner(environment: dict[str, str], *arguments: object) -> tuple[int, str]:
    """The exit code of `planner ARGUMENTS` and everything it printed."""
    process = start_planner(environment, *arguments)
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def wait_until(condition: Callable[[], bool], limit_s: float, what: str) -> None:
    """Poll until ``condition`` holds; AssertionError that names ``what`` after ``limit_s`` seconds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
        time.sleep(0.1)


def survivors(environment: dict[str, str]) -> list[str]:
    """The command lines of all living processes that inherited ``environment``."""
    found = []
    for pid in processes_with(MARK, environment):
        with contextlib.suppress(OSError):  # it ended while we looked
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[:120])
    return found


def processes_with(variable: str, environment: dict[str, str]) -> list[int]:
    """All living processes that have the variable of the environment with this value."""
    pair = f"{variable}={environment[variable]}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended while we looked, or belongs to somebody else
            if pair in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def assert_nothing_left(environment: dict[str, str], besides: tuple[str, ...] = ()) -> None:
    """Every process that inherited ``environment`` ends by itself, except those whose names begin with ``besides``."""

    def left() -> list[str]:
        return [name for name in survivors(environment) if name and not name.startswith(besides)]

    wait_until(lambda: not left(), ENDING_S, f"end of {left()}")
