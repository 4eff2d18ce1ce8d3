"""`planner status`, `ls`, `show` and `clean`: what a repo has, and what may go; without torch and Ray."""

import os
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from bench.ledger import Ledger
from planner.begun_work import held
from planner.cli import app
from planner.commands.clean import seconds_of
from planner.commands.repo_state import age, read_state
from planner.contracts.document import validate
from planner.contracts.kernel import PlannerInput
from planner.errors import UsageError
from planner.run_directory import RUN_LOCK
from tests.bench.test_ledger import bench_case
from tests.bench.test_objective import outcome
from tests.planner.test_imports import heavy_after

DAY_S = 86_400


def planner(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def write_json(path: Path, document: object, age_s: float = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(document))
    os.utime(path, (time.time() - age_s,) * 2)


def write_run(repo: Path, name: str, age_s: float = 0, **more: object) -> Path:
    run = repo / ".cyntra/planner/runs" / name
    state = {"config": {"class_path": "a.b@FeatureMLP"}, "dataset": str(repo / ".cyntra/planner/dataset"), "epoch": 3}
    write_json(run / "run.json", {**state, "dataset_hash": "old", "finished": True, **more}, age_s)
    return run


def write_dataset(repo: Path, name: str = "dataset", age_s: float = 0) -> None:
    splits = {"train": {"examples": 10}, "val": {"examples": 2}}
    path = repo / ".cyntra/planner" / name / "dataset.json"
    write_json(path, {"dataset_hash": "new", "splits": splits}, age_s)


def write_ledger(repo: Path, *, finished: bool) -> Path:
    path = repo / ".cyntra/planner/bench/ledger.sqlite"
    with Ledger.open(path) as ledger:
        ledger.add_cases([bench_case("7")])
        ids = [execution.execution_id for execution in ledger.planned()]
        if finished:
            ledger.start(ids)
            ledger.finish({one: outcome() for one in ids})
    return path


def test_the_next_command_follows_from_what_is_there(corpus: Path, tmp_path: Path) -> None:
    def next_command() -> str:
        return read_state(corpus).next_command

    assert read_state(tmp_path / "nowhere").next_command == "planner quickstart"
    assert next_command().startswith("planner dataset build")
    write_dataset(corpus)
    assert next_command() == "planner train --arch structural"
    stopped = write_run(corpus, "mlp_planner-1", finished=False)
    assert next_command() == "planner train .cyntra/planner/dataset"
    with held(stopped / RUN_LOCK, ""):
        assert read_state(corpus).trained[0].state == "training"
    write_run(corpus, "mlp_planner-1", age_s=60)
    assert next_command() == f"planner bench {corpus} --dry-run"
    write_ledger(corpus, finished=False)
    assert next_command() == f"planner bench {corpus}"
    write_ledger(corpus, finished=True)
    assert next_command() == "planner relabel .cyntra/planner/bench/ledger.sqlite"
    write_dataset(corpus, "winners")
    assert next_command() == "planner train .cyntra/planner/winners"
    newest = write_run(corpus, "mlp_planner-2", age_s=-5)
    assert next_command().startswith("planner evaluate .cyntra/planner/runs/mlp_planner-2 --bench ")
    write_json(newest.with_name("mlp_planner-1") / "regret.json", {"policies": [{"policy": "mlp_planner-1"}]})
    assert next_command().startswith("planner evaluate ")
    # Judged together with the first one, in whose directory the results lie.
    together = {"policies": [{"policy": "mlp_planner-1"}, {"policy": newest.name}]}
    write_json(newest.with_name("mlp_planner-1") / "regret.json", together)
    assert next_command() == "planner export .cyntra/planner/runs/mlp_planner-2"
    write_json(corpus / ".cyntra/planner/bundle/metadata.json", {"checkpoint_id": "mlp"}, age_s=-10)
    assert next_command() == "planner report"


def test_status_says_what_is_older_than_what_it_was_made_from(corpus: Path) -> None:
    write_dataset(corpus, age_s=20 * DAY_S)
    write_run(corpus, "mlp_planner-1")
    write_json(corpus / ".cyntra/planner/bundle/metadata.json", {"checkpoint_id": "mlp"}, age_s=DAY_S)
    shown = planner("status", corpus)
    places = (corpus / ".cyntra/archives", corpus / ".cyntra/runs")
    runs = sum(path.is_dir() for place in places for path in place.iterdir())
    assert f"dataset   .cyntra/planner/dataset: 10 train, 2 val; built 20 days ago; {runs} runs since" in shown
    assert "stale: its dataset was built again since" in shown
    assert "stale: .cyntra/planner/runs/mlp_planner-1 was trained since" in shown
    assert f"next      planner dataset build {corpus}\n" in shown


def test_planner_alone_is_status(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus)
    assert planner() == planner("status")


def test_a_case_an_execution_a_run_and_an_issue_are_shown_by_their_ids(corpus: Path) -> None:
    write_ledger(corpus, finished=True)
    write_run(corpus, "mlp_planner-1")
    assert planner("show", "case-7", "--repo", corpus).startswith("case case-7 of issue 7\n")
    execution = planner("show", "case-7-a0-r0", "--repo", corpus)
    assert "passed in " in execution and "of wall time" in execution
    assert planner("show", "mlp_planner-1", "--repo", corpus).startswith("trained run ")
    archive = "wc-10-20261122T194721Z"
    assert planner("show", archive, "--repo", corpus).startswith(f"run {archive} of issue ")
    with pytest.raises(UsageError, match="nowhere: nothing of that name in "):
        planner("show", "nowhere", "--repo", corpus)


@pytest.mark.parametrize("what", ["case-7", "10"])
def test_input_is_what_decide_takes(corpus: Path, what: str) -> None:
    write_ledger(corpus, finished=True)
    validate(PlannerInput, orjson.loads(planner("show", what, "--repo", corpus, "--input")), "show")


def test_clean_deletes_what_a_command_wrote_that_is_old_and_that_nothing_needs(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path / "cache"))
    old = write_run(corpus, "old-1", 40 * DAY_S)
    base = write_run(corpus, "base-1", 50 * DAY_S)
    write_run(corpus, "new-1", 1 * DAY_S, init_from=str(base))
    notes = write_run(corpus, "notes-1", 40 * DAY_S) / "mine.txt"
    notes.write_text("years of work")
    os.utime(notes, (time.time() - 45 * DAY_S,) * 2)
    write_dataset(corpus, age_s=90 * DAY_S)
    ledger = write_ledger(corpus, finished=True)
    os.utime(ledger, (time.time() - 90 * DAY_S,) * 2)
    write_json(corpus / ".cyntra/planner/compare/comparison.json", {}, 40 * DAY_S)
    aside = ledger.parent / "earlier/ledger-20260101T000000Z.sqlite"
    write_json(aside, {}, 90 * DAY_S)

    said = planner("clean", corpus, "--older-than", "30d")
    assert "4 would be deleted" in said and "--yes" in said
    assert old.exists() and aside.exists()
    planner("clean", corpus, "--older-than", "30d", "--yes")
    assert not old.exists() and not aside.exists() and not (corpus / ".cyntra/planner/compare").exists()
    assert base.exists() and ledger.exists() and (corpus / ".cyntra/planner/dataset").exists()
    assert [path.name for path in notes.parent.iterdir()] == ["mine.txt"]
    assert "nothing of ours is older" in planner("clean", corpus, "--older-than", "30d", "--yes")


def test_a_run_that_is_being_trained_is_left(corpus: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path / "cache"))
    run = write_run(corpus, "old-1", 40 * DAY_S)
    write_run(corpus, "new-1")
    with held(run / RUN_LOCK, ""):
        done = CliRunner().invoke(app, ["clean", str(corpus), "--older-than", "0m", "--yes"])
    assert run.exists() and "a command trains it now" in done.stderr


def test_an_age_needs_a_unit() -> None:
    assert (seconds_of("90m"), seconds_of("1.5d")) == (5400, 1.5 * DAY_S)
    with pytest.raises(UsageError, match="--older-than 30: write a number with m, h, d or w"):
        seconds_of("30")
    assert (age(0, 59), age(0, 3600), age(0, 2 * DAY_S)) == ("just now", "1 hour ago", "2 days ago")


@pytest.mark.parametrize("words", [["status"], ["ls"], ["show", "7"], ["clean", "--older-than", "0m"]])
def test_a_look_at_a_repo_loads_neither_torch_nor_ray(corpus: Path, words: list[str]) -> None:
    write_ledger(corpus, finished=True)
    place = ["--repo", str(corpus)] if words[0] == "show" else [str(corpus)]
    call = f"sys.argv = ['planner', *{words + place}]\ntry:\n main()\nexcept SystemExit as e:\n assert not e.code"
    assert set(heavy_after(f"import sys\nfrom planner.cli import main\n{call}")) <= {"pyarrow"}


def test_a_look_is_quick(corpus: Path) -> None:
    started = time.monotonic()
    subprocess.run([Path(sys.executable).with_name("planner"), "status", corpus], check=True, stdout=subprocess.DEVNULL)
    assert time.monotonic() - started < 5
