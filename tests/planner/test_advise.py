"""Tests of what advice is given, and when it says that there is too little to give any."""

import shutil
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from planner.cli import app
from planner.dataset.storage import load_dataset
from planner.dataset.trials import Trial, trials_of
from planner.encoding.subject import Subject
from planner.evaluation.advise import FIXED, MODEL, RULE, Interval, PlanRow, _failing, advise, in_a_sentence
from planner.policies.readings import BEST_FIXED, Gate

SURE = Interval(0.1, 0.05, 0.15)
RIGHT = Interval(0.0, -0.04, 0.03)


def sentence(*, is_open: bool, won: Interval = SURE, off: Interval = RIGHT) -> str:
    rows = [PlanRow(RULE, 0.4, 20.0, 20.0, None, None, None)]
    rows += [PlanRow(name, 0.5, 10.0, 10.0, SURE, Interval(10.0, 8.0, 12.0), won) for name in (FIXED, MODEL)]
    return in_a_sentence(rows, {"known": Gate(BEST_FIXED, 0.1, 0.01 if is_open else 0.2, 0.0, 30)}, off, listed=True)


def test_the_model_is_advised_where_its_gate_is_open_and_the_best_fixed_plan_where_not() -> None:
    assert sentence(is_open=True).startswith("Leave today's rule for the model's plans: +0.100 [+0.050, +0.150]")
    assert sentence(is_open=False).startswith("Leave today's rule for the best fixed plan (the model's gate is shut)")


@pytest.mark.parametrize("is_open", [True, False])
def test_the_rule_stays_while_nobody_can_tell_that_anything_is_better(is_open: bool) -> None:
    found = sentence(is_open=is_open, won=Interval(0.1, -0.01, 0.2))
    assert found.startswith("Too little to tell")
    assert ("asks for one standard error, this advice for two" in found) == is_open


def test_a_gain_that_the_models_own_error_may_make_up_is_none() -> None:
    assert sentence(is_open=True, off=Interval(0.0, -0.1, 0.06)).startswith("Too little to tell")


@pytest.mark.parametrize(("off", "word"), [(Interval(0.2, 0.1, 0.3), "many"), (Interval(-0.2, -0.3, -0.1), "few")])
def test_a_model_that_was_wrong_about_what_was_run_is_not_believed_about_the_rest(off: Interval, word: str) -> None:
    assert sentence(is_open=True, off=off).startswith(
        f"Keep today's rule: of plans that were run the model foresees 0.200 passes too {word}"
    )


def test_a_few_real_runs_are_too_little_to_leave_the_rule_and_the_command_says_so_on_one_screen(
    corpus_dataset: Path, tmp_path: Path
) -> None:
    advice = advise(load_dataset(corpus_dataset))
    assert advice.sentence.startswith("Too little to tell")
    numbers = tmp_path / "advice.json"
    shown = CliRunner().invoke(app, ["advise", "--dataset", str(corpus_dataset), "--out", str(numbers)])
    assert shown.exit_code == 0, shown.output
    assert "Too little to tell" in shown.output and "--select informative" in shown.output
    assert len(shown.output.splitlines()) <= 40
    assert orjson.loads(numbers.read_bytes())["sentence"] == advice.sentence


def test_a_tool_that_never_failed_is_not_said_to_fail_anywhere() -> None:
    row = Trial("", "archive", "code", "claude", Subject("1", "jobs", 60.0, ""), 0, True, 60_000, False, 1, "train")
    assert _failing(trials_of([row] * 5)) == []
    others = [row._replace(tool="codex", passed=False)] * 9
    (found,) = _failing(trials_of([*([row] * 9), *others]))
    assert (found.tool, found.passes, found.low) == ("codex", 0, 0.0)


def test_no_model_is_fitted_to_fewer_trials_than_say_anything(corpus_dataset: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    shutil.copytree(corpus_dataset, few)
    table = pq.read_table(few / "trials.parquet")
    pq.write_table(table.slice(0, 10), few / "trials.parquet")
    advice = advise(load_dataset(few))
    assert advice.sentence.startswith("Too little to say anything") and advice.tools
    assert not advice.plans and not advice.gates and not advice.to_measure
