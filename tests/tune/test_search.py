"""A real search: Ray Tune, Optuna, and training runs on real kernel artifacts."""

import fcntl
import json
import shutil
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import numpy as np
import optuna
import orjson
import pytest
from optuna.trial import TrialState
from ray.tune.schedulers import ASHAScheduler
from ray.tune.schedulers.async_hyperband import _Bracket

from planner.config import load_config
from planner.errors import CheckpointError, DatasetError
from planner.runs.checkpoint import read_run
from planner.runs.learned import LearnedPolicy
from tests.planner.recording_tracker import heard
from tune.search import SearchResult, run_search
from tune.study import SearchProgress
from tune.trial import GRACE_EPOCHS, REDUCTION, may_be_stopped

TRIALS, EPOCHS = 4, 8
Finished = tuple[SearchResult, list[SearchProgress]]


@pytest.fixture(scope="module")
def finished(corpus_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A search of four trials, and the progress it told."""
    seen: list[SearchProgress] = []
    out = tmp_path_factory.mktemp("search") / "tune"
    track = ["tests.planner.recording_tracker:Recorder"]
    return run_search(corpus_dataset, out, trials=TRIALS, epochs=EPOCHS, progress=seen.append, track=track), seen


def test_a_search_writes_settings_that_train_takes(finished: Finished) -> None:
    result, _ = finished
    config = load_config("mlp_planner", result.best_config)
    run = result.best_config.parent / result.best.run
    assert config.model_dump() == read_run(run).config
    assert config.epochs == EPOCHS
    assert LearnedPolicy(run).document.model == config.model


def test_every_trial_is_a_training_run_of_its_own(finished: Finished) -> None:
    result, _ = finished
    out = result.best_config.parent
    assert sorted(path.name for path in (out / "trials").iterdir()) == ["000", "001", "002", "003"]
    for record in result.trials:
        state = read_run(out / record.run)
        assert state.best_metric == record.val_log_likelihood
        assert state.epoch + 1 == record.epochs
        assert state.finished == (record.state == "complete")


def test_every_trial_is_followed_by_the_tracker_that_was_asked_for(finished: Finished) -> None:
    result, _ = finished
    for record in result.trials:
        calls = heard(result.best_config.parent / record.run)
        assert [call["epoch"] for call in calls if "epoch" in call] == list(range(record.epochs))
        assert calls[-1].get("finished", False) == (record.state == "complete")


def test_optuna_dashboard_shows_what_was_searched_and_what_each_trial_came_to(finished: Finished) -> None:
    dashboard = pytest.importorskip("optuna_dashboard", reason="optuna-dashboard is not installed: extra `dev`")
    result, _ = finished
    with served(dashboard.wsgi(f"sqlite:///{result.study}")) as url:
        (listed,) = answer_of(f"{url}/api/studies")["study_summaries"]
        study = answer_of(f"{url}/api/studies/{listed['study_id']}")
        page = urllib.request.urlopen(f"{url}/dashboard").read()
    assert b"optuna" in page.lower() and listed["study_name"] == "planner"
    assert study["directions"] == ["maximize"] and study["objective_names"] == ["validation log-likelihood"]
    about = {one["key"]: one["value"] for one in study["user_attrs"]}
    assert about["metric"] == "validation log-likelihood: nats per example, higher is better"
    assert about["policy"] == "planner.models.mlp@FeatureMLP"
    of_run = {record.run: record for record in result.trials}
    assert len(study["trials"]) == len(of_run)
    for trial in study["trials"]:
        said = {one["key"]: one["value"] for one in trial["user_attrs"]}
        record = of_run[said["directory"]]
        assert said["epochs"] == str(record.epochs) and said["best epoch, from 0"] == str(record.best_epoch)
        assert float(said["best validation log-likelihood"]) == record.val_log_likelihood
        assert len(trial["intermediate_values"]) == record.epochs


@contextmanager
def served(application: Any) -> Iterator[str]:
    """The address of a WSGI application for the length of a block."""

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    server = make_server("127.0.0.1", 0, application, handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def answer_of(url: str) -> Any:
    """The JSON at an address."""
    with urllib.request.urlopen(url) as answered:
        return json.load(answered)


def test_the_study_agrees_with_the_table_and_calls_no_stopped_trial_complete(
    finished: Finished,
) -> None:
    result, _ = finished
    study = optuna.load_study(study_name="planner", storage=f"sqlite:///{result.study}")
    states = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED}
    assert {entry.user_attrs["run"]: entry.state for entry in study.trials} == {
        record.number: states[record.state] for record in result.trials
    }
    assert (
        study.best_value
        == result.best.val_log_likelihood
        == max(record.val_log_likelihood or -np.inf for record in result.trials if record.state == "complete")
    )
    assert orjson.loads((result.study.parent / "trials.json").read_bytes())[0]["number"] == result.best.number


def test_progress_counts_every_trial_once(finished: Finished) -> None:
    result, seen = finished
    assert [progress.ended for progress in seen] == sorted(progress.ended for progress in seen)
    assert (seen[0].ended, seen[-1].ended, seen[-1].total) == (0, TRIALS, TRIALS)
    assert seen[-1].best == max(record.val_log_likelihood or -np.inf for record in result.trials)


def test_more_trials_are_added_to_a_finished_search_and_a_broken_one_is_only_itself(
    finished: Finished, corpus_dataset: Path
) -> None:
    result, _ = finished
    out = result.best_config.parent
    before = {record.number: (out / record.run / "run.json").read_bytes() for record in result.trials}
    broken = out / "trials" / f"{TRIALS:03d}"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    # By a URI its trials find the dataset wherever they run.
    again = run_search(f"file://{corpus_dataset}", out, trials=TRIALS + 2, epochs=EPOCHS)
    assert again.resumed == TRIALS
    assert len(again.trials) == TRIALS + 2
    failed = [record for record in again.trials if record.state == "failed"]
    assert [record.number for record in failed] == [TRIALS]
    assert "CheckpointError" in str(failed[0].reason)
    assert {number: (out / "trials" / f"{number:03d}" / "run.json").read_bytes() for number in before} == before


@pytest.mark.parametrize("first", [1, 5, 8, 20, 46])
def test_a_trial_is_brought_back_before_each_report_at_which_asha_may_stop_it(first: int) -> None:
    bracket = _Bracket(GRACE_EPOCHS, 101, REDUCTION, 0)
    for _, recorded in bracket._rungs:
        recorded["a better one"] = 1.0
    trial = SimpleNamespace(trial_id="this")
    stops = [done for done in range(first, 101) if bracket.on_result(trial, done, 0.0) == ASHAScheduler.STOP]
    assert stops == [done for done in range(first, 101) if may_be_stopped(done, first, 100)]
    assert may_be_stopped(3, 1, epochs=3) and not may_be_stopped(2, 1, epochs=3)


def test_a_dataset_without_validation_is_refused(corpus_dataset: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    shutil.copytree(corpus_dataset, dataset)
    for path in (dataset / "val").glob("*.npy"):
        # The bounds of no outcomes are one zero.
        np.save(path, np.load(path)[: 1 if path.name == "outcome_bounds.npy" else 0])
    with pytest.raises(DatasetError, match="val split is empty, so trials cannot be compared; build"):
        run_search(dataset, tmp_path / "tune")


def test_a_directory_with_a_search_of_other_settings_is_left_alone(finished: Finished, corpus_dataset: Path) -> None:
    result, _ = finished
    with pytest.raises(
        CheckpointError, match=r"search with other settings .* seed is 0 there, 7 now: --fresh starts anew"
    ):
        run_search(corpus_dataset, result.best_config.parent, epochs=EPOCHS, seed=7)


def test_a_directory_with_other_files_is_left_alone(corpus_dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="holds other files"):
        run_search(corpus_dataset, tmp_path)


def test_two_searches_cannot_share_a_directory(corpus_dataset: Path, tmp_path: Path) -> None:
    with (tmp_path / "search.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError, match="a search is running there"):
            run_search(corpus_dataset, tmp_path)
