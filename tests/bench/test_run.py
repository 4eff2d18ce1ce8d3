"""Tests of whole benches, by real processes that are interrupted and killed."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.engine.run import BenchReport
from bench.ledger import Ledger
from bench.testbeds.sandbox.create import create_sandbox
from planner.errors import BenchError
from tests.bench.benches import bench_repo
from tests.bench.conftest import SMALL_KERNEL, SOLVES, KernelRepo

REPO_ROOT = Path(__file__).parents[2]


def bench(repo: KernelRepo, **options: Any) -> BenchReport:
    work_base = repo.root.parent / "work"
    report = bench_repo(repo.root, SMALL_KERNEL, **{"n_actions": 2, "workers": 1, "work_dir": work_base, **options})
    assert list(work_base.iterdir()) == []
    return report


class BenchProcess:
    """`planner bench` as a process of its own, by default on the tests' Ray; None = on a Ray inside of it."""

    def __init__(
        self,
        repo: KernelRepo,
        address: str | None,
        *more: object,
        environment: Mapping[str, str] | None = None,
        terminal: int | None = None,
    ) -> None:
        self.repo = repo
        self.work_base = repo.root.parent / "work"
        self.ledger_path = repo.root / ".cyntra" / "planner" / "bench" / "ledger.sqlite"
        command = f"{SMALL_KERNEL[0]} {SMALL_KERNEL[1]}"
        options = ["--k", "3", "--workers", "2", "--full", "--cyntra", command, "--work-dir", self.work_base, *more]
        if address is not None:
            options += ["--address", address]
        program = "from planner.cli import main; main()"
        if terminal is not None:
            program = f"import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); {program}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, "bench", *map(str, options), str(repo.root)],
            cwd=REPO_ROOT,
            env=environment,
            stdin=terminal,
            stdout=subprocess.PIPE if terminal is None else terminal,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def until_finished(self, n_executions: int) -> None:
        """Wait until so many executions are in the ledger and another one has been started."""
        deadline = time.monotonic() + 60
        while self.process.poll() is None:
            if self.ledger_path.exists():
                try:
                    with Ledger.read(self.ledger_path) as ledger:
                        progress = ledger.progress()
                except (BenchError, sqlite3.Error):
                    continue
                if progress.finished >= n_executions and progress.started:
                    return
            assert time.monotonic() < deadline
            time.sleep(0.02)
        raise AssertionError(f"the bench ended early: {self.end()}")

    def end(self) -> str:
        """Wait for the end; the output."""
        return self.process.communicate(timeout=90)[0]


@pytest.fixture
def address(ray_cluster: Any) -> str:
    return ray_cluster.get_runtime_context().gcs_address


def test_a_bench_runs_every_action_of_every_case_and_reports_the_winners(
    kernel_repo: KernelRepo, ray_cluster: Any
) -> None:
    kernel_repo.write_issues(
        {"id": "1"}, {"id": "2", "status": "done"}, {"id": "10", "tags": ["escalation"]}, {"id": "3"}
    )
    kernel_repo.write_tool("codex", SOLVES.format(sleep=0, cost=0.2))
    before = kernel_repo.state()
    report = bench(kernel_repo, full=True)
    assert kernel_repo.state() == before
    assert [case.issue_id for case in report.cases] == ["1", "3"]
    assert (report.read, report.run, report.resumed, report.faults) == (4, 4, 0, 0)
    assert set(report.set_aside) == {"2", "10"}
    assert all((case.planned, case.finished, case.passed) == (2, 2, 2) for case in report.cases)
    assert all(case.verdict is not None for case in report.cases)
    with Ledger.read(report.ledger_path) as ledger:
        assert len(ledger.executions()) == 4


def test_what_the_ledger_has_is_not_run_again_and_faults_only_on_demand(
    kernel_repo: KernelRepo, ray_cluster: Any
) -> None:
    first = bench(kernel_repo, n_actions=1, limit=1)
    assert (first.run, first.resumed) == (1, 0)
    second = bench(kernel_repo, n_actions=1)
    assert (second.run, second.resumed) == (1, 1)
    kernel_repo.write_config(test_crash=True)
    third = bench(kernel_repo, n_actions=1, repeats=2)
    assert (third.run, third.resumed, third.faults) == (2, 2, 2)
    kernel_repo.write_config()
    assert bench(kernel_repo, n_actions=1, repeats=2).run == 0
    fourth = bench(kernel_repo, n_actions=1, repeats=2, retry_faults=True)
    assert (fourth.run, fourth.resumed, fourth.faults) == (2, 2, 0)


def test_a_bench_killed_at_several_moments_ends_with_every_execution_once_and_nothing_left(
    kernel_repo: KernelRepo, address: str, processes_with: Callable[[str], list[str]]
) -> None:
    kernel_repo.write_issues(*({"id": str(number)} for number in range(3)))
    before = kernel_repo.state()
    draw = random.Random(0)
    for n_finished in (0, 1, 4):
        process = BenchProcess(kernel_repo, address)
        process.until_finished(n_finished)
        time.sleep(draw.uniform(0, 0.3))
        os.kill(process.process.pid, signal.SIGKILL)
        process.end()
    with Ledger.read(process.ledger_path) as ledger:
        survivors = {execution.execution_id: execution for execution in ledger.executions()}
    assert len(survivors) >= 4
    last = BenchProcess(kernel_repo, address)
    output = last.end()
    assert last.process.returncode == 0, output
    assert f"{9 - len(survivors)} executions run, {len(survivors)} resumed" in output
    with Ledger.read(last.ledger_path) as ledger:
        executions = ledger.executions()
        assert {execution.execution_id: execution for execution in executions}.items() >= survivors.items()
        planned = Counter((case.case_id, str(action)) for case in ledger.cases() for action in case.actions)
        assert Counter((e.case_id, str(e.action)) for e in executions) == planned
        assert (ledger.progress().finished, ledger.progress().total, ledger.progress().faults) == (9, 9, 0)
    assert processes_with(str(kernel_repo.root.parent)) == []
    assert list(last.work_base.iterdir()) == []
    assert kernel_repo.state() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_bench_stops_cleanly_and_refuses_a_second_one_while_it_lives(
    kernel_repo: KernelRepo, address: str, processes_with: Callable[[str], list[str]], number: int
) -> None:
    # A number that no other test sleeps, which may run beside this one.
    sleep = f"sleep 60.{os.getpid()}"
    for tool in ("codex", "claude", "opencode"):
        kernel_repo.write_tool(tool, f"#!/bin/sh\ntrap '' TERM\n{sleep} & wait\n{sleep}\n")
    process = BenchProcess(kernel_repo, address)
    process.until_finished(0)
    with pytest.raises(BenchError, match=f"another bench writes to it \\(process {process.process.pid}\\)"):
        bench(kernel_repo)
    deadline = time.monotonic() + 20
    while not processes_with(sleep):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.process.send_signal(number)
    output = process.end()
    assert "Stopped." in output
    assert process.process.returncode == 130
    assert processes_with(str(kernel_repo.root.parent)) == []
    assert processes_with(sleep) == []
    assert list(process.work_base.iterdir()) == []
    with Ledger.open(process.ledger_path) as ledger:
        assert (ledger.progress().planned, ledger.progress().finished) == (6, 0)


def test_outcomes_of_another_kernel_are_not_mixed_in(kernel_repo: KernelRepo, ray_cluster: Any) -> None:
    bench(kernel_repo, limit=1, n_actions=1)
    with pytest.raises(BenchError, match=r"made with command .* --ledger"):
        bench_repo(kernel_repo.root, ["sh", "-c", "true"])


def test_without_a_kernel_the_message_says_what_to_do(kernel_repo: KernelRepo) -> None:
    with pytest.raises(BenchError, match=r"install Cyntra.*--cyntra .*cyntra-sandbox"):
        bench_repo(kernel_repo.root, ["no-such-kernel"])


def test_the_sandboxs_kernel_is_benched_with_its_own_tools(tmp_path: Path, ray_cluster: Any) -> None:
    repo = create_sandbox(tmp_path / "sandbox", issues=2, seed=1)
    report = bench_repo(repo, ["cyntra-sandbox"], n_actions=2, full=True, work_dir=tmp_path / "work")
    assert (report.run, report.faults) == (4, 0)
    with Ledger.read(report.ledger_path) as ledger:
        outcomes = [execution.outcome for execution in ledger.executions()]
    assert all(outcome.executed_plan is not None and outcome.launches for outcome in outcomes)
    assert subprocess.check_output(["git", "status", "--porcelain"], cwd=repo) == b""
