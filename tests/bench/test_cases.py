"""Tests of the cases that a repo yields."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.planning.cases import CaseOrigin, natural_order, select_issues
from bench.planning.selections import Coverage
from planner.actions import ActionSpace, action_from_document
from planner.artifacts.repo import Repo
from planner.context import ContextBuilder, system_state
from planner.contracts.document import timestamp_to_ms
from planner.contracts.kernel import context_builder
from planner.encoding.kernel_tokens import kernel_segments
from planner.errors import ArtifactError, BenchError
from tests.bench.benches import cases_of
from tests.bench.conftest import KernelRepo

NOW_MS = 1_795_376_942_000


def test_schedulable_issues_come_in_natural_order_and_the_others_are_set_aside_with_a_reason() -> None:
    issues: dict[str, dict[str, Any]] = {
        "10": {"status": "open"},
        "9": {"status": "ready"},
        "done": {"status": "done"},
        "human": {"status": "open", "tags": ["escalation"]},
        "../up": {"status": "open"},
        "a/b": {"status": "open"},
        "-x": {"status": "open"},
        "new\nline": {"status": "open"},
    }
    selection = select_issues(issues)
    assert selection.issue_ids == ["9", "10"]
    assert set(selection.set_aside) == set(issues) - {"9", "10"}
    assert selection.set_aside["done"] == "status 'done'"
    assert select_issues(issues, ["done"]).issue_ids == ["done"]
    with pytest.raises(BenchError, match=r"issue '\.\./up'.*rename it"):
        select_issues(issues, ["../up"])
    with pytest.raises(BenchError, match="no issue 'nope'"):
        select_issues(issues, ["nope"])


def test_natural_order_counts() -> None:
    assert sorted(["CY-10", "b", "CY-9", "10", "9"], key=natural_order) == ["9", "10", "CY-9", "CY-10", "b"]


def test_a_case_has_the_commit_of_main_a_context_and_valid_actions(kernel_repo: KernelRepo) -> None:
    first, second = cases_of(kernel_repo.root, created_ms=NOW_MS, n_actions=4)
    assert (first.issue_id, second.issue_id) == ("1", "2")
    assert first.base_commit == kernel_repo.git("rev-parse", "main")
    state = first.context.system_state
    assert state is not None and state.available_toolchains == ["codex", "claude", "opencode"]
    space = ActionSpace.from_document(first.context.action_space.model_dump(by_alias=True))
    actions = [action_from_document(action.model_dump()) for action in first.actions]
    assert len(set(actions)) == 4
    assert all(space.is_valid(action, "code") for action in actions)


def test_the_same_call_gives_the_same_cases_and_stored_ones_are_kept(kernel_repo: KernelRepo) -> None:
    cases = cases_of(kernel_repo.root, created_ms=NOW_MS)
    assert cases == cases_of(kernel_repo.root, created_ms=NOW_MS)
    assert [c.case_id for c in cases] == [c.case_id for c in cases_of(kernel_repo.root, created_ms=NOW_MS + 10**7)]
    kernel_repo.write_issues({"id": "1", "status": "done"}, {"id": "2"}, {"id": "3"})
    later = cases_of(kernel_repo.root, selection=Coverage(9), n_actions=2, stored=cases[:1])
    assert later[0] == cases[0]
    assert [case.issue_id for case in later] == ["1", "2", "3"]
    assert [case.issue_id for case in cases_of(kernel_repo.root, stored=cases[:1], limit=2)] == ["1", "2"]
    assert [case.issue_id for case in cases_of(kernel_repo.root, stored=cases, issue_ids=["2"])] == ["2"]


def test_no_case_asks_for_more_candidates_than_there_are_toolchains(kernel_repo: KernelRepo) -> None:
    (kernel_repo.tools / "opencode").unlink()
    cases = cases_of(kernel_repo.root, n_actions=20)
    assert {action.max_candidates_bin for case in cases for action in case.actions} == {1, 2}


def test_a_worlds_candidates_are_not_bound_by_toolchains_and_a_job_without_a_world_is_set_aside(
    kernel_repo: KernelRepo,
) -> None:
    for name in ("claude", "opencode"):
        (kernel_repo.tools / name).unlink()
    kernel_repo.write_issues({"id": "1", "tags": ["asset:world", "world:cave-1"]}, {"id": "2", "tags": ["world:x"]})
    world, code = cases_of(kernel_repo.root, n_actions=20)
    assert (world.context.job_type, code.context.job_type) == ("fab-world", "code")
    assert {action.max_candidates_bin for action in world.actions} == {1, 2, 3}
    assert {action.max_candidates_bin for action in code.actions} == {1}
    selection = select_issues({"1": {"status": "open", "tags": ["asset:world", "world:"]}})
    assert selection.set_aside == {"1": "a world job without a tag world:<world id>"}


def test_a_repo_without_a_branch_main_or_without_git_is_named(kernel_repo: KernelRepo, tmp_path: Path) -> None:
    kernel_repo.git("branch", "-m", "main", "trunk;$(rm)")
    with pytest.raises(BenchError, match="no local branch main"):
        cases_of(kernel_repo.root)
    (tmp_path / "plain" / ".cyntra").mkdir(parents=True)
    with pytest.raises(BenchError, match="not a git repository"):
        cases_of(tmp_path / "plain")
    with pytest.raises(ArtifactError, match="missing"):
        cases_of(tmp_path / "missing")


def test_a_repo_that_cyntra_never_saw_is_named(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "x"], cwd=tmp_path, check=True)
    with pytest.raises(ArtifactError, match=r"no \.cyntra directory"):
        cases_of(tmp_path)


@pytest.mark.parametrize(
    ("config", "issue", "candidates"),
    [
        (
            {
                "routing": {
                    "rules": [
                        {"match": {"dk_tool_hint": "codex"}, "use": ["codex"]},
                        {
                            "match": {"dk_risk": ["high"]},
                            "speculate": True,
                            "parallelism": 2,
                            "use": ["codex", "claude"],
                        },
                        {"match": {}, "use": ["claude"]},
                    ]
                }
            },
            {"dk_risk": "high", "dk_tool_hint": "codex"},
            2,
        ),
        (
            {"speculation": {"auto_trigger": {"on_critical_path": True, "risk_levels": ["high"]}}},
            {"risk": "high"},
            2,
        ),
        (
            {"routing": {"rules": [{"match": {"description_pattern": "zebra"}, "speculate": True, "parallelism": 3}]}},
            {"description": "a zebra"},
            3,
        ),
        ({"routing": {"rules": [{"match": {"colour": "red"}, "speculate": True}]}}, {}, 2),
        ({}, {"dk_risk": "high", "dk_estimated_tokens": 10**6}, 1),
    ],
)
def test_the_default_of_a_case_is_what_the_kernel_would_run(
    kernel_repo: KernelRepo, config: dict[str, Any], issue: dict[str, Any], candidates: int
) -> None:
    kernel_repo.write_config(**config)
    kernel_repo.write_issues({"id": "1", **issue})
    (case,) = cases_of(kernel_repo.root)
    assert case.actions[0].max_candidates_bin == candidates
    assert case.actions[0].swarm_id == ("serial_handoff" if candidates == 1 else "speculate_vote")


def test_plain_keys_of_an_issue_count_as_cyntras_own(kernel_repo: KernelRepo) -> None:
    kernel_repo.write_issues(
        {"id": "2", "tags": [], "priority": "P0", "risk": "high", "size": "L", "tool_hint": "codex"}
    )
    part = cases_of(kernel_repo.root)[0].context.issue
    assert (part.dk_priority, part.dk_risk, part.dk_size, part.dk_tool_hint) == ("P0", "high", "L", "codex")


# --- whose contexts they have -----------------------------------------------------------------------------------------


def decisions(root: Path) -> Iterator[dict[str, Any]]:
    """What the kernel recorded of its decisions in the repo's universe, one for each issue that the tracker has."""
    found = {}
    for path in sorted(root.glob(".cyntra/archives/*/manifest.json")):
        context = orjson.loads(path.read_bytes())["planner"]["planner_input"]
        if context["universe_id"] == "medica":
            found[context["issue"]["issue_id"]] = context
    known = Repo(root).issues
    return (context for issue_id, context in found.items() if issue_id in known)


def test_cases_of_the_profile_kernel_have_the_contexts_that_the_kernel_built(first_runs: Path) -> None:
    recorded = {context["issue"]["issue_id"]: context for context in decisions(first_runs)}
    moments_ms = {issue_id: timestamp_to_ms(context["created_at"]) for issue_id, context in recorded.items()}
    tools = ["codex", "claude", "opencode", "crush"]
    origin = CaseOrigin("0" * 40, tools, moments_ms)
    cases = cases_of(first_runs, origin=origin, profile="kernel", issue_ids=sorted(recorded))
    for case in cases:
        context = case.context.model_dump(exclude_unset=True)
        assert case.context_builder == context_builder(context) == "kernel"
        assert kernel_segments(context) == kernel_segments(recorded[case.issue_id])
    assert len(cases) > 5


def test_cases_have_the_planners_contexts_unless_the_kernels_are_asked_for(first_runs: Path) -> None:
    origin = CaseOrigin("0" * 40, ["codex"])
    (case,) = cases_of(first_runs, origin=origin, issue_ids=["2"], created_ms=NOW_MS)
    state = system_state(["codex"], NOW_MS)
    served = ContextBuilder(Repo(first_runs)).build("2", created_ms=NOW_MS, system_state=state)
    assert case.context.model_dump(exclude_unset=True) == served
    assert case.context_builder == context_builder(served) == "planner"


def test_a_case_is_the_same_made_beside_others_and_made_alone(first_runs: Path) -> None:
    issue_ids = sorted({context["issue"]["issue_id"] for context in decisions(first_runs)})
    origin = CaseOrigin("0" * 40, ["codex"])
    beside = cases_of(first_runs, origin=origin, issue_ids=issue_ids, created_ms=NOW_MS)
    runs = [run.run_id for case in beside for run in case.context.history.last_n_similar_runs]
    assert len(runs) > len(set(runs)) > 1  # they share past runs
    for case in beside:
        (alone,) = cases_of(first_runs, origin=origin, issue_ids=[case.issue_id], created_ms=NOW_MS)
        assert case.context.model_dump_json() == alone.context.model_dump_json()


def test_a_bench_goes_on_with_the_contexts_that_it_began_with(first_runs: Path) -> None:
    origin = CaseOrigin("0" * 40, ["codex"])
    stored = cases_of(first_runs, origin=origin, issue_ids=["2"], profile="kernel")
    with pytest.raises(BenchError, match="contexts of the profile kernel, not planner: go on with --profile kernel"):
        cases_of(first_runs, origin=origin, issue_ids=["2"], stored=stored)
    assert cases_of(first_runs, origin=origin, issue_ids=["2"], stored=stored, profile="kernel") == stored
