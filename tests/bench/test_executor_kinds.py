"""An executor from outside: one file and a registration, and `planner bench` has its options, cases and ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from bench.containment.limits import Deadline
from bench.engine.run import run_bench
from bench.executors import registry
from bench.executors.registry import PreparedBench, executor_kind, executor_kinds, register
from bench.judging.results import read_results
from bench.ledger import Ledger
from bench.options import BenchOptions
from bench.planning.cases import CaseDraft, add_cases
from bench.planning.selections import Choice, Selection
from planner.actions import Action, ActionSpace
from planner.artifacts.beads import issue_context
from planner.artifacts.universe import NO_UNIVERSE
from planner.context import planner_input
from planner.contracts.bench import BenchCase, BenchOutcome
from planner.errors import UsageError
from planner.options import Options, OptionsModel, option, resolve

SPACE = ActionSpace.default(["serial_handoff", "speculate_vote"])
SERIAL = Action("serial_handoff", 1, 15, "NA")


@dataclass(frozen=True)
class CoinExecutor:
    """Every action with more than one candidate passes."""

    sides: int

    @property
    def source(self) -> None:
        return None

    @property
    def instant(self) -> bool:
        return True

    def lane_limit_ms(self, action: Action) -> int | None:
        return None

    def wall_limit(self, action: Action) -> float:
        return 1.0

    def execute(self, case: BenchCase, action: Action, work_dir: Path, repeat: int, deadline: Deadline) -> BenchOutcome:
        passed = action.max_candidates_bin not in (1, "NA")
        return BenchOutcome(
            passed=passed,
            status="success" if passed else "failed",
            stopped_by=None,
            fault=None,
            duration_ms=1000 * self.sides,
            agent_ms=1000 * self.sides,
            cost_usd=None,
            gates=[],
            fail_codes=[],
            exit_code=0,
            launches=[],
            executed_plan=None,
        )


class CoinOptions(OptionsModel):
    """How the coin is made."""

    sides: int = option(2, "Sides of the coin.", ge=1)


class CoinKind:
    """See ExecutorKind."""

    name = "coin"
    options = CoinOptions

    def prepare(self, source: Path, options: BenchOptions, own: CoinOptions) -> PreparedBench:
        """Three coins of one problem."""

        def draft(number: int) -> CaseDraft:
            context = planner_input(
                issue=issue_context({"id": f"coin-{number}"}, 0),
                universe=NO_UNIVERSE,
                job_type="code",
                similar_runs=[],
                created_ms=1_700_000_000_000 + number,
            )
            choice = Choice(f"case-{number}", context, SERIAL, SPACE.valid_actions("code"))
            return CaseDraft(f"coin-{number}", "none", choice, "the coin")

        def make_cases(stored: Sequence[BenchCase], selection: Selection) -> list[BenchCase]:
            known = {case.case_id for case in stored}
            drafts = [d for d in map(draft, range(3)) if d.choice.case_id not in known]
            return add_cases(stored, stored, drafts, selection, options.n_actions, options.limit)

        return PreparedBench(CoinExecutor(own.sides), {"sides": own.sides}, NO_UNIVERSE, 3, {}, (), make_cases)

    def default_ledger(self, source: Path) -> Path:
        """In the folder itself."""
        return source / "coins.sqlite"


@pytest.fixture
def coin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind, registered for one test; the command line that takes its options is mounted."""
    import_module("bench.cli")
    monkeypatch.setattr(registry, "_registered", {})
    register(CoinKind())


def test_an_executor_from_outside_brings_its_options_cases_ledger_and_problems(
    coin: None, tmp_path: Path, ray_cluster: Any
) -> None:
    copy = tmp_path / "elsewhere" / "copy.sqlite"
    given = {"executor": "coin", "sides": 6, "n_actions": 8, "ledger_copy": f"file://{copy}"}
    options: Options = resolve("bench", given, tmp_path)
    planned: list[int] = []
    report = run_bench(tmp_path, options.of(BenchOptions), options.of(CoinOptions), planned=planned.append)
    assert planned == [1, 2, 3]
    assert (report.ledger_path, report.run, report.faults) == (tmp_path / "coins.sqlite", 24, 0)
    with Ledger.open(copy) as opened, Ledger.read(report.ledger_path) as ledger:
        assert opened.executions() == ledger.executions()
    results = read_results(report.ledger_path)
    assert {result.problem for result in results} == {"the coin"}
    assert {result.verdict.action.max_candidates_bin for result in results} <= {2, 3}
    assert {o.duration_ms for result in results for group in result.outcomes.values() for o in group} == {6000}


def test_the_shipped_executors_are_there_and_another_name_is_refused(coin: None) -> None:
    assert [kind.name for kind in executor_kinds()] == ["coin", "cyntra", "replay", "simulate"]
    with pytest.raises(UsageError, match=r"--executor 'dice': no such executor; choose coin or cyntra or replay"):
        executor_kind("dice")
