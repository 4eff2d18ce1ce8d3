"""kill -9 in the middle of a search, then the same command again."""

import os
import signal
from pathlib import Path

import optuna
import orjson
from optuna.trial import TrialState

from tests.tune.processes import (
    AGENTS,
    assert_nothing_left,
    new_environment,
    run_planner,
    start_planner,
    wait_until,
)
from tune.search import run_search

TRIALS, EPOCHS = 3, 40


def test_a_killed_search_resumes_with_exactly_the_missing_trials(corpus_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "tune"
    arguments = ("tune", corpus_dataset, "--trials", TRIALS, "--epochs", EPOCHS, "--workers", 1, "--out", out)
    environment = new_environment()
    process = start_planner(environment, *arguments)
    wait_until((out / "trials" / "001" / "metrics.jsonl").exists, 120, "second trial started")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert_nothing_left(environment, besides=AGENTS)
    study = optuna.load_study(study_name="planner", storage=f"sqlite:///{out / 'study.sqlite'}")
    done = [entry.user_attrs["run"] for entry in study.trials if entry.state.is_finished()]
    assert done == [0]
    kept = (out / "trials" / "000" / "run.json").read_bytes()
    begun = (out / "trials" / "001" / "metrics.jsonl").read_bytes()

    code, output = run_planner(environment, *arguments)

    assert code == 0, output
    assert f"{TRIALS} trials: " in output
    assert "1 from an earlier session" in output
    assert f"next: planner train {corpus_dataset} --config {out / 'best.yaml'}" in output
    assert sorted(path.name for path in (out / "trials").iterdir()) == ["000", "001", "002"]
    assert (out / "trials" / "000" / "run.json").read_bytes() == kept
    # The interrupted trial went on in its own run, from where it was.
    continued = (out / "trials" / "001" / "metrics.jsonl").read_bytes()
    assert continued.startswith(begun)
    epochs = [orjson.loads(line)["epoch"] for line in continued.splitlines()]
    assert epochs == sorted(set(epochs))
    states = [entry.state for entry in study.get_trials(deepcopy=False)]
    assert TrialState.RUNNING not in states
    assert TrialState.WAITING not in states
    assert sum(state in (TrialState.COMPLETE, TrialState.PRUNED) for state in states) == TRIALS
    assert_nothing_left(environment, besides=AGENTS)


def test_resuming_a_search_that_is_complete_trains_nothing(corpus_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "tune"
    first = run_search(corpus_dataset, out, trials=1, epochs=1)
    written = {path: path.stat().st_mtime_ns for path in (out / "trials").rglob("*")}
    again = run_search(corpus_dataset, out, trials=1, epochs=1)
    assert again.trials == first.trials
    assert {path: path.stat().st_mtime_ns for path in (out / "trials").rglob("*")} == written
