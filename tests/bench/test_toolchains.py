"""Tests of finding agent tools and of the wrappers that log their launches."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.containment import fast_python as programs
from bench.executors.cyntra.toolchains import hide_tracker, read_launches, write_wrappers
from planner.artifacts.toolchains import Toolchain, find_toolchains
from planner.contracts.bench import Launch

ENDED_MS = 10**15


class WrappedTool:
    """A tool made of a script, behind its wrapper."""

    def __init__(self, directory: Path, script: str) -> None:
        tool = directory / "a tool's file"
        tool.write_text(script)
        tool.chmod(0o755)
        self.log = directory / "launches.jsonl"
        self.path = write_wrappers(directory / "wrappers", [Toolchain("codex", "codex", tool)], self.log)["codex"]

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([self.path, *arguments], input=stdin, capture_output=True)

    def launches(self, ended_ms: int = ENDED_MS) -> list[Launch]:
        return read_launches(self.log, ended_ms)


def test_stdin_arguments_output_and_exit_code_pass_through(tmp_path: Path) -> None:
    script = '#!/bin/sh\ncat; for a in "$@"; do printf "[%s]" "$a"; done; echo err >&2; exit 7\n'
    hostile = ["a b", "$(touch pwned)", "'\"\n;", ""]
    done = WrappedTool(tmp_path, script).run(*hostile, stdin=b"in\0put")
    assert done.stdout == b"in\0put" + "".join(f"[{a}]" for a in hostile).encode()
    assert (done.stderr, done.returncode) == (b"err\n", 7)


def test_a_launch_is_logged_with_time_exit_code_and_cost(tmp_path: Path) -> None:
    tool = WrappedTool(
        tmp_path, "#!/bin/sh\nsleep 0.2\necho '{\"cost\": 1}'\necho '{\"cost\": 0.25}'\necho bye\nexit 1\n"
    )
    before = time.time() * 1000
    tool.run()
    (launch,) = tool.launches()
    assert (launch.tool, launch.exit_code, launch.cost_usd) == ("codex", 1, 0.25)
    assert before - 1 <= launch.started_ms <= before + 5000
    assert 200 <= launch.duration_ms < 5000


@pytest.mark.parametrize(
    ("line", "cost"),
    [('{"total_cost_usd": 0.5}', 0.5), ('{"cost": "much"}', None), ("{not json}", None), ("[1]", None), ("", None)],
)
def test_the_cost_is_what_the_last_json_line_says(tmp_path: Path, line: str, cost: float | None) -> None:
    tool = WrappedTool(tmp_path, f"#!/bin/sh\nprintf '%s\\n' '{line}'\n")
    tool.run()
    assert tool.launches()[0].cost_usd == cost


def test_much_output_is_copied_whole(tmp_path: Path) -> None:
    tool = WrappedTool(tmp_path, "#!/bin/sh\nhead -c 3000000 /dev/zero\necho\necho '{\"cost\": 2}'\n")
    assert len(tool.run().stdout) == 3_000_013
    assert tool.launches()[0].cost_usd == 2


def test_a_tool_whose_reader_is_gone_ends_as_without_the_wrapper(tmp_path: Path) -> None:
    tool = WrappedTool(tmp_path, "#!/bin/sh\nexec yes\n")
    process = subprocess.Popen([tool.path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(timeout=10) == -signal.SIGPIPE


def test_signals_reach_the_tool_and_its_death_is_passed_on(tmp_path: Path) -> None:
    graceful = WrappedTool(tmp_path, "#!/bin/sh\ntrap 'exit 42' TERM\necho ready\nwhile :; do sleep 0.05; done\n")
    process = subprocess.Popen([graceful.path], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.terminate()
    assert process.wait(timeout=10) == 42
    (tmp_path / "second").mkdir()
    killed = WrappedTool(tmp_path / "second", "#!/bin/sh\nkill -9 $$\n")
    assert killed.run().returncode == -signal.SIGKILL
    assert killed.launches()[0].exit_code == -signal.SIGKILL


@pytest.mark.parametrize("whole_group", [False, True])
def test_sigkill_of_the_wrapper_kills_the_tool_and_the_launch_is_known(tmp_path: Path, whole_group: bool) -> None:
    tool = WrappedTool(tmp_path, "#!/bin/sh\necho $$\nexec sleep 300\n")
    process = subprocess.Popen([tool.path], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    time.sleep(0.2)
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    deadline = time.monotonic() + 5
    while tool.log.read_text().count("\n") < 2 or Path(f"/proc/{pid}/cmdline").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (launch,) = tool.launches()
    assert launch.exit_code is None
    assert 200 <= launch.duration_ms < 5000


def test_a_launch_that_never_logged_its_end_lasted_until_the_end_of_the_run(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f'{{"launch":"1","event":"start","tool_hex":"{b"codex".hex()}","at_ms":1000}}\n')
    (launch,) = read_launches(log, 4000)
    assert (launch.duration_ms, launch.exit_code, launch.cost_usd) == (3000, None, None)


def test_a_launch_whose_end_was_logged_by_the_tool_and_its_guard_counts_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    end = '{"launch":"1","event":"end","elapsed_ms":%d,"exit_code":%s,"json_line_hex":""}\n'
    start = f'{{"launch":"1","event":"start","tool_hex":"{b"codex".hex()}","at_ms":1000}}\n'
    log.write_text(start + end % (50, "0") + end % (51, "null"))
    (launch,) = read_launches(log, 4000)
    assert (launch.duration_ms, launch.exit_code) == (50, 0)


def test_launches_side_by_side_are_all_logged(tmp_path: Path) -> None:
    tool = WrappedTool(tmp_path, "#!/bin/sh\necho '{\"cost\": 0.5}'\n")
    processes = [subprocess.Popen([tool.path], stdout=subprocess.DEVNULL) for _ in range(12)]
    assert [process.wait() for process in processes] == [0] * 12
    assert sum(launch.cost_usd or 0 for launch in tool.launches()) == 6


def test_an_interpreter_whose_path_is_long_or_has_spaces_still_starts_the_wrapper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "LONGEST_SHEBANG", 0)
    assert WrappedTool(tmp_path, "#!/bin/sh\nexit 9\n").run().returncode == 9


def test_toolchains_are_found_in_order_of_priority_unless_disabled_or_missing(tmp_path: Path) -> None:
    for name in ("claude", "codex", "crush", "by-path", "other-name"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    config = {
        "toolchain_priority": ["crush", "claude", "opencode"],
        "toolchains": {
            "codex": {"enabled": False, "path": "codex"},
            "claude": {"path": str(tmp_path / "by-path")},
            "opencode": {"path": "opencode"},
            "local": {"command": "other-name --flag"},
            "relative": {"path": "./by-path"},
        },
    }
    found = find_toolchains(config, tmp_path, str(tmp_path))
    assert [(tool.name, tool.executable.name, tool.is_path) for tool in found] == [
        ("crush", "crush", False),
        ("claude", "by-path", True),
        ("local", "other-name", False),
        ("relative", "by-path", True),
    ]


def test_the_trackers_command_line_can_be_hidden_from_a_run(tmp_path: Path) -> None:
    hide_tracker(tmp_path)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["sh", "-c", "bd list --json"], env={"PATH": path}, capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"")


def test_a_wrapper_costs_little(tmp_path: Path) -> None:
    tool = WrappedTool(tmp_path, "#!/bin/sh\n")

    def cpu_ms(*command: str) -> float:
        process = os.posix_spawn(command[0], command, os.environ)
        usage = os.wait4(process, 0)[2]
        return (usage.ru_utime + usage.ru_stime) * 1000

    empty = min(cpu_ms(sys.executable, "-S", "-E", "-c", "") for _ in range(10))
    # Twice a Python that does nothing; the smallest of ten, because other processes share the machine.
    assert min(cpu_ms(str(tool.path)) for _ in range(10)) < 2 * empty
