"""Results go to stdout, progress and notes to stderr; a log shows life; exit codes say what happened."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from bench.ledger import Ledger
from planner.cli import app
from planner.display.progress import PlainLines

PLANNER = Path(sys.executable).with_name("planner")


def planner(*words: object) -> subprocess.CompletedProcess[str]:
    """A command whose stdout and stderr are pipes."""
    return subprocess.run([PLANNER, *map(str, words)], capture_output=True, text=True, timeout=120)


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_a_line_at_once_then_every_ten_seconds_and_every_minute_where_nothing_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock, done = Clock(), 0
    lines = PlainLines(lambda: f"executions {done}/9", clock=clock)
    printed = []
    for second in range(200):
        clock.now, done = float(second), min(second // 3, 9)
        lines.due()
        printed += [(second, line) for line in capsys.readouterr().err.splitlines()]
    assert printed[0] == (0, "executions 0/9  (0:00)")
    assert [second for second, _ in printed] == [0, 10, 20, 30, 90, 150]
    assert printed[3][1] == "executions 9/9  (0:30)"


def test_progress_and_notes_are_on_stderr_and_the_result_alone_on_stdout(tmp_path: Path) -> None:
    made = planner("simulate", tmp_path / "a", "--runs", 30, "--issues", 8, "--open", 2)
    assert made.returncode == 0
    assert len(made.stdout.splitlines()) == 1 and made.stdout.startswith(f"{tmp_path / 'a'}: 30 runs (")
    assert made.stderr and all("runs" not in line or "/" in line for line in made.stderr.splitlines())
    quiet = planner("simulate", tmp_path / "b", "--runs", 30, "--issues", 8, "--open", 2, "--quiet", "--json")
    assert quiet.stderr == ""
    document = orjson.loads(quiet.stdout)
    assert (document["schema_version"], document["runs"], document["open_issues"]) == ("planner.simulate.v1", 30, 2)


def test_where_an_error_was_raised_is_shown_when_that_is_asked_for(tmp_path: Path) -> None:
    short = planner("relabel", tmp_path / "none.sqlite")
    assert short.returncode == 1 and short.stderr.count("\n") == 1 and short.stderr.startswith("error: ")
    long = planner("relabel", tmp_path / "none.sqlite", "-v")
    assert long.returncode == 1 and "Traceback" in long.stderr and long.stderr.endswith(short.stderr)


def test_a_ledger_without_outcomes_ends_with_three(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite"):
        pass
    done = planner("relabel", tmp_path / "ledger.sqlite")
    assert done.returncode == 3 and "no case has two finished executions yet" in done.stderr
    assert done.stdout == ""


def test_a_wrong_word_ends_with_two_and_the_version_with_none() -> None:
    assert CliRunner().invoke(app, ["relabel", "--by", "luck"]).exit_code == 2
    shown = CliRunner().invoke(app, ["--version"])
    assert shown.exit_code == 0 and shown.stdout.startswith("planner 0.")
