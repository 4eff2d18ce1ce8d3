"""Tests of trials.parquet: every launch of an agent that the artifacts tell of, and nothing that they do not."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from planner.artifacts.repo import Repo
from planner.dataset.build import build_dataset
from planner.dataset.logged_trials import drafts_of, logged_trials
from planner.dataset.storage import load_dataset
from planner.dataset.trials import TRIALS_FILE, Trial, read_trials, split_of
from planner.encoding.subject import subject_of
from planner.errors import DatasetError
from planner.past_runs import Runs
from planner.policies.questions import launch_order, question_of

EVENTS = ".cyntra/logs/events.jsonl"
NOBODY_LATER = {"train": 0, "val": None, "test": None}


def trials_of_repo(repo: Path, of_issue: str | None = None) -> dict[str, Trial]:
    """By their ids; with ``of_issue`` all runs are of that one."""
    read = Repo(repo)
    runs = Runs.of([replace(run, issue_id=of_issue or run.issue_id) for run in read.runs])
    trials = logged_trials(runs, drafts_of(runs), read.events, read.issues, NOBODY_LATER)
    return {trial.trial_id: trial for trial in trials}


def test_a_build_writes_a_trial_for_every_run_and_counts_what_is_known(corpus_dataset: Path, corpus: Path) -> None:
    trials, info = read_trials(corpus_dataset), load_dataset(corpus_dataset).info
    assert info.trials == {"whole": 24, "cut": 6, "partly_known": 0}
    assert len(trials) == 30
    assert set(trials.tool.tolist()) == {"codex", "claude", "opencode", "crush"}
    assert (trials.ended_ms[1:] >= trials.ended_ms[:-1]).all()


def test_the_datasets_hash_does_not_depend_on_its_trials(corpus_dataset: Path, corpus: Path, tmp_path: Path) -> None:
    events = corpus / EVENTS
    line = orjson.loads(events.read_bytes().splitlines()[-1])
    loser = {"type": "workcell.started", "timestamp": line["timestamp"], "issue_id": "1", "workcell_id": "lost"}
    loser["data"] = {"toolchain": "codex", "speculate_tag": "spec-codex"}
    events.write_bytes(events.read_bytes() + orjson.dumps(loser) + b"\n")
    assert build_dataset(corpus, tmp_path / "out").dataset_hash == load_dataset(corpus_dataset).info.dataset_hash


def test_a_run_that_was_stopped_at_its_limit_is_cut_and_nobody_knows_whether_it_would_have_passed(corpus: Path) -> None:
    cut = trials_of_repo(corpus)["wc-7-20261122T194713Z"]
    assert (cut.cut, cut.passed, cut.tool) == (True, None, "opencode")
    assert cut.duration_ms == 3070  # from the event log: a serial timeout leaves no proof


def test_a_time_is_the_agents_own_without_the_gates(corpus: Path) -> None:
    directory = corpus / ".cyntra/archives/wc-2-20261122T194554Z"
    proof = orjson.loads((directory / "proof.json").read_bytes())
    trial = trials_of_repo(corpus)[directory.name]
    assert (trial.passed, trial.duration_ms) == (True, proof["metadata"]["duration_ms"])
    for name in ("proof.json", "rollout.json"):
        document = orjson.loads((directory / name).read_bytes())
        document.get("metadata", {}).pop("duration_ms", None)
        document.get("scores", {}).pop("duration_ms", None)
        (directory / name).write_bytes(orjson.dumps(document))
    assert trials_of_repo(corpus)[directory.name].duration_ms is None


@pytest.mark.parametrize(("chosen", "loser_passed"), [("wc-25-20261122T194559Z-spec-codex", None), (None, False)])
def test_of_a_speculations_loser_only_its_tool_is_known_and_that_it_failed_if_all_did(
    corpus: Path, chosen: str | None, loser_passed: bool | None
) -> None:
    runs = {run.run_id: run for run in Repo(corpus).runs}
    failed = (r for r in runs.values() if "-spec-" in r.run_id and r.summary["outcome"]["status"] == "failed")
    run = runs[chosen] if chosen else next(failed)
    events = [orjson.loads(line) for line in (corpus / EVENTS).read_bytes().splitlines()]
    started = next(e for e in events if e.get("workcell_id") == run.run_id and e["type"] == "workcell.started")
    lost = {**started, "workcell_id": "lost", "data": {"toolchain": "crush", "speculate_tag": "spec-crush"}}
    other = {**lost, "workcell_id": "another issue's", "issue_id": "999"}
    with (corpus / EVENTS).open("ab") as log:
        log.writelines(orjson.dumps(event) + b"\n" for event in (lost, other))
    trials = trials_of_repo(corpus)
    loser = trials["lost"]
    assert (loser.tool, loser.passed, loser.duration_ms, loser.cut) == ("crush", loser_passed, None, False)
    assert (loser.candidates, loser.known_passers) == ((2, 1) if loser_passed is None else (0, 0))
    assert loser.subject == trials[run.run_id].subject
    assert "another issue's" not in trials


def test_an_attempt_counts_what_had_ended_before_without_passing_cut_runs_too(corpus: Path) -> None:
    runs = {run.run_id: run for run in Repo(corpus).runs}
    kinds = set()
    for trial in trials_of_repo(corpus, of_issue="1").values():
        decided_ms = runs[trial.trial_id].decided_ms
        before = [run for run in runs.values() if run.ended_ms <= decided_ms and not run.passed]
        assert trial.attempt == len(before)
        kinds |= {run.status for run in before}
    assert kinds >= {"failed", "timeout"}


def test_only_what_had_ended_before_a_split_began_is_in_the_split_before() -> None:
    firsts = {"train": 0, "val": 100, "test": 200}
    assert [split_of(ms, firsts) for ms in (50, 100, 101, 200, 201)] == ["train", "train", "val", "val", "test"]
    assert split_of(300, {"train": 0, "val": None, "test": 200}) == "test"
    assert split_of(300, NOBODY_LATER) == "train"


def test_splits_of_a_built_dataset_keep_that_rule(corpus_dataset: Path) -> None:
    trials, splits = read_trials(corpus_dataset), load_dataset(corpus_dataset).info.splits
    first = min(ms for name in ("val", "test") if (ms := splits[name].first_ms) is not None)
    assert (trials.ended_ms[trials.split == "train"] <= first).all()
    assert (trials.ended_ms[trials.split != "train"] > first).all()


def test_a_dataset_of_an_earlier_program_opens_and_says_that_it_has_no_trials(
    corpus_dataset: Path, tmp_path: Path
) -> None:
    older = tmp_path / "older"
    shutil.copytree(corpus_dataset, older)
    (older / TRIALS_FILE).unlink()
    manifest = orjson.loads((older / "dataset.json").read_bytes())
    del manifest["trials"]
    (older / "dataset.json").write_bytes(orjson.dumps(manifest))
    assert load_dataset(older).info.trials == {}
    with pytest.raises(DatasetError, match="build or relabel the dataset again"):
        read_trials(older)


def test_a_subject_has_a_size_as_a_number_and_a_recorded_case_is_about_its_problem() -> None:
    issue = {"issue_id": "p@agent x", "dk_tool_hint": "agent x", "dk_size": "L", "tags": ["family"], "title": "A thing"}
    assert subject_of({"issue": issue}).issue_id == "p"
    assert subject_of({"issue": issue}).size_minutes == 480
    assert subject_of({"issue": {**issue, "estimated_minutes": 33}}).size_minutes == 33
    assert subject_of({"issue": {**issue, "dk_tool_hint": None}}).issue_id == "p@agent x"
    question = question_of({"issue": issue, "system_state": None}, {})
    assert (question.tools, question.repeats, question.lanes(3)) == (("agent x",), True, 3)


def test_candidates_are_the_tools_that_the_config_would_launch_a_hinted_one_first() -> None:
    config = {"toolchain_priority": ["codex", "claude", "opencode"]}
    issue = {"issue_id": "1", "dk_tool_hint": "claude", "dk_size": "M", "tags": []}
    context = {"issue": issue, "system_state": {"available_toolchains": ["opencode", "codex"]}}
    assert launch_order(context, config) == ("claude", "codex", "opencode")
    question = question_of({**context, "issue": {**issue, "dk_tool_hint": None}}, config)
    assert question.tools == ("codex", "opencode")
    assert question.lanes(3) == 2


def test_the_rule_for_an_issue_says_which_tools_come_first() -> None:
    rules = [{"match": {"dk_risk": ["high"]}, "use": ["opencode", "claude"], "speculate": True}]
    config = {"toolchain_priority": ["codex", "claude", "opencode"], "routing": {"rules": rules}}
    issue: dict[str, Any] = {"issue_id": "1", "dk_tool_hint": None, "dk_size": "M", "dk_risk": "high", "tags": []}
    context = {"issue": issue, "system_state": {"available_toolchains": ["codex", "opencode"]}}
    assert launch_order(context, config) == ("opencode", "codex")
    assert launch_order({**context, "issue": {**issue, "dk_risk": "low"}}, config) == ("codex", "opencode")
