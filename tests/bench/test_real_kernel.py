"""The real kernel on the bench, where it is installed: on PATH, or at the path in the environment variable CYNTRA."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.ledger import Ledger
from bench.run import CyntraSettings, run_bench
from planner.actions import action_from_document
from tests.bench.conftest import SOLVES, KernelRepo

KERNEL = shutil.which(os.environ.get("CYNTRA", "cyntra"))
pytestmark = pytest.mark.skipif(
    KERNEL is None, reason="the real kernel is not installed: put cyntra on PATH, or its path in CYNTRA"
)


def test_the_real_kernel_runs_what_is_forced_and_what_cannot_win_is_capped(
    kernel_repo: KernelRepo, ray_cluster: Any
) -> None:
    # Serial runs go to codex: it solves at once, so a speculation that waits for opencode's ten seconds cannot win.
    kernel_repo.write_tool("codex", SOLVES.format(sleep=0, cost=0.2))
    kernel_repo.write_tool("opencode", SOLVES.format(sleep=10, cost=0.3))
    before = kernel_repo.state()
    work = kernel_repo.root.parent / "work"
    report = run_bench(
        kernel_repo.root, cyntra=CyntraSettings([str(KERNEL)]), n_actions=4, issue_ids=["1"], workers=1, work_base=work
    )
    assert kernel_repo.state() == before and list(work.iterdir()) == []
    with Ledger.read(report.ledger_path) as ledger:
        executions = ledger.executions()
    assert len(executions) == 4 and report.faults == 0
    for execution in executions:
        action, outcome = action_from_document(execution.action.model_dump()), execution.outcome
        if outcome.status == "censored":
            assert outcome.stopped_by == "capped" and outcome.duration_ms < 10_000
            continue
        plan = outcome.executed_plan
        assert outcome.passed and plan is not None
        assert plan.swarm_id_executed == action.swarm_id
        assert plan.max_candidates_executed == action.max_candidates_bin == len(outcome.launches)
        assert plan.timeout_seconds_executed == 60 * int(action.max_minutes_bin)
    assert any(e.outcome.status == "censored" and e.action.max_candidates_bin == 3 for e in executions)


def test_a_config_elsewhere_drives_the_real_kernel(kernel_repo: KernelRepo, ray_cluster: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.move(kernel_repo.root / ".cyntra", elsewhere)
    (kernel_repo.root / ".cyntra").mkdir()
    report = run_bench(
        kernel_repo.root,
        cyntra=CyntraSettings([str(KERNEL)]),
        kernel_dir=elsewhere,
        n_actions=1,
        issue_ids=["1"],
        full=True,
        work_base=kernel_repo.root.parent / "work",
    )
    assert (report.run, report.faults) == (1, 0)
