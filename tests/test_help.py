"""Help: commands in the order of the work, whole sentences within 80 columns, keys of --set, examples that parse."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from planner.cli import app
from planner.command_help import BELOW, EXAMPLES, SECTIONS
from planner.config import TrainConfig


def leaves(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for name, below in command.commands.items():
        words = f"{path} {name}".strip()
        if hasattr(below, "commands"):
            yield from leaves(below, words)
        else:
            yield words, below


COMMANDS = dict(leaves(typer.main.get_command(app)))


def shown(*words: str) -> str:
    done = CliRunner().invoke(app, [*words, "--help"], terminal_width=80)
    assert done.exit_code == 0
    return done.output


def test_commands_come_in_the_order_of_the_work_each_with_a_whole_sentence() -> None:
    listed = re.findall(r"(?m)^  ([a-z-]+) {2,}(\S.*)$", shown().partition("Begin:")[2])
    wanted = [(name, text) for commands in SECTIONS.values() for name, text in commands.items()]
    assert listed == wanted
    assert {name.split()[0] for name in COMMANDS} == {name for name, _ in listed}
    for group in {name.split()[0] for name in COMMANDS if " " in name}:
        assert "..." not in shown(group).partition("Commands:")[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_help_is_whole_and_ends_in_examples(name: str) -> None:
    help = shown(*name.split())
    first = re.sub(r"\s+", " ", help.split("\n\n")[1]).strip()
    assert first.endswith((".", "}")) and "..." not in first
    assert help.rstrip().splitlines()[-1].strip() == EXAMPLES[name][-1]
    assert all(len(line) <= 80 for line in help.partition("Examples:")[0].splitlines())
    assert " " not in name or name in BELOW


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_an_example_is_a_command_line_that_there_is(line: str) -> None:
    for part in re.split(r" \| | > | < ", line):
        words = shlex.split(part)
        if words[0] != "planner":
            continue  # a command that reads what ours prints, or is given ours in its environment
        name = " ".join(words[1:3]) if " ".join(words[1:3]) in COMMANDS else words[1]
        rest = words[1 + len(name.split()) :]
        COMMANDS[name].make_context(name, rest)


def test_the_keys_of_set_are_listed_where_it_is_taken() -> None:
    for name in ("train", "compare", "ablate"):
        keys = re.findall(r"(?m)^  ([a-z_]+) {2,}\S", shown(name).partition("Settings of --set:")[2])
        assert set(TrainConfig.model_fields) - {"class_path", "model"} < set(keys)
        assert "model.loops=4" in shown(name)
