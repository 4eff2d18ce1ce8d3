"""The role that every executor fills."""

from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from bench.containment.limits import Deadline
from planner.actions import Action
from planner.contracts.bench import BenchCase, BenchOutcome

LOG = "kernel.log"
"""The file in its work directory in which an execution leaves what its run printed, if it ran anything."""


class Timing(Protocol):
    """What an executor knows of time before anything runs."""

    @property
    def instant(self) -> bool:
        """Whether executions take no real time: then all of a case go to one worker, one after the other."""
        ...

    def lane_limit_ms(self, action: Action) -> int | None:
        """How long each agent of ``action`` may work, in real milliseconds; None where the action does not say."""
        ...


class Executor(Timing, Protocol):
    """Performs one execution at a time. It travels to Ray's workers, so it must be picklable."""

    @property
    def source(self) -> Path | None:
        """The repo that nodes must see; None where executions read nothing from the disk."""
        ...

    def execute(self, case: BenchCase, action: Action, work_dir: Path, repeat: int, deadline: Deadline) -> BenchOutcome:
        """Run ``action`` on ``case``, leaving files in the empty directory ``work_dir`` only.

        ``repeat`` counts the executions of one action on one case from 0: an executor that draws or looks up its
        outcomes gives the same one for the same repeat. ``deadline`` may end the execution before its own limits do;
        what it cut there is an outcome of status "stopped_early".
        What goes wrong with the machine instead of the run is an outcome of status "fault", never an exception.
        """
        ...

    def wall_limit(self, action: Action) -> float:
        """Seconds after which an execution of ``action`` is ended at the latest."""
        ...


@runtime_checkable
class TravellingExecutor(Executor, Protocol):
    """An executor that also works on nodes that do not see its source, or have their programs elsewhere."""

    def packed(self, commits: Collection[str]) -> Any:
        """What of the source a node needs that does not see it: for Ray's object store. BenchError when it cannot go
        there."""
        ...

    def on_this_node(self, parcel: Any | None) -> Executor:
        """This executor with what this node has; ``parcel`` as packed, None where the source is seen.

        BenchError names what the node lacks.
        """
        ...
