"""The study in its SQLite file: what a killed search leaves behind is settled when it is opened again."""

import sqlite3
import threading
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from planner.config import TrainConfig, load_config
from planner.errors import CheckpointError
from planner.runs.checkpoint import RunState, write_run
from tune.space import apply_settings
from tune.study import SearchStudy

CONFIG = load_config("mlp_planner", overrides=["epochs=4"])


def open_study(out: Path, config: TrainConfig = CONFIG) -> SearchStudy:
    """The study in ``out``, as a search with ``config`` opens it."""
    return SearchStudy(out, config, stored_similar=16, seed=0, describes=config.model_dump())


def write_run_state(study: SearchStudy, number: int, config: TrainConfig, **progress: object) -> None:
    """A run directory that came as far as ``progress`` says."""
    state = RunState(config=config.model_dump(), dataset="d", dataset_hash="h", init_from=None, workers=1)
    study.run_directory(number).mkdir(parents=True)
    write_run(study.run_directory(number), state.model_copy(update=progress))


def test_the_first_trial_has_the_architectures_own_settings(tmp_path: Path) -> None:
    _, number, config = open_study(tmp_path).ask()
    assert (number, config) == (0, CONFIG)


def test_a_trial_that_was_running_goes_on_in_its_own_directory_with_its_own_settings(tmp_path: Path) -> None:
    first = open_study(tmp_path)
    first.ask()
    _, number, config = first.ask()
    again = open_study(tmp_path)
    assert not again.study.get_trials(states=(TrialState.RUNNING,))
    assert {entry.state for entry in again.study.trials} == {TrialState.FAIL, TrialState.WAITING}
    assert again.ended() == 0
    resumed = [again.ask()[1:] for _ in range(2)]
    assert resumed == [(0, CONFIG), (number, config)]


def test_a_trial_whose_run_had_finished_is_complete_with_the_runs_value(tmp_path: Path) -> None:
    first = open_study(tmp_path)
    first.ask()
    write_run_state(first, 0, CONFIG, finished=True, best_metric=-1.5, best_epoch=2, epoch=3)
    again = open_study(tmp_path)
    assert [(entry.state, entry.value) for entry in again.study.trials] == [(TrialState.COMPLETE, -1.5)]
    assert again.ended() == 1
    assert again.ask()[1] == 1


def test_an_interruption_of_the_repair_itself_loses_no_trial(tmp_path: Path) -> None:
    first = open_study(tmp_path)
    trial, _, _ = first.ask()
    first.study.tell(trial, state=TrialState.FAIL)
    assert first.ended() == 0
    assert open_study(tmp_path).ask()[1:] == (0, CONFIG)
    assert [record.number for record in open_study(tmp_path).records()] == [0]


def test_a_resumed_search_does_not_draw_its_old_settings_again(tmp_path: Path) -> None:
    first = open_study(tmp_path)
    for _ in range(3):
        trial, _, _ = first.ask()
        first.end(trial, "spoiled")
    old = [record.settings for record in first.records()]
    again = open_study(tmp_path)
    new = [again.ask()[2] for _ in range(3)]
    assert not any(apply_settings(CONFIG, settings) in new for settings in old)


def test_complete_trials_stand_before_stopped_and_failed_ones(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    progresses = [
        {"finished": True, "best_metric": -2.0, "best": "x", "best_epoch": 0, "epoch": 3},
        {"finished": False, "best_metric": -1.0, "best": "x", "best_epoch": 0, "epoch": 1},
        {"finished": True, "best_metric": -1.5, "best": "x", "best_epoch": 1, "epoch": 3},
        {},
    ]
    for progress in progresses:
        trial, number, config = study.ask()
        write_run_state(study, number, config, **progress)
        study.end(trial, None if progress else "OSError: disk full")
    records = study.records()
    assert [(record.number, record.state) for record in records] == [
        (2, "complete"),
        (0, "complete"),
        (1, "stopped"),
        (3, "failed"),
    ]
    assert [record.epochs for record in records] == [4, 4, 2, 0]
    assert records[3].reason == "OSError: disk full"
    assert study.study.best_trial.number == 2


def test_a_study_of_another_search_is_refused_by_what_differs(tmp_path: Path) -> None:
    open_study(tmp_path)
    with pytest.raises(CheckpointError, match=r"epochs is 4 there, 5 now: --fresh .*--out"):
        open_study(tmp_path, CONFIG.model_copy(update={"epochs": 5}))


def test_the_file_opens_with_optuna_alone(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    study.ask()
    opened = optuna.load_study(study_name="planner", storage=f"sqlite:///{tmp_path / 'study.sqlite'}")
    assert opened.direction == optuna.study.StudyDirection.MAXIMIZE
    assert opened.trials[0].params["lr"] == CONFIG.lr


@pytest.mark.parametrize("damage", ["newer", "cut", "text"])
def test_a_study_that_cannot_be_used_is_one_sentence(tmp_path: Path, damage: str) -> None:
    open_study(tmp_path).ask()
    path = tmp_path / "study.sqlite"
    if damage == "newer":
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE version_info SET schema_version = 99, library_version = '99.0.0'")
            connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0'")
        connection.close()
    else:
        path.write_bytes(path.read_bytes()[:3000] if damage == "cut" else b"no database at all, but some text")
    with pytest.raises(CheckpointError, match=r"study\.sqlite: cannot be used as a study: .*--out"):
        open_study(tmp_path)


def test_a_study_that_is_locked_for_a_while_is_waited_for(tmp_path: Path) -> None:
    open_study(tmp_path)
    connection = sqlite3.connect(tmp_path / "study.sqlite", isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN EXCLUSIVE")
    timer = threading.Timer(7, lambda: connection.execute("ROLLBACK"))
    timer.start()
    assert open_study(tmp_path).ask()[1] == 0
    timer.join()
