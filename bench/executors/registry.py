"""Which executors there are. Each comes as a kind: its options, its cases, its objective, its place for a ledger.

A package announces its kinds as entry points of the group ``planner.executors``; :func:`register` adds one at run time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.options import BenchOptions
from planner.errors import UsageError
from planner.options import OptionsModel

if TYPE_CHECKING:
    from bench.executors.protocol import Executor
    from bench.planning.selections import Selection
    from planner.artifacts.universe import Universe
    from planner.contracts.bench import BenchCase

GROUP = "planner.executors"


@dataclass(frozen=True)
class PreparedBench:
    """What performs the executions, where cases come from, and what the outcomes depend on."""

    executor: "Executor"
    settings: Mapping[str, Any]
    """What a ledger is bound to: outcomes under other settings would not compare."""
    universe: "Universe"
    """Whose default objective judges the outcomes."""
    read: int
    """Issues (or problems with an agent) that there were."""
    set_aside: Mapping[str, str]
    """Issue id -> why it is no case."""
    unreadable: Sequence[Mapping[str, str]]
    """The quarantine: what could not be read, with path, reason and consequence."""
    make_cases: "Callable[[Sequence[BenchCase], Selection], list[BenchCase]]"
    """The stored cases that count and the new ones, from all that are stored."""
    objective: Mapping[str, Any] | None = None
    """How outcomes are judged, as a ledger's settings have it, where that was recorded; None = as the universe says."""
    programs: Mapping[str, str] = field(default_factory=dict)
    """Toolchain -> the name of its program, where they differ from case to case or machine to machine."""


class ExecutorKind(Protocol):
    """One way of performing executions."""

    @property
    def name(self) -> str:
        """What ``--executor`` calls it."""
        ...

    @property
    def options(self) -> type[OptionsModel]:
        """The options that it takes beside BenchOptions; they become options of `planner bench`."""
        ...

    def prepare(self, source: Path, options: BenchOptions, own: Any) -> PreparedBench:
        """Everything that a bench of ``source`` needs before it opens its ledger; BenchError when something is missing.

        ``own`` is an instance of :attr:`options`.
        """
        ...

    def default_ledger(self, source: Path) -> Path:
        """Where outcomes go unless the user says; BenchError when the user has to."""
        ...


_registered: dict[str, ExecutorKind] = {}


def register(kind: ExecutorKind) -> None:
    """Add a kind for this process."""
    _registered[kind.name] = kind


def executor_kinds() -> list[ExecutorKind]:
    """Every kind there is, in order of name."""
    found = {**_announced(), **_registered}
    return [found[name] for name in sorted(found)]


def executor_kind(name: str) -> ExecutorKind:
    """The kind called ``name``; UsageError when there is none."""
    kinds = {kind.name: kind for kind in executor_kinds()}
    if name not in kinds:
        raise UsageError(f"--executor {name!r}: no such executor; choose {' or '.join(kinds)}")
    return kinds[name]


@cache
def _announced() -> dict[str, ExecutorKind]:
    return {kind.name: kind for kind in (entry.load() for entry in entry_points(group=GROUP))}
