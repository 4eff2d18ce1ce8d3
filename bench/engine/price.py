"""`planner bench --dry-run`: what a bench would take at the worst, before anything runs."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.engine.run import budget_of, make_selection
from bench.executors.registry import PreparedBench
from bench.ledger import Ledger
from bench.options import BenchOptions
from planner.actions import Action, action_from_document
from planner.artifacts.repo import Repo


@dataclass(frozen=True)
class Price:
    """The executions that a bench would do now, and the most they could take together."""

    cases: int
    executions: int
    done: int
    """Executions that the ledger has already."""
    hours: float
    """Every execution lasts until its wall limit; side by side on ``workers`` it takes as many times less."""
    dollars: float | None
    """Every agent of every execution works until the limit, at the dearest rate that the repo's runs recorded; None
    when no run recorded a cost."""
    dollars_per_hour: float | None

    def to_json(self) -> dict[str, Any]:
        """All of it by its names."""
        return asdict(self)


def price_bench(bench: PreparedBench, source: Path, ledger_path: Path, options: BenchOptions) -> Price:
    """Price what is planned, without what the ledger has; the budget's caps bound the worst case."""
    stored, finished = [], set[tuple[str, Action, int]]()
    if ledger_path.is_file():
        with Ledger.read(ledger_path) as ledger:
            stored = ledger.cases()
            finished = ledger.finished_keys()
    cases = bench.make_cases(stored, make_selection(options))
    planned = [
        (case.case_id, action_from_document(document.model_dump()), repeat)
        for case in cases
        for document in case.actions
        for repeat in range(options.repeats)
    ]
    missing = [action for case_id, action, repeat in planned if (case_id, action, repeat) not in finished]
    budget = budget_of(options)
    hours = sum(bench.executor.wall_limit(action) for action in missing) / 3600
    rate = None if bench.executor.instant else dearest_rate(source)
    dollars = None if rate is None else sum(_agent_hours(bench, action) * rate for action in missing)
    return Price(
        cases=len(cases),
        executions=len(missing),
        done=len(planned) - len(missing),
        hours=min(hours, math.inf if budget.hours is None else budget.hours),
        dollars=dollars if dollars is None or budget.dollars is None else min(dollars, budget.dollars),
        dollars_per_hour=rate,
    )


def dearest_rate(repo: Path) -> float | None:
    """The largest cost per hour of one agent among the repo's recorded runs, US dollars."""
    rates = [
        summary["cost_usd_est"] / (summary["runtime"]["duration_ms"] / 3_600_000)
        for summary in (run.summary for run in Repo(repo).runs)
        if summary.get("cost_usd_est") and summary["runtime"]["duration_ms"]
    ]
    return max(rates, default=None)


def price_lines(price: Price, workers: int | None) -> Sequence[str]:
    """The price in words."""
    side = f", {price.hours / workers:.1f} h on {workers} workers" if workers else ""
    dollars = (
        "unknown: no recorded run has its cost"
        if price.dollars is None
        else f"{price.dollars:.2f} (at {price.dollars_per_hour:.2f} an hour and agent, the dearest recorded run's rate)"
    )
    return (
        f"{price.cases} cases, {price.executions} executions to do, {price.done} in the ledger already",
        f"worst case: {price.hours:.1f} h of executions{side}",
        f"worst case in US dollars: {dollars}",
    )


def _agent_hours(bench: PreparedBench, action: Action) -> float:
    """Every agent works until its own limit; gates take time after that, and cost nothing."""
    limit_ms = bench.executor.lane_limit_ms(action)
    hours = bench.executor.wall_limit(action) / 3600 if limit_ms is None else limit_ms / 3_600_000
    return hours * (1 if action.max_candidates_bin == "NA" else int(action.max_candidates_bin))
