"""Tests of executions: what is forced, what is measured, what counts as a fault, and that the repo stays as it was."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.containment.limits import Limits
from bench.containment.strays import MARK
from bench.containment.workdirs import make_work_dir, remove_tree
from bench.executors.cyntra.executor import LONGEST_RUN
from planner.actions import Action
from planner.contracts.bench import BenchOutcome
from planner.errors import BenchError
from tests.bench.benches import cases_of, executor_of
from tests.bench.conftest import SMALL_KERNEL, SOLVES, KernelRepo
from tests.bench.test_supervised import RUN_AWAY

SERIAL = Action("serial_handoff", 1, 15, "NA")
VOTE = Action("speculate_vote", 3, 30, "NA")


def execute(repo: KernelRepo, action: Action, issue_id: str = "1", **options: Any) -> BenchOutcome:
    executor = executor_of(repo.root, options.pop("command", SMALL_KERNEL), **options)
    (case,) = cases_of(repo.root, issue_ids=[issue_id], n_actions=1)
    work_dir = repo.root.parent / "work" / f"{time.monotonic_ns()}"
    make_work_dir(work_dir)
    outcome = executor.execute(case, action, work_dir)
    remove_tree(work_dir)
    return outcome


def test_a_speculation_counts_the_time_and_cost_of_its_losers(kernel_repo: KernelRepo) -> None:
    outcome = execute(kernel_repo, VOTE)
    assert (outcome.status, outcome.passed, outcome.fault) == ("failed", False, None)
    assert outcome.fail_codes == ["test"]
    assert [(gate.name, gate.passed) for gate in outcome.gates] == [("test", False)]
    assert sorted(launch.tool for launch in outcome.launches) == ["claude", "codex", "opencode"]
    assert outcome.cost_usd == pytest.approx(0.9)
    assert outcome.agent_ms == sum(launch.duration_ms for launch in outcome.launches) >= 800
    assert outcome.duration_ms >= 600
    assert outcome.executed_plan is not None
    assert outcome.executed_plan.max_candidates_executed == 3
    assert outcome.executed_plan.timeout_seconds_executed == 1800


def test_candidates_are_the_tools_that_the_rule_for_the_issue_names(kernel_repo: KernelRepo) -> None:
    rules = [{"match": {"dk_risk": "high"}, "use": ["opencode", "claude"], "speculate": True}]
    kernel_repo.write_config(routing={"rules": rules})
    kernel_repo.write_issues({"id": "1", "dk_risk": "high"}, {"id": "2", "dk_risk": "low"})
    two = Action("speculate_vote", 2, 30, "NA")
    assert sorted(launch.tool for launch in execute(kernel_repo, two).launches) == ["claude", "opencode"]
    assert sorted(launch.tool for launch in execute(kernel_repo, two, "2").launches) == ["claude", "codex"]


def test_a_serial_run_starts_one_tool_and_passes_by_its_gates(kernel_repo: KernelRepo) -> None:
    kernel_repo.write_tool("codex", SOLVES.format(sleep=0, cost=0.2))
    outcome = execute(kernel_repo, SERIAL)
    assert (outcome.status, outcome.passed, outcome.cost_usd) == ("success", True, 0.2)
    assert [launch.tool for launch in outcome.launches] == ["codex"]


def test_a_run_does_not_reach_the_users_tracker_by_its_command_line(kernel_repo: KernelRepo) -> None:
    kernel_repo.write_tool("bd", "#!/bin/sh\nexit 0\n")
    kernel_repo.write_tool("codex", "#!/bin/sh\nbd list || echo done > solved.txt\n")
    assert execute(kernel_repo, SERIAL).passed


def test_a_tool_that_cyntra_stops_at_its_limit_gives_a_timeout(kernel_repo: KernelRepo) -> None:
    kernel_repo.write_config(seconds_per_minute=0.05)
    kernel_repo.write_tool("codex", "#!/bin/sh\nexec sleep 60\n")
    outcome = execute(kernel_repo, SERIAL)
    assert (outcome.status, outcome.stopped_by, outcome.fault) == ("timeout", None, None)
    # The limit is 750 ms, and the kernel's clock starts before the wrapper's: on a busy machine by a good part of it.
    assert 400 <= outcome.launches[0].duration_ms <= 5000
    assert outcome.launches[0].exit_code is None


def test_a_run_away_tool_is_gone_after_the_wall_limit(
    kernel_repo: KernelRepo, processes_with: Callable[[str], list[str]]
) -> None:
    kernel_repo.write_tool("codex", f"#!{sys.executable} -SE\nimport sys\nsys.argv = ['', '', 'stay']\n{RUN_AWAY}")
    outcome = execute(kernel_repo, SERIAL, limits=Limits(1.5))
    assert (outcome.status, outcome.stopped_by, outcome.passed, outcome.fault) == ("timeout", "walltime", False, None)
    assert outcome.fail_codes == ["timeout"]
    assert 1400 <= outcome.duration_ms < 4000
    assert len(outcome.launches) == 1
    assert processes_with(str(kernel_repo.root.parent)) == []


def test_another_plan_than_the_forced_one_is_a_fault(kernel_repo: KernelRepo) -> None:
    kernel_repo.write_config(test_extra_candidates=1)
    outcome = execute(kernel_repo, SERIAL)
    assert outcome.status == "fault"
    assert outcome.fault is not None
    assert outcome.fault.startswith(
        "forced serial_handoff with 1 candidates and 900 s, ran serial_handoff with 2 candidates and 900 s"
    )


def break_nothing(repo: KernelRepo) -> dict[str, Any]:
    return {}


def break_kernel(repo: KernelRepo) -> dict[str, Any]:
    repo.write_config(test_crash=True)
    return {}


def kernel_that_does_nothing(repo: KernelRepo) -> dict[str, Any]:
    return {"command": ["sh", "-c", "echo nothing to do"]}


def kernel_that_only_launches(repo: KernelRepo) -> dict[str, Any]:
    return {"command": ["sh", "-c", "codex </dev/null"]}


@pytest.mark.parametrize(
    ("spoil", "action", "reason"),
    [
        (break_kernel, SERIAL, "Cyntra ended with exit code 1"),
        (kernel_that_does_nothing, SERIAL, "no agent tool was started; its output ends: nothing to do"),
        (kernel_that_only_launches, SERIAL, "Cyntra archived no run"),
        (break_nothing, Action("speculate_vote", 4, 15, "NA"), "4 candidates need as many toolchains, found 3: codex"),
        (break_nothing, Action("swarm_of_mine", 1, 15, "NA"), "swarm 'swarm_of_mine' cannot be forced"),
    ],
)
def test_what_the_machine_spoils_is_a_fault_with_its_reason(
    kernel_repo: KernelRepo, spoil: Callable[[KernelRepo], dict[str, Any]], action: Action, reason: str
) -> None:
    outcome = execute(kernel_repo, action, **spoil(kernel_repo))
    assert (outcome.status, outcome.passed, outcome.executed_plan) == ("fault", False, None)
    assert outcome.fault is not None and outcome.fault.startswith(reason)


def test_a_commit_or_an_issue_that_is_gone_is_a_fault(kernel_repo: KernelRepo, tmp_path: Path) -> None:
    executor = executor_of(kernel_repo.root, SMALL_KERNEL)
    (case, _) = cases_of(kernel_repo.root, n_actions=1)
    for number, (changed, reason) in enumerate(
        [
            ({"base_commit": "1" * 40}, f"cannot clone {kernel_repo.root} at {'1' * 40}"),
            ({"issue_id": "gone"}, "issue 'gone' is no longer in"),
        ]
    ):
        make_work_dir(tmp_path / "work" / str(number))
        outcome = executor.execute(case.model_copy(update=changed), SERIAL, tmp_path / "work" / str(number))
        assert outcome.fault is not None and outcome.fault.startswith(reason)


def test_tools_that_the_config_gives_by_path_are_wrapped_too(kernel_repo: KernelRepo) -> None:
    agent = kernel_repo.write_tool("my agent", SOLVES.format(sleep=0, cost=0.7))
    kernel_repo.write_config(toolchain_priority=["codex"], toolchains={"codex": {"path": str(agent)}})
    outcome = execute(kernel_repo, SERIAL)
    assert outcome.passed
    assert [(launch.tool, launch.cost_usd) for launch in outcome.launches] == [("codex", 0.7)]


def test_a_run_sees_the_allowed_environment_only(kernel_repo: KernelRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    monkeypatch.setenv("API_KEY", "k3y")
    monkeypatch.setenv("GIT_DIR", str(kernel_repo.root / ".git"))
    kernel_repo.write_tool(
        "codex", f"#!/bin/sh\nenv > {kernel_repo.tools}/seen\ngit rev-parse --show-toplevel >> seen\n"
    )
    outcome = execute(kernel_repo, SERIAL, pass_on=["API_KEY"])
    assert outcome.launches[0].exit_code == 0
    seen = dict(line.split("=", 1) for line in (kernel_repo.tools / "seen").read_text().splitlines() if "=" in line)
    assert set(seen) <= {
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TERM",
        "TMPDIR",
        "API_KEY",
        MARK,
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
    }
    assert seen["API_KEY"] == "k3y"
    assert Path(seen["TMPDIR"]).is_relative_to(kernel_repo.root.parent / "work")


def test_the_repo_is_left_as_it_was_even_by_a_tool_that_pushes_and_deletes(kernel_repo: KernelRepo) -> None:
    vandal = (
        "#!/bin/sh\ncd ../..\ngit checkout -q -b vandal\necho x > x\ngit add x\ngit commit -q -m x\n"
        "git push -q origin vandal\ngit push -q --all\ngit remote -v\nrm -rf .beads/* .git/objects/* .git/refs\n"
    )
    kernel_repo.write_tool("codex", vandal)
    before = kernel_repo.state()
    execute(kernel_repo, SERIAL)
    assert kernel_repo.state() == before
    assert kernel_repo.git("fsck") == ""
    assert list((kernel_repo.root.parent / "work").iterdir()) == []


def test_hostile_issue_ids_reach_the_kernel_as_they_are(kernel_repo: KernelRepo) -> None:
    issue_id = "a$(b)+c@d;e'f"
    kernel_repo.write_issues({"id": issue_id, "title": '"; touch pwned; $(touch pwned)\n'})
    outcome = execute(kernel_repo, SERIAL, issue_id)
    assert (outcome.status, outcome.fault) == ("failed", None)
    assert not list(kernel_repo.root.parent.rglob("pwned"))


def test_an_execution_is_limited_by_its_minutes_the_users_limit_and_a_hard_cap(kernel_repo: KernelRepo) -> None:
    unlimited = executor_of(kernel_repo.root, SMALL_KERNEL)
    assert unlimited.wall_limit(SERIAL) == 15 * 60 + 600
    assert unlimited.wall_limit(Action("serial_handoff", 1, 600, "NA")) == LONGEST_RUN.wall_s
    assert unlimited.wall_limit(Action("serial_handoff", 1, "NA", "NA")) == LONGEST_RUN.wall_s
    assert executor_of(kernel_repo.root, SMALL_KERNEL, limits=Limits(7)).wall_limit(SERIAL) == 7
    kernel_repo.write_config(seconds_per_minute=0.1)
    assert executor_of(kernel_repo.root, SMALL_KERNEL).wall_limit(SERIAL) == pytest.approx(601.5)


def test_a_missing_kernel_is_named_before_anything_runs(kernel_repo: KernelRepo) -> None:
    with pytest.raises(BenchError, match="'no-such-kernel' is not on PATH"):
        executor_of(kernel_repo.root, ["no-such-kernel"])
