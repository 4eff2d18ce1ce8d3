"""Tables fit the terminal without cutting a value; every column is explained."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import planner.evaluation.metrics
import planner.scoring.regret  # noqa: F401 # registers its metrics
from planner.cli import app
from planner.commands.explain import meanings
from planner.display.table import print_table
from planner.errors import UsageError
from planner.manner import MANNER
from planner.scoring.metric import Shown, columns

ROOT = Path(__file__).parents[1]
TITLES = ("policy", "time s", "regret [95 %]", "pass")
ROWS = [["the structural one", "12.5", "0.012 [-0.100, 0.120]", "0.9"], ["x", "3.0", "0.500 [0.400, 0.600]", "0.1"]]


@pytest.mark.parametrize("width", [20, 30, 45, 60, 80])
def test_columns_are_left_out_by_their_importance_and_no_value_is_cut(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(TITLES, ROWS, first=("regret [95 %]",))
    *table, last = capsys.readouterr().out.splitlines()
    text = "\n".join(table)
    assert all(len(line) <= width for line in table) and "…" not in text
    assert ("0.012 [-0.100, 0.120]" in text) == (width >= 45)
    if width == 45:
        assert "time s" not in text  # it stands further left, but matters less
    left_out = last.removeprefix("left out for want of room: ").partition(" (--wide")[0] if "left out" in last else ""
    for name in TITLES:
        assert name in text or name in left_out.split(", ")


def test_a_column_without_a_value_gives_its_room_to_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    print_table(("policy", "regret", "time s"), [["heuristic", "-", "12.5"]], first=("regret",))
    assert "12.5" in capsys.readouterr().out


def test_wide_and_a_pipe_have_every_column(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table(TITLES, ROWS)
    piped = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr(MANNER, "wide", True)
    print_table(TITLES, ROWS)
    assert capsys.readouterr().out == piped
    assert all(value in piped for row in ROWS for value in row) and "left out" not in piped


def titles_in_code() -> Iterator[str]:
    """Column titles that stand in the code of tables as text."""
    for path in [*(ROOT / "planner/display").glob("*.py"), ROOT / "bench/engine/display.py", ROOT / "tune/cli.py"]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            target = getattr(node, "targets", [None])[0]
            if isinstance(node, ast.Assign) and getattr(target, "id", "") in ("titles", "names"):
                yield from _texts(ast.walk(node.value))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print_table":
                yield from _texts(getattr(node.args[0], "elts", []))


def _texts(nodes: Iterable[ast.AST]) -> Iterator[str]:
    yield from (one.value for one in nodes if isinstance(one, ast.Constant) and isinstance(one.value, str))


def test_every_column_is_explained() -> None:
    tables: tuple[Shown, ...] = ("evaluate", "compare", "bench")
    found = {metric.title for table in tables for metric in columns(table)}
    found |= {title for title in titles_in_code() if title.strip() and "[" not in title}
    assert len(found) > 50
    for title in found:
        assert meanings(title), title


def test_explain_says_what_a_word_means_lists_all_and_refuses_another() -> None:
    said = CliRunner().invoke(app, ["explain", "pass", "regret"]).stdout
    assert said == "pass regret: share of passes lost against the best executed action\n"
    assert len(CliRunner().invoke(app, ["explain"]).stdout.splitlines()) > 100
    with pytest.raises(UsageError, match="no such word"):
        meanings("flux capacitor")
