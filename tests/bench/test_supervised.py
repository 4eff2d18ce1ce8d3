"""Tests of the supervisor, on real processes that are really killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.containment.limits import Deadline, Limits
from bench.containment.run_supervised import RunReport, run_supervised
from bench.containment.strays import MARK, kill_strays
from bench.containment.workdirs import is_in_use
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
DETACH = {
    "forks twice": "double_fork()",
    "ignores SIGTERM": "fork(); signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "leaves its session": "fork(); os.setsid(); double_fork()",
    "leaves its group": "fork(); os.setpgid(0, 0)",
    "closes every file": "double_fork(); os.closerange(0, 100)",
    "changes its name": "double_fork(); arguments[0] = 'sshd: nobody'",
    "forgets its environment": "double_fork(); environment.clear()",
    "keeps its environment alone": "double_fork(); os.setsid(); os.closerange(0, 100); os.chdir('/')",
    "all of it": "double_fork(); os.setsid(); double_fork(); signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "os.closerange(0, 100); os.chdir('/'); arguments[0] = 'sshd: nobody'; environment.clear()",
}
"""What a process does to get away from those who started it."""
ESCAPE = """
import os, signal, sys, time

def fork():
    if os.fork():
        end()

def double_fork():
    if os.fork() == 0:
        if os.fork() == 0:
            return
        os._exit(0)
    end()

def end():
    if os.getpid() == root and sys.argv[3] == "stay":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(300)
    os._exit(0)

root, supervisor = os.getpid(), os.getppid()
arguments, environment = [sys.executable], dict(os.environ)
exec(sys.argv[2])
with open(sys.argv[1] + ".new", "w") as file:
    file.write(f"{os.getpid()} {root} {supervisor}")
os.rename(sys.argv[1] + ".new", sys.argv[1])
os.execve(sys.executable, [*arguments, "-S", "-c", "import time; time.sleep(300)", sys.argv[1]], environment)
"""
"""Gets away as told by argument 2, then notes in the file of argument 1: its own number, the command's, its parent's.

The command ends or stays, as argument 3 says.
"""


def supervise(
    work_dir: Path,
    *command: str,
    wall_limit_s: float = 20,
    environment: dict[str, str] | None = None,
    deadline: Deadline | None = None,
    **limits: Any,
) -> RunReport:
    work_dir.mkdir(exist_ok=True)
    return run_supervised(
        command,
        run_dir=work_dir,
        work_dir=work_dir,
        environment=environment or {"PATH": os.environ["PATH"]},
        log_path=work_dir / "log",
        limits=Limits(wall_limit_s, **limits),
        deadline=deadline,
        grace_s=0.3,
    )


def python(script: str, *arguments: object) -> list[str]:
    return [sys.executable, "-S", "-c", script, *map(str, arguments)]


def until(condition: Callable[[], object], patience_s: float = 10) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_alive(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return False
    return stat[stat.rindex(b")") + 2 :][:1] not in (b"Z", b"X")


def parent_of(process: int) -> int:
    stat = Path(f"/proc/{process}/stat").read_bytes()
    return int(stat[stat.rindex(b")") + 2 :].split()[1])


class Worker:
    """A process of its own that supervises an escape, and the numbers of all who matter."""

    def __init__(self, work_dir: Path, escape: str, root: str = "stay") -> None:
        note = work_dir.with_name("note")
        script = (
            "import sys; from pathlib import Path; from tests.bench.test_supervised import *\n"
            "supervise(Path(sys.argv[1]), *python(ESCAPE, *sys.argv[2:]))"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, str(work_dir), str(note), escape, root], cwd=Path(__file__).parents[2]
        )
        until(note.exists)
        self.escaped, self.root, self.supervisor = map(int, note.read_text().split())
        self.guard = parent_of(self.supervisor)

    def kill(self, *names: str) -> None:
        """At once: a guard that lives on sees the others dead together."""
        if "guard" not in names:
            os.kill(self.guard, signal.SIGSTOP)
        for name in names:
            os.kill(self.process.pid if name == "worker" else getattr(self, name), signal.SIGKILL)
        if "guard" not in names:
            os.kill(self.guard, signal.SIGCONT)


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
    command = python(RUN_AWAY, tmp_path, root)
    report = supervise(tmp_path / "w", *command, wall_limit_s=1.5 if root == "stay" else 20)
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
    # The command and its child's child.
    until(lambda: len(processes_with(f"{work_dir}/run-away")) >= 2)
    assert is_in_use(work_dir)
    worker.kill()
    worker.wait()
    until(lambda: not processes_with(str(work_dir)))
    # The last that the supervisor does, whose command line is the fork server's.
    until(lambda: not work_dir.exists())


@pytest.mark.parametrize(
    "victims",
    [
        ["worker"],
        ["supervisor"],
        ["guard"],
        ["worker", "supervisor"],
        ["supervisor", "worker"],
        ["worker", "guard"],
        ["root", "guard"],
    ],
    ids="+".join,
)
def test_killing_any_of_those_who_stand_over_a_run_leaves_nothing_of_it(tmp_path: Path, victims: list[str]) -> None:
    worker = Worker(tmp_path / "w", DETACH["all of it"])
    worker.kill(*victims)
    until(lambda: not any(map(is_alive, (worker.escaped, worker.root, worker.supervisor, worker.guard))))
    if "worker" in victims:
        assert worker.process.wait() == -signal.SIGKILL
        assert not (tmp_path / "w").exists()
    else:
        assert worker.process.wait() in (0, 1)


def test_a_supervisor_that_is_stopped_goes_on(tmp_path: Path) -> None:
    report = supervise(tmp_path / "w", "sh", "-c", "kill -STOP $PPID; sleep 60", wall_limit_s=0.5)
    assert report.stopped_by == "walltime"


def test_a_guard_that_the_run_has_stopped_delays_nothing(tmp_path: Path) -> None:
    began = time.monotonic()
    script = "import os; status = open(f'/proc/{os.getppid()}/stat').read(); os.kill(int(status.split()[3]), 19)"
    assert supervise(tmp_path / "w", *python(script)).exit_code == 0
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("escape", "found"),
    [("keeps its environment alone", True), ("forgets its environment", True), ("all of it", False)],
)
def test_when_guard_and_supervisor_are_killed_at_once_marked_processes_and_those_that_work_there_are_found(
    tmp_path: Path, escape: str, found: bool
) -> None:
    worker = Worker(tmp_path / "w", DETACH[escape])
    try:
        os.kill(worker.process.pid, signal.SIGSTOP)
        os.kill(worker.guard, signal.SIGSTOP)
        worker.kill("supervisor", "guard")
        # The command itself dies with its supervisor: PR_SET_PDEATHSIG.
        until(lambda: not is_alive(worker.root))
        assert is_alive(worker.escaped)
        kill_strays(tmp_path / "w")
        if found:
            until(lambda: not is_alive(worker.escaped))
    finally:
        worker.process.kill()
        worker.process.wait()
        if is_alive(worker.escaped):
            os.kill(worker.escaped, signal.SIGKILL)


def test_strays_are_not_those_who_look_on_from_a_terminal_or_work_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "log").touch()
    elsewhere = subprocess.Popen(["sleep", "300"], cwd=tmp_path)
    with open(tmp_path / "w" / "log", "ab") as log:  # noqa: PTH123
        stray = subprocess.Popen(["sleep", "300"], stdout=log, start_new_session=True)
    leader, terminal = os.openpty()
    name = os.ttyname(terminal)
    viewer = subprocess.Popen(
        # To open a terminal as a session's leader makes it this session's own.
        python(
            "import os, sys, time; os.setsid(); os.open(sys.argv[1], os.O_RDWR); print(flush=True); time.sleep(300)",
            name,
        ),
        cwd=tmp_path / "w",
        stdout=subprocess.PIPE,
    )
    try:
        assert viewer.stdout is not None
        viewer.stdout.readline()
        assert kill_strays(tmp_path / "w") == 1
        assert stray.wait() == -signal.SIGKILL
        assert elsewhere.poll() is None
        assert viewer.poll() is None
    finally:
        for process in (elsewhere, stray, viewer):
            process.kill()
            process.wait()
        os.close(leader)
        os.close(terminal)


def test_a_supervisor_that_is_killed_itself_is_reported_as_lost_and_its_run_is_ended(
    tmp_path: Path, processes_with: Callable[[str], list[str]]
) -> None:
    with pytest.raises(BenchError, match="supervisor of 'sh' was lost"):
        supervise(tmp_path / "w", "sh", "-c", f"kill -9 $PPID; exec tail -f {tmp_path / 'w' / 'log'}")
    until(lambda: not processes_with(str(tmp_path)))


def test_no_process_over_a_run_bears_the_secrets_of_the_users_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    script = """
import os, sys
process = os.getpid()
while process > 1 and process != int(sys.argv[1]):
    print(open(f"/proc/{process}/environ").read())
    print("run by:", open(f"/proc/{process}/cmdline").read().split("\\0")[0])
    process = int(open(f"/proc/{process}/stat").read().rpartition(")")[2].split()[1])
"""
    supervise(tmp_path / "w", *python(script, os.getpid()))
    seen = (tmp_path / "w" / "log").read_text()
    assert seen.count("run by:") == 4, "the command, its supervisor, the guard and the fork server"
    assert str(tmp_path / "w") in seen
    assert "s3cret" not in seen


def test_a_fork_server_that_is_killed_costs_no_run(tmp_path: Path) -> None:
    note = tmp_path / "note"
    # The command's parents are its supervisor, the guard, and the fork server.
    script = """
import os, sys, time
process = os.getpid()
for _ in range(3):
    process = int(open(f"/proc/{process}/stat").read().rpartition(")")[2].split()[1])
open(sys.argv[1], "w").write(str(process))
time.sleep(float(sys.argv[2]))
"""
    server = None

    def kill_server() -> None:
        until(lambda: note.exists() and note.read_text() != "")
        os.kill(int(note.read_text()), signal.SIGKILL)

    for seconds in (0.5, 0):
        killer = threading.Thread(target=kill_server)
        killer.start()
        report = supervise(tmp_path / "w", *python(script, note, seconds))
        killer.join()
        assert (report.exit_code, report.stopped_by) == (0, None)
        assert note.read_text() != server, "the next one has another number"
        server = note.read_text()
        note.unlink()


def test_a_fork_server_ends_with_the_process_it_belongs_to(tmp_path: Path) -> None:
    worker = Worker(tmp_path / "w", DETACH["all of it"])
    server = parent_of(worker.guard)
    assert parent_of(server) == worker.process.pid
    worker.kill("worker")
    until(lambda: not is_alive(server))
    worker.process.wait()


def test_a_run_that_removes_the_directory_it_works_in_is_watched_to_its_end(tmp_path: Path) -> None:
    report = supervise(tmp_path / "w", "sh", "-c", 'rm -rf "$PWD"; sleep 0.5; exit 3')
    assert (report.exit_code, report.stopped_by) == (3, None)


def test_a_command_with_a_nul_character_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="cannot start"):
        supervise(tmp_path / "w", "echo", "a\0b")
    assert supervise(tmp_path / "w", "echo", "a\\u0000b").exit_code == 0
    assert (tmp_path / "w" / "log").read_text() == "a\\u0000b\n"
