"""Tests of what a bench would take at the worst."""

from pathlib import Path

import pytest

from bench.engine.budget import Budget
from bench.engine.price import Price, price_bench, price_lines
from bench.executors.registry import executor_kind
from bench.ledger import Ledger
from bench.options import BenchOptions
from bench.planning.selections import Coverage
from bench.testbeds.sandbox.create import create_sandbox
from bench.testbeds.sandbox.record import record_history
from tests.bench.benches import cases_of, cyntra
from tests.bench.conftest import SMALL_KERNEL, KernelRepo
from tests.bench.test_objective import outcome


def price(repo: Path, ledger: Path, budget: Budget = Budget(), command: list[str] = SMALL_KERNEL) -> Price:
    options = BenchOptions(n_actions=2, max_hours=budget.hours, max_dollars=budget.dollars)
    return price_bench(executor_kind("cyntra").prepare(repo, options, cyntra(command)), repo, ledger, options)


def test_what_the_ledger_has_costs_nothing_more_and_an_unknown_cost_is_no_number(
    kernel_repo: KernelRepo, tmp_path: Path
) -> None:
    cases = cases_of(kernel_repo.root, n_actions=2)
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.add_cases(cases)
        done = ledger.planned()[0]
        ledger.start([done.execution_id])
        ledger.finish({done.execution_id: outcome()})
        left = ledger.planned()
    found = price(kernel_repo.root, tmp_path / "ledger.sqlite")
    assert (found.cases, found.executions, found.done, found.dollars) == (2, 3, 1, None)
    # Code runs get ten minutes beyond their own for gates.
    minutes = sum(int(execution.action.max_minutes_bin) + 10 for execution in left)
    assert found.hours == pytest.approx(minutes / 60)
    assert price(kernel_repo.root, tmp_path / "none.sqlite", Budget(hours=0.5)).hours == 0.5
    assert "unknown" in price_lines(found, None)[2]


def test_dollars_are_the_agents_minutes_at_the_dearest_recorded_rate(tmp_path: Path) -> None:
    repo = create_sandbox(tmp_path / "repo", issues=3, seed=0)
    record_history(repo, runs=2, seed=0)
    found = price(repo, tmp_path / "none.sqlite", command=["cyntra-sandbox"])
    assert found.dollars is not None and found.dollars_per_hour is not None
    kind, options = executor_kind("cyntra"), BenchOptions(n_actions=2)
    cases = kind.prepare(repo, options, cyntra(["cyntra-sandbox"])).make_cases([], Coverage(0))
    agent_minutes = sum(int(a.max_candidates_bin) * int(a.max_minutes_bin) for case in cases for a in case.actions)
    assert found.dollars == pytest.approx(agent_minutes * 0.05 / 3600 * found.dollars_per_hour)
    assert price(repo, tmp_path / "none.sqlite", Budget(dollars=0.01), ["cyntra-sandbox"]).dollars == 0.01
