"""Benches and cases as the tests ask for them: options by name, everything else by default."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.engine.run import BenchReport, run_bench
from bench.executors.cyntra.executor import CyntraExecutor
from bench.executors.cyntra.kind import CyntraOptions
from bench.options import BenchOptions
from bench.planning.cases import CaseOrigin, build_cases, git_origin
from bench.planning.selections import Coverage, Selection
from planner.artifacts.repo import Repo
from planner.contracts.bench import BenchCase


def cases_of(
    root: Path,
    *,
    origin: CaseOrigin | None = None,
    selection: Selection | None = None,
    stored: Sequence[BenchCase] = (),
    created_ms: int | None = None,
    **options: Any,
) -> list[BenchCase]:
    """The cases of a repo; ``options`` are BenchOptions'."""
    repo = Repo(root)
    return build_cases(
        repo,
        BenchOptions(**options),
        selection or Coverage(0),
        origin=origin or git_origin(repo),
        stored=stored,
        created_ms=created_ms,
    )


def cyntra(command: Sequence[str], **options: Any) -> CyntraOptions:
    """The cyntra executor's options with this command line."""
    return CyntraOptions(cyntra=shlex.join(command), **options)


def executor_of(root: Path, command: Sequence[str], **options: Any) -> CyntraExecutor:
    """The executor of a repo; ``options`` as CyntraExecutor.prepare takes them."""
    return CyntraExecutor.prepare(Repo(root), command, **options)


def bench_repo(root: Path, command: Sequence[str], **options: Any) -> BenchReport:
    """Bench a repo with the kernel called ``command``; ``options`` are BenchOptions'."""
    return run_bench(root, BenchOptions(**options), cyntra(command))
