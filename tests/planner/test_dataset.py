"""The dataset: the same bytes from the same artifacts, split by time, honest about what was left out."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.actions import Action
from planner.artifacts.repo import fetched_repo
from planner.contracts.dataset import DatasetInfo
from planner.contracts.document import timestamp_to_ms, validate
from planner.contracts.kernel import PlannerInput, context_builder, input_hash
from planner.dataset import build, joining, reading
from planner.dataset.build import build_dataset
from planner.dataset.examples import Example
from planner.dataset.outcomes import ActionOutcome
from planner.dataset.split import time_split
from planner.dataset.storage import load_dataset
from planner.encoding.tokens import SPECIALS
from planner.errors import DatasetError
from tests.conftest import CORPUS, copy_corpus

pytestmark = pytest.mark.usefixtures("ray_cluster")


def contents(directory: Path) -> dict[str, bytes]:
    """Path -> bytes of every file."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def test_the_dataset_tells_what_became_of_every_run(corpus_dataset: Path) -> None:
    info = load_dataset(corpus_dataset).info
    counts = info.counts
    assert counts["runs"] == counts["examples"] + counts["history_only"]
    assert counts["history_only"] == sum(info.unlabelled.values())
    assert counts["examples"] == sum(split.examples for split in info.splits.values())
    assert counts["examples"] == info.contexts["recorded"] + info.contexts["rebuilt"]
    assert counts["quarantined"] == len(info.quarantine) == 8
    assert info.contexts["rebuilt"] >= 2


def test_dataset_json_follows_its_schema(corpus_dataset: Path) -> None:
    from jsonschema import Draft202012Validator

    from schemas import load_schema

    document = orjson.loads((corpus_dataset / "dataset.json").read_bytes())
    Draft202012Validator(load_schema("dataset.v1")).validate(document)
    validate(DatasetInfo, document, "dataset.json")


def test_every_context_of_the_planners_profile_is_built_by_the_planner(corpus_dataset: Path) -> None:
    dataset = load_dataset(corpus_dataset)
    assert (dataset.info.context_builder, dataset.info.contexts["recorded"]) == ("planner", 0)
    for split in dataset.splits.values():
        for run_id, context in zip(split.table["example_id"], split.contexts(), strict=True):
            validate(PlannerInput, context, run_id)
            assert context_builder(context) == "planner"


def test_every_context_of_the_kernels_profile_is_the_kernels_and_a_recorded_one_is_kept_to_the_letter(
    kernel_dataset: Path,
) -> None:
    checked = 0
    assert load_dataset(kernel_dataset).info.context_builder == "kernel"
    for split in load_dataset(kernel_dataset).splits.values():
        for run_id, context in zip(split.table["example_id"], split.contexts(), strict=True):
            validate(PlannerInput, context, run_id)
            assert context_builder(context) == "kernel"
            manifest = CORPUS / ".cyntra" / "archives" / run_id / "manifest.json"
            if manifest.exists() and manifest.stat().st_size > 2000:
                recorded = orjson.loads(manifest.read_bytes())["planner"]
                assert input_hash(context) == recorded["planner_action"]["input_hash"]
                checked += 1
    assert checked >= 12


@pytest.mark.parametrize("chunk", [1, 7])
def test_the_bytes_do_not_depend_on_the_chunks_the_times_or_the_order_of_directories(
    chunk: int,
    corpus_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    repo = tmp_path / "elsewhere"
    copy_corpus(tmp_path / "copy")
    entries = sorted((tmp_path / "copy").rglob("*"))
    random.Random(chunk).shuffle(entries)
    for path in entries:  # another order of creation, and times that tell nothing
        target = repo / path.relative_to(tmp_path / "copy")
        (target if path.is_dir() else target.parent).mkdir(parents=True, exist_ok=True)
        if path.is_file():
            shutil.copyfile(path, target)
        os.utime(target, (1e9, 1e9))
    monkeypatch.setattr(reading, "MEAN_CHUNK", chunk)
    monkeypatch.setattr(joining, "BLOCK", chunk + 2)
    build_dataset(repo, tmp_path / "dataset")
    assert contents(tmp_path / "dataset") == contents(corpus_dataset)


def test_a_small_repo_is_read_without_ray_and_makes_the_same_bytes(
    corpus_dataset: Path, corpus: Path, tmp_path: Path
) -> None:
    """In a process where neither Ray nor torch can be imported: starting them takes longer than the whole build."""
    code = "import sys; sys.modules['ray'] = sys.modules['torch'] = None; from planner.cli import main; main()"
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-c", code, "dataset", "build", str(corpus), "--out", str(tmp_path / "dataset")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "dataset") == contents(corpus_dataset)


def test_a_repo_at_a_uri_is_copied_as_far_as_it_is_read_and_makes_the_same_dataset(
    corpus_dataset: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path / "cache"))
    for name in ("src/large.bin", ".cyntra/planner/runs/model"):
        (corpus / name).parent.mkdir(parents=True, exist_ok=True)
        (corpus / name).touch()
    root = fetched_repo(f"file://{corpus}")
    info = build_dataset(root, tmp_path / "dataset")
    assert info.dataset_hash == load_dataset(corpus_dataset).info.dataset_hash
    assert (root / ".beads").is_dir() and not (root / "src").exists() and not (root / ".cyntra/planner/runs").exists()


def test_a_large_repo_is_worth_starting_ray_for(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not build.is_worth_ray(corpus)
    monkeypatch.setattr(build, "RAY_PAYS_FROM", 20)
    assert build.is_worth_ray(corpus)


def test_the_hash_changes_with_a_label(corpus_dataset: Path, corpus: Path, tmp_path: Path) -> None:
    manifest = corpus / ".cyntra/archives/wc-2-20261122T194607Z/manifest.json"
    text = manifest.read_text()
    assert '"timeout_seconds_executed": 1800' in text
    manifest.write_text(text.replace('"timeout_seconds_executed": 1800', '"timeout_seconds_executed": 2700'))
    assert build_dataset(corpus, tmp_path / "out").dataset_hash != load_dataset(corpus_dataset).info.dataset_hash


@pytest.mark.parametrize("which", ["corpus", "kernel", "synthetic"])
def test_no_context_knows_a_run_that_had_not_ended(which: str, request: pytest.FixtureRequest) -> None:
    if which != "synthetic":
        root, dataset = CORPUS, request.getfixturevalue(f"{which}_dataset")
    else:
        root, dataset = request.getfixturevalue("synthetic")
    ended = ends_by_the_artifacts(root)
    neighbours = 0
    for split in load_dataset(dataset).splits.values():
        for decided_ms, context in zip(split.table["decided_ms"], split.contexts(), strict=True):
            assert timestamp_to_ms(context["created_at"]) == decided_ms
            for run in context["history"]["last_n_similar_runs"]:
                if run["run_id"] in ended:
                    assert ended[run["run_id"]] <= decided_ms
                    neighbours += 1
    assert neighbours > (1000 if which == "synthetic" else 15)


def ends_by_the_artifacts(root: Path) -> dict[str, int]:
    """Run id -> end in ms by the latest moment that any of its artifacts names, read without the planner's readers."""
    ends: dict[str, int] = {}

    def note(run_id: str, timestamp: Any) -> None:
        if isinstance(timestamp, str):
            ends[run_id] = max(ends.get(run_id, 0), timestamp_to_ms(timestamp))

    for directory in root.glob(".cyntra/archives/*/"):
        for name, keys in (("rollout", ("generated_at",)), ("proof", ("metadata", "completed_at"))):
            try:
                document = orjson.loads((directory / f"{name}.json").read_bytes())
                for key in keys:
                    document = document[key]
                note(directory.name, document)
            except (OSError, ValueError, KeyError):
                continue
    for line in (root / ".cyntra/logs/events.jsonl").read_bytes().splitlines():
        event = orjson.loads(line)
        if event["type"] in ("workcell.completed", "workcell.failed") and event["workcell_id"] not in ends:
            note(event["workcell_id"], event["timestamp"])
    for path in root.glob(".cyntra/runs/*/evolve_world.json"):
        note(path.parent.name, orjson.loads(path.read_bytes())["generated_at"])
    return ends


def test_a_neighbour_that_ended_too_late_is_withdrawn_from_a_recorded_context(corpus: Path, tmp_path: Path) -> None:
    rollout = corpus / ".cyntra/archives/wc-2-20261122T194554Z/rollout.json"
    document = orjson.loads(rollout.read_bytes())
    rollout.write_bytes(orjson.dumps({**document, "generated_at": "2026-11-22T23:00:00Z"}))
    info = build_dataset(corpus, tmp_path / "out", profile="kernel")
    assert info.contexts["neighbours_withdrawn"] > 0
    for split in load_dataset(tmp_path / "out").splits.values():
        for context in split.contexts():
            names = [run["run_id"] for run in context["history"]["last_n_similar_runs"]]
            assert "wc-2-20261122T194554Z" not in names


def test_attempts_are_those_of_the_moment_and_not_of_the_final_state(synthetic: tuple[Path, Path]) -> None:
    _, dataset = synthetic
    seen: dict[str, int] = {}
    for split in load_dataset(dataset).splits.values():
        for run_id, context in zip(split.table["example_id"], split.contexts(), strict=True):
            if int(run_id.rsplit("-", 1)[1]) % 4 == 0:
                attempts, issue = context["issue"]["dk_attempts"], context["issue"]["issue_id"]
                assert attempts >= seen.get(issue, 0)
                seen[issue] = attempts
    assert 0 in seen.values() or min(seen.values()) == 0
    assert len(set(seen.values())) > 2


def test_the_vocabulary_is_that_of_train_alone(synthetic: tuple[Path, Path]) -> None:
    dataset = load_dataset(synthetic[1])
    vocabulary = dataset.info.vocabulary
    assert vocabulary[: len(SPECIALS)] == list(SPECIALS)
    train = set(np.unique(dataset.splits["train"].tokens).tolist())
    assert train | set(range(len(SPECIALS))) == set(range(len(vocabulary)))
    assert vocabulary.index("[UNK]") not in train


def test_what_train_never_saw_is_unknown_to_the_vocabulary(corpus: Path, tmp_path: Path) -> None:
    manifest = corpus / ".cyntra/archives/wc-15-20261122T200012Z-spec-opencode/manifest.json"
    document = orjson.loads(manifest.read_bytes())
    document["planner"]["planner_input"]["system_state"]["queue_depth_bin"] = "never_before"
    manifest.write_bytes(orjson.dumps(document))
    info = build_dataset(corpus, tmp_path / "out")
    assert "[VAL:never_before]" not in info.vocabulary
    assert info.vocabulary.index("[UNK]") in load_dataset(tmp_path / "out").splits["test"].tokens


def test_splits_follow_one_another_in_time_and_hold_everything_once(synthetic: tuple[Path, Path]) -> None:
    dataset = load_dataset(synthetic[1])
    names, times = [], []
    for name in ("train", "val", "test"):
        split, info = dataset.splits[name], dataset.info.splits[name]
        moments = split.table["decided_ms"]
        assert (info.examples, info.first_ms, info.last_ms) == (len(moments), moments[0], moments[-1])
        names += split.table["example_id"]
        times += moments
    assert times == sorted(times)
    assert len(names) == len(set(names)) == dataset.info.counts["examples"]
    assert len(dataset.splits["train"]) == round(0.8 * len(names))


def test_an_issue_is_marked_as_seen_exactly_when_train_has_it(corpus: Path, tmp_path: Path) -> None:
    latest = corpus / ".cyntra/archives/wc-15-20261122T200012Z-spec-opencode/manifest.json"
    latest.write_text(latest.read_text().replace('"issue_id": "15"', '"issue_id": "brand-new"'))
    build_dataset(corpus, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    marked = [*zip(dataset.splits["val"].table["issue_id"], dataset.splits["val"].seen.tolist(), strict=True)]
    assert ("brand-new", False) in marked and ("12", True) in marked
    trained = set(dataset.splits["train"].table["issue_id"])
    for name, split in dataset.splits.items():
        marks = [issue in trained for issue in split.table["issue_id"]]
        assert split.table["seen_issue"] == marks == split.seen.tolist()
        assert dataset.info.splits[name].of_seen_issues == sum(marks)


def test_labels_are_the_executed_plans(corpus_dataset: Path) -> None:
    dataset = load_dataset(corpus_dataset)
    for split in dataset.splits.values():
        for row, run_id in enumerate(split.table["example_id"]):
            action = tuple(dataset.space.bins(head)[split.labels[row, i]] for i, head in enumerate(HEADS_IN_ORDER))
            assert [str(value) for value in action] == [split.table[head][row] for head in HEADS_IN_ORDER]
            manifest = CORPUS / ".cyntra" / "archives" / run_id / "manifest.json"
            if manifest.exists() and manifest.stat().st_size > 2000:
                plan = orjson.loads(manifest.read_bytes())["planner"]["executed_plan"]
                assert action == (
                    plan["swarm_id_executed"],
                    plan["max_candidates_executed"],
                    plan["timeout_seconds_executed"] // 60,
                    "NA",
                )
            start = 0
            for head, width in enumerate(dataset.space.widths):
                assert split.masks[row, start + split.labels[row, head]]
                start += width


HEADS_IN_ORDER = ("swarm_id", "max_candidates_bin", "max_minutes_bin", "max_iterations_bin")


def test_a_timeout_of_seconds_is_no_label_and_is_counted(corpus_dataset: Path) -> None:
    dataset = load_dataset(corpus_dataset)
    labelled = {name for split in dataset.splits.values() for name in split.table["example_id"]}
    short = 0
    for path in CORPUS.glob(".cyntra/archives/*/manifest.json"):
        try:
            plan = orjson.loads(path.read_bytes())["planner"]["executed_plan"]
        except (ValueError, KeyError):
            continue
        if plan["timeout_seconds_executed"] < 60 and not path.parent.name.endswith("200024Z"):
            assert path.parent.name not in labelled
            short += 1
    assert dataset.info.unlabelled["executed timeout is no whole number of minutes"] == short > 3


def test_an_interrupted_run_and_a_run_without_a_plan_are_no_labels(corpus_dataset: Path) -> None:
    tables = [split.table["example_id"] for split in load_dataset(corpus_dataset).splits.values()]
    labelled = {name for table in tables for name in table}
    assert not labelled & {"wc-2-20261122T200024Z", "wc-2-20261122T195912Z-spec-claude"}


def test_features_are_normalised_by_train_alone(synthetic: tuple[Path, Path]) -> None:
    dataset = load_dataset(synthetic[1])
    train = dataset.splits["train"]
    means = np.asarray(train.context_features, dtype=np.float64).mean(axis=0)
    assert [feature.mean for feature in dataset.info.context_features] == pytest.approx(means.tolist())
    present = np.diff(train.segments, axis=1)[:, 1:] > 0
    means = np.asarray(train.run_features, dtype=np.float64)[present].mean(axis=0)
    assert [feature.mean for feature in dataset.info.run_features] == pytest.approx(means.tolist())


# --- what a user may do wrong ----------------------------------------------------------------------------------------


def test_a_directory_with_other_files_is_refused_and_keeps_them(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "home"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for _ in range(2):
        with pytest.raises(DatasetError, match=r"thesis\.txt"):
            build_dataset(corpus, out)
        assert (out / "thesis.txt").read_text() == "years of work"
        (out / "dataset.json").write_text("{}")
    with pytest.raises(DatasetError, match="other files"):
        build_dataset(corpus, out / "thesis.txt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "home"]


def test_a_dataset_is_replaced_by_a_new_one(corpus: Path, corpus_dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(corpus_dataset, tmp_path / "out")
    (tmp_path / "out" / "train" / "tokens.npy").unlink()
    build_dataset(corpus, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(corpus_dataset)


def test_a_repo_without_labelled_runs_is_a_clear_error_and_leaves_nothing(corpus: Path, tmp_path: Path) -> None:
    shutil.rmtree(corpus / ".cyntra" / "archives")
    shutil.rmtree(corpus / ".cyntra" / "runs")
    with pytest.raises(DatasetError, match="no labelled runs"):
        build_dataset(corpus, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "dataset.json").unlink(),
        lambda path: (path / "val" / "labels.npy").unlink(),
        lambda path: (path / "train" / "tokens.npy").write_bytes(b""),
        lambda path: (path / "train" / "tokens.npy").write_bytes(b"no array"),
        lambda path: (path / "train" / "tokens.npy").write_bytes((path / "train" / "tokens.npy").read_bytes()[:-8]),
        lambda path: np.save(path / "train" / "labels.npy", np.zeros((1, 4), dtype=np.int64)),
        lambda path: (path / "test" / "examples.parquet").unlink(),
        lambda path: (path / "test" / "examples.parquet").write_bytes(b"PAR1"),
        lambda path: shutil.rmtree(path / "test"),
    ],
)
def test_an_incomplete_dataset_is_a_clear_error(damage: Any, corpus_dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "dataset"
    shutil.copytree(corpus_dataset, path)
    load_dataset(path)
    damage(path)
    with pytest.raises(DatasetError, match="build"):
        load_dataset(path)


# --- splitting -------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60).map(sorted))
def test_no_boundary_cuts_through_a_moment(moments: list[int]) -> None:
    splits = time_split(moments)
    assert [i for name in ("train", "val", "test") for i in splits[name]] == list(range(len(moments)))
    parts = [{moments[i] for i in splits[name]} for name in ("train", "val", "test")]
    assert not parts[0] & parts[1] and not parts[1] & parts[2] and not parts[0] & parts[2]
    assert splits["train"]


def test_splits_are_eighty_ten_and_ten_percent() -> None:
    assert {name: len(span) for name, span in time_split(range(100)).items()} == {"train": 80, "val": 10, "test": 10}


def test_splitting_nothing_and_splitting_disorder_are_refused() -> None:
    with pytest.raises(DatasetError):
        time_split([])
    with pytest.raises(ValueError, match="ascending"):
        time_split([2, 1])


def test_a_dataset_of_one_example_can_be_opened(corpus: Path, tmp_path: Path) -> None:
    for path in sorted(corpus.glob(".cyntra/archives/*/")):
        if path.name != "wc-2-20261122T194554Z":
            shutil.rmtree(path)
    shutil.rmtree(corpus / ".cyntra" / "runs")
    build_dataset(corpus, tmp_path / "out")
    dataset = load_dataset(tmp_path / "out")
    assert [len(dataset.splits[name]) for name in ("train", "val", "test")] == [1, 0, 0]
    assert dataset.splits["val"].contexts() == [] and dataset.splits["val"].table["example_id"] == []


@pytest.mark.parametrize(
    ("status", "passed", "lower_bound"), [("success", True, False), ("failed", False, False), ("timeout", False, True)]
)
def test_the_time_of_a_run_is_exact_but_for_a_timeouts_which_is_a_lower_bound(
    corpus_dataset: Path, status: str, passed: bool, lower_bound: bool
) -> None:
    action = Action("speculate_vote", 2, 30, "NA")
    fields = {"example_id": "run", "issue_id": "1", "job_type": "code", "domain": "code", "cost_usd": None}
    context = load_dataset(corpus_dataset).splits["train"].contexts()[0]
    run = Example.of(context, label=action, decided_ms=0, status=status, duration_ms=1234, **fields)
    (found,) = run.executed
    assert (found.action, found.passed, found.duration_ms) == (action, passed, 1234)
    assert found.time_is_lower_bound == lower_bound
    # What a run's own artifacts do not tell is missing.
    assert (found.agent_ms, found.utility) == (None, None)
    # What a bench made of it counts for more.
    run.compared = (ActionOutcome(action, 0.5, 99, 99, False, 0.4),) * 2
    assert run.executed == run.compared
