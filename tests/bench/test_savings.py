"""Tests of what a bench need not run: what it takes from the machine and the repo for that, and what it reports."""

from pathlib import Path
from typing import cast

from bench.engine.case_queue import CaseWork
from bench.engine.execution_worker import Capping, Done, ExecutionWorker, finished
from bench.engine.run import CaseReport, _caps
from bench.engine.workers import WorkerPool
from bench.executors.cyntra.kind import KIND
from bench.executors.kernel_start import record_start
from bench.executors.protocol import Executor
from bench.judging.cap_margin import DEFAULT_SPREAD, DEFAULT_START_MS
from bench.judging.objective import Objective, Verdict, judge
from bench.ledger import Ledger, PlannedExecution
from bench.options import BenchOptions
from tests.bench.benches import cyntra
from tests.bench.conftest import SMALL_KERNEL, KernelRepo
from tests.bench.test_derived_outcomes import Minutes, run
from tests.bench.test_ledger import bench_case
from tests.bench.test_objective import DEFAULT, SERIAL, WIDE, launched, outcome


def test_caps_take_the_start_up_that_was_measured_here_and_name_the_tools_that_are_shown_their_limit(
    kernel_repo: KernelRepo,
) -> None:
    kernel_repo.write_tool("deepagents", "#!/bin/sh\n")
    tools = {"codex": {"path": str(kernel_repo.tools / "deepagents")}, "claude": {"path": "claude"}}
    kernel_repo.write_config(toolchain_priority=["codex", "claude"], toolchains=tools)
    options = BenchOptions()
    prepared = KIND.prepare(kernel_repo.root, options, cyntra(SMALL_KERNEL))
    before = _caps(prepared, options, kernel_repo.tools)
    assert (before.start_ms, before.start_measured) == (DEFAULT_START_MS, False)
    # By the name of its program; and another list takes the default one's place.
    assert "codex" in before.shown_limit and "claude" not in before.shown_limit
    assert _caps(prepared, BenchOptions(shown_limit=["claude"]), kernel_repo.tools).shown_limit == ["claude"]
    record_start(kernel_repo.tools, " ".join(prepared.settings["command"]), 640, 0)
    after = _caps(prepared, options, kernel_repo.tools)
    assert (after.start_ms, after.start_measured) == (640, True)


def test_a_caps_margin_is_that_of_the_bench() -> None:
    passed = {SERIAL: [launched(1000)]}
    capping = Capping(Objective(), 1, start_ms=650)
    assert capping.cap_ms(bench_case("1"), passed, WIDE, {"t": 0.4}) == 1000 + 476 + 650 + 1


def test_a_worker_and_its_pool_leave_a_tools_spread_to_noise_where_runs_take_real_time(tmp_path: Path) -> None:
    case, done = bench_case("1"), Done()
    passed = finished(PlannedExecution("e", case.case_id, SERIAL, 0, 0), launched(1000))
    done.add(passed)
    worker = ExecutionWorker(cast(Executor, Minutes()), Capping(Objective(), 1, start_ms=650))
    deadline = worker._deadline(case, PlannedExecution("f", case.case_id, WIDE, 0, 0), done, {"t": 0.4})
    assert deadline.cap_s == 2.127
    instant = Minutes()
    instant.instant = True
    for executor, known in ((Minutes(), {"t": DEFAULT_SPREAD}), (instant, {})):
        with Ledger.open(tmp_path / f"{len(known)}.sqlite") as ledger:
            pool = WorkerPool(
                None,
                ledger,
                cast(Executor, executor),
                work_base=tmp_path,
                n_workers=1,
                on_progress=lambda progress: None,
            )
            pool._add(CaseWork(case, 0), passed)
            assert pool.spread == known


def test_a_worker_derives_nothing_from_an_agent_that_was_shown_its_limit() -> None:
    case, done = bench_case("1"), Done()
    long, short = SERIAL._replace(max_minutes_bin=60), SERIAL._replace(max_minutes_bin=30)
    planned = PlannedExecution("e-short", case.case_id, short, 0, 0)
    done.add(finished(PlannedExecution("e-long", case.case_id, long, 0, 0), run(10)))
    for shown, known in (("t", False), ("another", True)):
        worker = ExecutionWorker(cast(Executor, Minutes()), Capping(Objective(), 1, shown_limit=frozenset([shown])))
        assert (worker._derived(case, planned, done) is not None) == known


def test_a_case_is_judged_when_two_actions_are_known_or_one_was_all_that_was_planned() -> None:
    def case(compared: int, planned: int, verdict: Verdict | None) -> CaseReport:
        counts = {"planned": planned, "finished": planned, "passed": 1, "capped": 0, "faults": planned - compared}
        return CaseReport("c", "1", **counts, compared=compared, planned_actions=planned, derived={}, verdict=verdict)

    verdict = judge([(SERIAL, outcome())], DEFAULT)
    assert case(2, 4, verdict).judged and case(1, 1, verdict).judged
    assert not case(1, 4, verdict).judged and not case(0, 4, None).judged
