"""A command that was interrupted goes on when it is given again, as Ctrl-C says; --fresh starts anew."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from bench.earlier_ledger import set_aside
from bench.ledger import Ledger
from planner.begun_work import held
from planner.cli import app
from planner.errors import BenchError, CheckpointError
from planner.run_directory import RUN_LOCK
from tests.bench.test_ledger import bench_case

PLANNER = Path(sys.executable).with_name("planner")
SETTINGS = ("--workers", "1", "--set", "patience=1000", "--set", "epochs=400")


def planner(*words: object) -> str:
    """What a command in this process prints."""
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def epochs(run: Path) -> list[int]:
    """The epochs that a run has counted, in the order of its metrics."""
    return [orjson.loads(line)["epoch"] for line in (run / "metrics.jsonl").read_bytes().splitlines()]


def test_a_training_without_out_that_was_interrupted_goes_on_in_its_own_run(
    corpus_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / ".cyntra/planner/runs/mlp_planner-1"
    words = ["train", str(corpus_dataset), *SETTINGS]
    process = subprocess.Popen([PLANNER, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not (run / "metrics.jsonl").exists() or len(epochs(run)) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said
    assert f"Stopped. This goes on from here: planner {' '.join(words)}" in said.splitlines()
    stopped = epochs(run)
    assert 3 <= len(stopped) < 400

    planner(*words, "--set", "epochs=1")
    assert sorted(path.name for path in run.parent.iterdir()) == ["mlp_planner-1", "mlp_planner-2"]
    planner(*words)
    assert epochs(run) == list(range(400))
    assert not (run.parent / "mlp_planner-3").exists()


def test_settings_that_differ_from_the_run_that_stands_there_are_named_and_fresh_takes_it_away(
    corpus_dataset: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ["train", corpus_dataset, "--workers", "1", "--out", run, "--set", "epochs=1"]
    planner(*words)
    (run / "mine.txt").write_text("notes")
    with pytest.raises(
        CheckpointError, match=r"run: a run with other settings stands there: lr is .* there, 0\.5 now: "
    ):
        planner(*words, "--set", "lr=0.5")
    planner(*words, "--resume")
    assert epochs(run) == [0]
    planner(*words, "--set", "lr=0.5", "--set", "epochs=2", "--fresh")
    assert (run / "mine.txt").read_text() == "notes"
    assert orjson.loads((run / "run.json").read_bytes())["config"]["lr"] == 0.5
    assert epochs(run) == [0, 1]
    (run / "run.json").unlink()
    with pytest.raises(CheckpointError, match="other files"):
        planner(*words, "--fresh")


def test_two_commands_do_not_train_one_run(corpus_dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with held(run / RUN_LOCK, ""), pytest.raises(CheckpointError, match="another command is training it"):
        planner("train", corpus_dataset, "--workers", "1", "--out", run, "--set", "epochs=1")


def test_a_ledger_is_set_aside_and_never_while_a_bench_has_it(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    assert set_aside(path) is None
    with Ledger.open(path) as ledger:
        ledger.add_cases([bench_case("1")])
        with pytest.raises(BenchError):
            set_aside(path)
    kept = set_aside(path)
    assert kept is not None and not path.exists() and re.fullmatch(r"ledger-\d{8}T\d{6}Z\.sqlite", kept.name)
    assert sqlite3.connect(kept).execute("SELECT issue_id FROM cases").fetchall() == [("1",)]


def test_ctrl_c_while_the_command_is_still_imported_ends_it_without_a_word() -> None:
    words = [sys.executable, "-X", "importtime", "-m", "planner", "status"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    # Python says of each module that it has been imported; typer's come early in those of the command line.
    while not process.stderr.readline().rpartition("|")[2].strip().startswith("typer."):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 130 and printed == ""
    assert [line for line in said.splitlines() if not line.startswith("import time:")] == []


@pytest.mark.parametrize("name", ["train", "tune", "compare", "ablate", "quickstart", "bench"])
def test_every_long_command_can_start_anew(name: str) -> None:
    assert "--fresh" in CliRunner().invoke(app, [name, "--help"]).output
