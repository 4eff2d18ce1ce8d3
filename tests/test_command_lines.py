"""Every command line of the README and the tutorial runs, in its order, or is listed here with the reason why not.

A command runs as it stands, with what SMALLER adds to it: fewer epochs, fewer cases, for all to take minutes.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("docs/tutorial.md", "README.md")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LEFT_OUT = {
    "make run": "it is tests/bench/test_quickstart.py",
    "make test": "it is what runs this test",
    "pip install": "it would change the environment that the tests run in; .ci/check_wheel installs",
    "cd ": "the session is in that directory",
    "export RAY_AUTH_MODE": "with the head that it is for: tests/cluster/test_head.py",
    "ray start": "tests/cluster/test_head.py starts heads of its own on ports that are free",
    "ray job submit": "tests/cluster/test_head.py submits a job",
    "ray stop": "it would stop every Ray on this machine",
    "planner bench --k 4 --limit 12": "it needs that head: tests/cluster/test_head.py",
    "planner cluster": "tests/cluster/test_manifests.py checks what it prints",
    "planner bench TABLES": "TABLES are recorded runs, which are no part of this project: tests/bench/test_replay.py",
    "python -m benchmarks.replay TABLES": "the same tables: tests/bench/test_replay.py",
    "torchrun": "tests/planner/test_training.py runs the same loop without Ray",
    'PATH="$(planner sandbox tools)': "tests/bench/test_sandbox_planner.py runs the stand-in with a bundle",
}
"""Start of a command line -> why it is not run here."""
SMALLER = {
    "planner sandbox create": "--issues 16 --runs 12",
    "planner train": "--set epochs=2 --workers 1",
    "planner train --arch structural": "--workers 1",
    "planner train kernel-dataset": "--set epochs=1 --workers 1 --set model.layers=1 --set model.d_model=32",
    "planner bench sim": "--limit 30 --k 3",
    "planner bench": "--limit 2 --k 2",
    "planner compare": "--seeds 1 --set epochs=2 --policies heuristic,mlp_planner",
    "planner tune": "--trials 2 --epochs 2",
    "planner ablate": "--axes action_head --set epochs=2",
    "planner run": "--once",
    "planner simulate": "--runs 300 --issues 60 --open 40",
}
"""Start of a command line -> options that come after its own; of the longest start that fits."""


def commands(page: str) -> list[str]:
    """The command lines of a page, in order: lines after `$ ` with what continues them, and all lines of sh blocks."""
    found: list[str] = []
    for language, block in BLOCK.findall((ROOT / page).read_text("utf-8")):
        lines = [without_comment(line) for line in block.splitlines()]
        for line, next_line in zip(lines, [*lines[1:], ""], strict=True):
            if line.startswith("$ "):
                # A quote that is still open goes on in the next line.
                found.append(f"{line}\n{next_line}"[2:] if line.count("'") % 2 else line[2:])
            elif language == "sh":
                found.append(line)
    return found


def without_comment(line: str) -> str:
    """A command line without what it says of itself."""
    return re.sub(r"\s+# .*$", "", line)


def reason_to_leave_out(command: str) -> str | None:
    return next((reason for start, reason in LEFT_OUT.items() if command.startswith(start)), None)


def smaller(command: str) -> str:
    """The command with what makes it small; before an input that is redirected."""
    starts = [start for start in SMALLER if command.startswith(start)]
    return f"{command} {SMALLER[max(starts, key=len)]}" if starts else command


@pytest.mark.slow
def test_every_command_of_the_tutorial_and_then_of_the_readme_runs_in_its_order(tmp_path: Path) -> None:
    """In a sandbox's directory, that is: the tutorial makes it. What stands in both runs once."""
    bin_directory = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{bin_directory}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}
    every = [command.strip() for page in PAGES for command in commands(page)]
    wanted = [command for command in dict.fromkeys(every) if reason_to_leave_out(command) is None]
    assert wanted[0].startswith("planner sandbox create my-repo") and len(wanted) > 30
    for number, command in enumerate(wanted):
        place = tmp_path / "my-repo" if number else tmp_path
        done = subprocess.run(
            smaller(command), shell=True, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        # A sandbox's busy machine may spoil an execution, and a bench then ends with 1; everything else is 0.
        allowed = (0, 1) if command.startswith("planner bench") else (0,)
        assert done.returncode in allowed, f"{smaller(command)}\n{done.stdout.decode()[-3000:]}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_found_and_each_that_is_left_out_is_there(page: str) -> None:
    found = commands(page)
    assert len(found) > 10 and not any("#" in command for command in found if "python" not in command)


def test_no_reason_is_left_of_a_command_that_is_gone() -> None:
    text = "".join((ROOT / page).read_text("utf-8") for page in PAGES)
    assert [start for start in LEFT_OUT if start not in text] == []
    assert [start for start in SMALLER if start not in text] == []
