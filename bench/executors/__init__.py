"""What performs executions: one role, with a file per way of filling it."""

from pathlib import Path
from typing import Protocol

from planner.actions import Action
from planner.contracts import BenchCase, BenchOutcome


class Executor(Protocol):
    """Performs one execution at a time. It travels to Ray's workers, so it must be picklable."""

    def execute(self, case: BenchCase, action: Action, work_dir: Path, repeat: int) -> BenchOutcome:
        """Run ``action`` on ``case``, leaving files in the empty directory ``work_dir`` only.

        ``repeat`` counts the executions of one action on one case from 0: an executor that draws or looks up its
        outcomes gives the same one for the same repeat.
        What goes wrong with the machine instead of the run is an outcome of status "fault", never an exception.
        """
        ...
