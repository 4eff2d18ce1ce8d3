"""Sentences on a terminal are broken between words; in a pipe they are one line each, whatever COLUMNS says."""

import fcntl
import os
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from planner.terminal_lines import as_shown

PLANNER = Path(sys.executable).with_name("planner")
WIDTH = 40


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, IO[str]]]:
    """A terminal of 40 columns: where to read what is shown there, and where to write."""
    monkeypatch.delenv("COLUMNS", raising=False)
    shown, end = os.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, WIDTH, 0, 0))
    with os.fdopen(end, "w") as file:
        yield shown, file
    os.close(shown)


def test_prose_is_broken_at_spaces_and_what_is_to_be_copied_is_not(terminal: tuple[int, IO[str]]) -> None:
    _, file = terminal
    sentence = "every word of this sentence is whole, and each of its lines fits"
    assert as_shown(sentence, file).split("\n") == [
        "every word of this sentence is whole,",
        "and each of its lines fits",
    ]
    path = "numbers: /a/path/that/is/longer/than/a/line/of/the/terminal.json"
    assert as_shown(path, file) == path.replace(": ", ":\n")
    command = "run: here; next: planner evaluate a/run/of/mine --bench a/ledger.sqlite"
    assert as_shown(command, file).split("\n")[-1] == command.partition("next: ")[2]
    steps = "next: Learn: planner relabel, planner train --arch structural, then judge it on the bench"
    lines = as_shown(steps, file).split("\n")
    assert any("planner train --arch structural" in line for line in lines) and max(map(len, lines)) <= WIDTH
    quoted = "make one of the runs there are with `planner bench --k 4` or wait"
    assert "`planner bench --k 4`" in as_shown(quoted, file)
    assert "\n  " in as_shown(f"  {sentence}", file), "the indent stays"
    second = as_shown(f"ok    {sentence}", file).split("\n")[1:]
    assert second and all(line.startswith("      ") for line in second), "and so does the second column"


def test_what_is_no_terminal_gets_lines_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    with (tmp_path / "log").open("w") as file:
        assert as_shown("word " * 40, file) == "word " * 40
    assert as_shown("word " * 40, None) == "word " * 40


def test_results_and_errors_of_commands_are_broken_on_a_terminal_alone(terminal: tuple[int, IO[str]]) -> None:
    shown, file = terminal
    for words in (["explain", "regret"], ["train", "nowhere"], ["relabel", "--by", "luck"]):
        subprocess.run([PLANNER, *words], stdout=file, stderr=file, stdin=subprocess.DEVNULL)
        lines = os.read(shown, 100_000).decode().replace("\r\n", "\n").rstrip("\n").split("\n")
        assert len(lines) > 1 and max(map(len, lines)) <= WIDTH, lines
        piped = subprocess.run([PLANNER, *words], capture_output=True, text=True)
        assert max(map(len, (piped.stdout + piped.stderr).split("\n"))) > WIDTH
        assert " ".join(lines).split() == (piped.stdout + piped.stderr).split()
