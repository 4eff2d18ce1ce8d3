"""What one run may use: processes, memory, file size, time, and a deadline that shortens it while it lasts."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.containment.limits import Deadline
from tests.bench.test_supervised import RUN_AWAY, python, supervise, until

BOMB = """
import os, sys, time
ends = time.monotonic() + 20
tokens, write = os.pipe()
os.write(write, b"x" * 3000)  # no test is to take the machine down: that many forks and no more
os.set_blocking(tokens, False)
if sys.argv[1] == "orphans" and os.fork():
    os._exit(0)
while time.monotonic() < ends:
    try:
        os.read(tokens, 1)
        child = os.fork()
    except OSError:
        time.sleep(0.01)
        continue
    if child == 0 and sys.argv[1] == "sessions":
        os.setsid()
"""
MEMORY = """
import os, sys, time
kept = []
for _ in range(int(sys.argv[1])):
    child = os.fork() if sys.argv[2] == "apart" else 0
    if child == 0:
        for _ in range(int(sys.argv[3]) // 10):
            kept.append(b"x" * 10_000_000)
        if sys.argv[2] == "apart":
            time.sleep(300)
if sys.argv[2] == "shared":
    for _ in range(10):
        if os.fork() == 0:
            time.sleep(1.5)
            os._exit(0)
    for _ in range(10):
        os.wait()
    sys.exit(0)
time.sleep(300)
"""
"""Argument 1 times argument 3 megabytes: in one process, in one each, or in one that shares them with ten children."""
MB = 1_000_000


@pytest.mark.parametrize("kind", ["group", "sessions", "orphans"])
def test_a_fork_bomb_is_stopped_and_leaves_nothing(
    tmp_path: Path, processes_with: Callable[[str], list[str]], kind: str
) -> None:
    report = supervise(tmp_path / "w", *python(BOMB, kind, tmp_path), processes=100)
    # Orphans of a command that has ended are none of its own running time.
    assert report.stopped_by == (None if kind == "orphans" else "processes")
    assert report.left == 0
    assert processes_with(str(tmp_path)) == []


def test_threads_count_as_processes(tmp_path: Path) -> None:
    script = "import threading, time\nfor _ in range(150): threading.Thread(target=time.sleep, args=(300,)).start()"
    assert supervise(tmp_path / "w", *python(script), processes=100).stopped_by == "processes"
    assert supervise(tmp_path / "x", *python(script), processes=None, wall_limit_s=1).stopped_by == "walltime"


@pytest.mark.parametrize(
    ("arguments", "stopped_by"),
    [((1, "alone", 400), "memory"), ((4, "apart", 100), "memory"), ((1, "shared", 200), None)],
)
def test_the_memory_of_all_processes_together_is_limited_and_shared_pages_count_once(
    tmp_path: Path, arguments: tuple[int, str, int], stopped_by: str | None
) -> None:
    report = supervise(tmp_path / "w", *python(MEMORY, *arguments), memory_bytes=300 * MB)
    assert report.stopped_by == stopped_by
    assert report.exit_code == (0 if stopped_by is None else -signal.SIGKILL)


def test_reserved_address_space_is_no_memory(tmp_path: Path) -> None:
    script = (
        "import mmap; reserved = mmap.mmap(-1, 2**36, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000); print('fine')"
    )
    assert supervise(tmp_path / "w", *python(script), memory_bytes=300 * MB).exit_code == 0


def test_a_file_cannot_grow_beyond_its_limit(tmp_path: Path) -> None:
    report = supervise(tmp_path / "w", "sh", "-c", "exec yes > big", file_bytes=MB)
    assert (tmp_path / "w" / "big").stat().st_size == MB
    assert (report.exit_code, report.stopped_by) == (-signal.SIGXFSZ, None)


def test_the_first_of_two_limits_of_time_wins(tmp_path: Path) -> None:
    def stopped_by(wall_limit_s: float, deadline: Deadline) -> str | None:
        return supervise(tmp_path / "w", "sleep", "60", wall_limit_s=wall_limit_s, deadline=deadline).stopped_by

    assert stopped_by(20, Deadline(0.3)) == "capped"
    assert stopped_by(0.3, Deadline(20)) == "walltime"
    cancelled = Deadline(20)
    cancelled.shorten(0.3, "cancelled")
    assert stopped_by(20, cancelled) == "cancelled"


def test_a_leash_only_ever_shortens(tmp_path: Path) -> None:
    deadline = Deadline()
    assert deadline.cap_s is None
    deadline.shorten(0.5, "capped")
    deadline.shorten(30, "capped")
    deadline.shorten(0.4, "cancelled")
    assert deadline.cap_s == 0.5
    report = supervise(tmp_path / "w", "sleep", "60", deadline=deadline)
    assert report.stopped_by == "cancelled"


@pytest.mark.parametrize("reason", ["capped", "cancelled"])
def test_a_run_is_stopped_from_another_thread_while_it_lasts(tmp_path: Path, reason: Any) -> None:
    deadline = Deadline()

    def shorten() -> None:
        until((tmp_path / "w" / "began").exists)
        deadline.shorten(300, reason)
        deadline.shorten(0, reason)

    thread = threading.Thread(target=shorten)
    thread.start()
    report = supervise(tmp_path / "w", "sh", "-c", "touch began; exec sleep 60", deadline=deadline)
    thread.join()
    assert (report.stopped_by, report.exit_code) == (reason, -signal.SIGTERM)


def test_a_cap_is_counted_from_the_start_of_the_run(tmp_path: Path) -> None:
    deadline = Deadline()
    timer = threading.Timer(0.5, deadline.shorten, (1.0, "capped"))
    timer.start()
    report = supervise(tmp_path / "w", "sleep", "60", deadline=deadline)
    timer.join()
    assert report.stopped_by == "capped"
    assert report.wall_ms >= 1000


def test_a_run_that_ends_while_its_limit_is_shortened_ends_as_it_would(tmp_path: Path) -> None:
    """The moment of the normal end, that in which its left-overs are ended, and a new limit each millisecond."""
    deadline = Deadline()
    done = threading.Event()

    def shorten() -> None:
        for seconds in range(10_000, 5_000, -1):
            if done.is_set():
                break
            deadline.shorten(seconds, "capped")
            time.sleep(0.001)
        deadline.shorten(0, "cancelled")

    thread = threading.Thread(target=shorten)
    thread.start()
    report = supervise(tmp_path / "w", *python(RUN_AWAY, "", "leave"), deadline=deadline)
    done.set()
    thread.join()
    assert (report.stopped_by, report.exit_code) == (None, 0)
    deadline.shorten(0, "capped")
