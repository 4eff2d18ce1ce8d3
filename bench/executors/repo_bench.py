"""A bench of a Cyntra repo's open issues, whatever performs the executions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.executors.protocol import Executor
from bench.executors.registry import PreparedBench
from bench.options import BenchOptions
from bench.planning.cases import CaseOrigin, build_cases, select_issues
from bench.planning.selections import Selection
from planner.artifacts.repo import Repo
from planner.contracts.bench import BenchCase


def bench_of_repo(
    repo: Repo,
    options: BenchOptions,
    executor: Executor,
    settings: Mapping[str, Any],
    origin: CaseOrigin,
    *,
    check: Callable[[Sequence[BenchCase]], None] = lambda cases: None,
) -> PreparedBench:
    """Cases are the repo's schedulable issues, each from its ``origin``; ``check`` raises for what cannot be run."""

    def make_cases(stored: Sequence[BenchCase], selection: Selection) -> list[BenchCase]:
        cases = build_cases(repo, options, selection, stored=stored, origin=origin)
        check(cases)
        return cases

    return PreparedBench(
        executor=executor,
        settings=settings,
        universe=repo.universe,
        read=len(repo.issues),
        set_aside=select_issues(repo.issues, options.issue_ids or None).set_aside,
        unreadable=repo.quarantine.entries,
        make_cases=make_cases,
    )
