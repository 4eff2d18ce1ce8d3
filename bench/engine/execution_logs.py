"""What executions printed, kept beside the ledger: LEDGER-logs/EXECUTION.log, for people alone."""

from pathlib import Path

from planner.errors import BenchError

LOG_BYTES = 64 * 1024
"""As much of a log's end is kept."""
SUFFIX = ".log"


def logs_of(ledger: Path) -> Path:
    """The directory of a ledger's logs, there or not."""
    return ledger.with_name(f"{ledger.stem}-logs")


class ExecutionLogs:
    """The logs of a ledger's executions."""

    def __init__(self, ledger: Path) -> None:
        self._directory = logs_of(ledger)

    def keep(self, execution_id: str, log: bytes) -> None:
        """Write one, in the place of that of an earlier attempt; nothing for one that is empty."""
        if not log:
            return
        try:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            (self._directory / f"{execution_id}{SUFFIX}").write_bytes(log)
        except OSError as error:
            raise BenchError(f"a log cannot be kept in {self._directory}: {error.strerror}") from None
