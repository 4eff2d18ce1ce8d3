"""`planner evolve` on a sandbox's worlds, with a bundle that decides by tags."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from bench.dispatch.evolutions import evolve_worlds
from bench.dispatch.journal import Journal
from bench.dispatch.options import EvolveOptions
from bench.dispatch.report import Report
from bench.testbeds.sandbox.create import create_sandbox
from planner.actions import Action
from planner.artifacts.repo import Repo
from planner.dataset.examples import make_examples
from planner.encoding.profiles import token_segments
from planner.errors import UsageError
from tests.bench.scripted_bundle import write_scripted_bundle

KERNEL = f"{sys.executable} -m bench.testbeds.sandbox.kernel"
ROOT = Path(__file__).parents[2]


class WorldRepo:
    """A sandbox with two world issues, a and b, whose tags are set to what the bundle is to decide."""

    def __init__(self, directory: Path) -> None:
        self.root, self.bundle = create_sandbox(directory / "repo", issues=1, worlds=1, seed=0), directory / "bundle"
        space = Repo(self.root).universe.action_space
        self.actions = space.valid_actions("fab-world")
        self.tags = write_scripted_bundle(self.bundle, space, job_type="fab-world")
        lines = (self.root / ".beads/issues.jsonl").read_text().splitlines()
        self._world = next(issue for issue in map(json.loads, lines) if "asset:world" in issue["tags"])

    def ask(self, **decisions: Action | None) -> None:
        """Issues by their ids, and what the bundle is to decide for each: nothing it is sure of for None."""
        path = self.root / ".beads/issues.jsonl"
        tags = [tag for tag in self._world["tags"] if tag == "asset:world" or tag.startswith("world:")]
        with path.open("a") as file:
            for issue_id, action in decisions.items():
                own = [] if action is None else [self.tags[self.actions.index(action)]]
                file.write(json.dumps({**self._world, "id": issue_id, "tags": [*tags, *own]}) + "\n")

    def evolve(self, *issue_ids: str, **options: Any) -> Report:
        """`planner evolve` in this process."""
        given = {"planner_enabled": True, "planner_checkpoint": self.bundle, "cyntra": KERNEL, **options}
        return evolve_worlds(self.root, EvolveOptions(issue_ids=list(issue_ids), **given), print)

    @property
    def journal(self) -> Journal:
        return Journal(self.root / ".cyntra/planner/run/journal.jsonl")


@pytest.fixture
def worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorldRepo:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return WorldRepo(tmp_path)


def test_swarm_population_and_generations_are_forced_recorded_and_read_back(worlds: WorldRepo) -> None:
    worlds.ask(a=Action("serial_handoff", 1, 120, 2), b=Action("speculate_vote", 2, "NA", 1), c=None)
    report = worlds.evolve("a", "b", "c", seed=3)
    assert report.is_complete and (report.as_decided, report.by_itself) == (2, {"low_confidence": 1})
    repo = Repo(worlds.root).read_all()
    plans = {run.issue_id: tuple((run.executed_plan or {}).values())[1:7] for run in repo.runs}
    assert plans["a"] == ("serial_handoff", 1, 7200, 2, False, None)
    assert plans["b"] == ("speculate_vote", 2, None, 1, False, None)
    assert plans["c"][4:] == (True, "low_confidence")
    found = make_examples(repo.runs, repo.issues, repo.universes, "planner", repo.start_failures)
    assert found.contexts["recorded"] == found.contexts["checked"] == found.contexts["same_tokens"] == 3
    served = {entry.later["recorded"]["archive"]: entry.decided for entry in worlds.journal.entries.values()}
    for example in found.examples:
        decided = served[example.example_id]
        assert token_segments(example.context, "planner") == token_segments(decided["planner_input"], "planner")
        if decided["forced"] is not None:
            assert tuple(example.label) == tuple(decided["forced"].values())


def test_an_evolution_that_comes_to_its_minutes_is_ended_and_named(
    worlds: WorldRepo, processes_with: Callable[[str], list[str]]
) -> None:
    config = worlds.root / ".cyntra/config.yaml"
    # 30 ms for 15 minutes: less than any kernel needs to start.
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "sandbox": {"seconds_per_minute": 0.002}}))
    worlds.ask(a=Action("speculate_vote", 3, 15, 5))
    report = worlds.evolve("a")
    assert report.without_run == 1 and not report.is_complete
    (entry,) = worlds.journal.entries.values()
    assert "the decision's own limit" in entry.later["no_run"]["reason"]
    assert processes_with(str(worlds.root)) == []


def test_who_is_no_world_is_named_and_a_command_without_an_issue_is_wrong(worlds: WorldRepo) -> None:
    report = worlds.evolve("1", "nobody")
    assert report.not_run == {"1": "no world job: it has no tag asset:world", "nobody": "there is no such issue"}
    with pytest.raises(UsageError, match="--issue is missing"):
        worlds.evolve()


def test_an_evolution_that_was_not_recorded_is_completed_by_the_next_command(worlds: WorldRepo) -> None:
    """As after SIGKILL between the kernel's end and the record: the journal's last two lines were never written."""
    worlds.ask(a=Action("serial_handoff", 1, "NA", 1))
    worlds.evolve("a")
    path = worlds.root / ".cyntra/planner/run/journal.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    (evolution,) = (worlds.root / ".cyntra/runs").glob("evolve_world_*/evolve_world.json")
    document = orjson.loads(evolution.read_bytes())
    section = document.pop("planner")
    evolution.write_bytes(orjson.dumps(document))
    worlds.evolve("nobody")
    assert orjson.loads(evolution.read_bytes())["planner"] == section
    assert not worlds.journal.open_entries()
