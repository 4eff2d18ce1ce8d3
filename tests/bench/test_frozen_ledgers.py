"""Ledgers as earlier programs wrote them (tests/fixtures/frozen): today's code reads each, and goes on with it."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench.executors.outcome import outcome_from_artifacts
from bench.judging.results import read_bench
from bench.ledger import Ledger
from bench.ledger_versions import SCHEMA_VERSION
from planner.artifacts.repo import Repo
from tests.bench.test_ledger import bench_case
from tests.conftest import CORPUS, FIXTURES

FROZEN = FIXTURES / "frozen"
STATUSES = {
    1: {"success": 3, "fault": 1},
    2: {"success": 12, "failed": 12, "timeout": 2, "stopped_early": 4, "fault": 10},
    3: {"success": 12, "failed": 12, "timeout": 2, "stopped_early": 4, "fault": 10},
}


@pytest.fixture(params=sorted(STATUSES))
def old(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[int, Path]:
    """Version and a copy, which may be written to."""
    path = shutil.copy(FROZEN / f"ledger-v{request.param}" / "ledger.sqlite", tmp_path / "ledger.sqlite")
    return request.param, Path(path)


def statuses(ledger: Ledger) -> dict[str, int]:
    return dict(Counter(execution.outcome.status for execution in ledger.executions()))


def test_an_old_ledger_is_read_with_todays_words_and_stays_as_it_was(old: tuple[int, Path]) -> None:
    version, path = old
    before = path.read_bytes()
    with Ledger.read(path) as ledger:
        assert statuses(ledger) == STATUSES[version]
        progress = ledger.progress()
        assert (progress.finished, progress.faults) == (sum(STATUSES[version].values()), STATUSES[version]["fault"])
        assert progress.capped == STATUSES[version].get("stopped_early", 0)
    assert path.read_bytes() == before


def test_an_old_ledger_is_upgraded_when_a_bench_goes_on_with_it(old: tuple[int, Path]) -> None:
    version, path = old
    with Ledger.open(path) as ledger:
        assert statuses(ledger) == STATUSES[version]
        planned = len(ledger.planned())
        assert ledger.plan_faults_again() == STATUSES[version]["fault"]
        again = ledger.planned()
        assert len(again) == planned + STATUSES[version]["fault"]
        assert {one.worker for one in ledger.logged()} == {None}
        ledger.start([again[0].execution_id], "here 1")
        assert [one.worker for one in ledger.logged() if one.worker] == ["here 1"]
        ledger.plan_again(again[0].execution_id, "trouble", 5)
    with Ledger.read(path) as ledger:
        assert ledger._meta("schema_version") == str(SCHEMA_VERSION)


def test_an_old_ledger_tells_the_same_winners_before_and_after_its_upgrade(old: tuple[int, Path]) -> None:
    version, path = old
    before = read_bench(path)
    Ledger.open(path).close()
    after = read_bench(path)
    verdicts = [[(case.case.case_id, case.verdict) for case in results.cases] for results in (before, after)]
    assert verdicts[0] == verdicts[1] and len(verdicts[0]) == {1: 1, 2: 3, 3: 3}[version]
    assert before.account == after.account
    assert before.minute_seconds == 60.0


def test_time_spent_and_derived_outcomes_of_an_old_ledger_count_as_they_did(old: tuple[int, Path]) -> None:
    version, path = old
    with Ledger.open(path) as ledger:
        assert ledger.n_derived() == {1: 0, 2: 2, 3: 2}[version]
        finished = ledger.executions()
        ran = sum(e.outcome.duration_ms for e in finished if e.outcome.derived_from is None)
        assert sum(spent.time_ms for spent in ledger.spent().values()) == ran


def test_a_ledger_keeps_what_a_later_kernel_adds_to_an_executed_plan(tmp_path: Path) -> None:
    (run, *_) = [run for run in Repo(CORPUS).runs if run.executed_plan]
    plan = {**(run.executed_plan or {}), "of_later": [1]}
    measured: dict[str, Any] = {
        "stopped_by": None,
        "duration_ms": 1,
        "agent_ms": 1,
        "cost_usd": None,
        "exit_code": 0,
        "launches": [],
    }
    outcome = outcome_from_artifacts(run, plan, **measured)
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        ledger.add_cases([bench_case("1")])
        first = ledger.planned()[0].execution_id
        ledger.start([first])
        ledger.finish({first: outcome})
        (execution,) = ledger.executions()
    assert execution.outcome.executed_plan is not None
    assert execution.outcome.executed_plan.model_dump() == plan
