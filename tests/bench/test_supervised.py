"""Tests of the supervisor, on real processes that are really killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.limits import Limits
from bench.strays import MARK
from bench.supervised import RunReport, run_supervised
from bench.workdirs import is_in_use
from planner.errors import BenchError

RUN_AWAY = """
import os, signal, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(300)  # holds stdout open all the while
    os._exit(0)
if sys.argv[2] == "stay":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(300)
"""


def supervise(
    work_dir: Path, *command: str, wall_limit_s: float = 20, environment: dict[str, str] | None = None
) -> RunReport:
    work_dir.mkdir(exist_ok=True)
    return run_supervised(
        command,
        run_dir=work_dir,
        work_dir=work_dir,
        environment=environment or {"PATH": os.environ["PATH"]},
        log_path=work_dir / "log",
        limits=Limits(wall_limit_s),
        grace_s=0.3,
    )


def until(condition: Callable[[], object], patience_s: float = 10) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_the_report_tells_exit_code_time_and_output(tmp_path: Path) -> None:
    script = "import time; print('hello'); sum(range(3_000_000)); time.sleep(0.2); raise SystemExit(3)"
    report = supervise(tmp_path / "w", sys.executable, "-S", "-c", script)
    assert (report.exit_code, report.stopped_by, report.left) == (3, None, 0)
    assert 200 <= report.wall_ms < 5000
    assert 20 <= report.cpu_ms < 3000
    assert (tmp_path / "w" / "log").read_text() == "hello\n"


def test_the_command_sees_the_given_environment_and_default_signals_only(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
    supervise(tmp_path / "w", "sh", "-c", "env; grep SigIgn /proc/self/status", environment=environment)
    *lines, ignored = (tmp_path / "w" / "log").read_text().splitlines()
    expected = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", f"PWD={tmp_path / 'w'}", f"{MARK}={tmp_path / 'w'}"}
    assert set(lines) - {"_=/usr/bin/env"} == expected
    # The C library itself ignores two signals above 31 in what it spawns.
    assert int(ignored.split()[1], 16) & 0x7FFFFFFF == 0


def test_a_command_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="cannot start 'no-such-command': No such file"):
        supervise(tmp_path / "w", "no-such-command")


@pytest.mark.parametrize("root", ["stay", "leave"])
def test_a_run_away_that_forks_twice_and_ignores_sigterm_is_gone_when_the_run_ends(
    tmp_path: Path, processes_with: Callable[[str], list[str]], root: str
) -> None:
    report = supervise(tmp_path / "w", sys.executable, "-S", "-c", RUN_AWAY, str(tmp_path), root, wall_limit_s=1.5)
    assert report.stopped_by == ("walltime" if root == "stay" else None)
    assert report.exit_code == (-signal.SIGKILL if root == "stay" else 0)
    assert report.left == 0
    assert processes_with(str(tmp_path)) == []


def test_killing_the_worker_kills_the_run_and_removes_its_directory(
    tmp_path: Path, processes_with: Callable[[str], list[str]]
) -> None:
    work_dir = tmp_path / "w"
    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from tests.bench.test_supervised import supervise, RUN_AWAY;"
            "supervise(Path(sys.argv[1]), sys.executable, '-S', '-c', RUN_AWAY, sys.argv[1] + '/run-away', 'stay')",
            str(work_dir),
        ],
        cwd=Path(__file__).parents[2],
    )
    # The command, its child's child, and the supervisor, which bears both arguments too.
    until(lambda: len(processes_with(f"{work_dir}/run-away")) >= 3)
    assert is_in_use(work_dir)
    worker.kill()
    worker.wait()
    until(lambda: not processes_with(str(work_dir)))
    assert not work_dir.exists()


def test_a_supervisor_that_is_killed_itself_is_reported_as_lost_and_its_run_is_ended(
    tmp_path: Path, processes_with: Callable[[str], list[str]]
) -> None:
    with pytest.raises(BenchError, match="supervisor of 'sh' was lost"):
        supervise(tmp_path / "w", "sh", "-c", f"kill -9 $PPID; exec tail -f {tmp_path / 'w' / 'log'}")
    until(lambda: not processes_with(str(tmp_path)))
