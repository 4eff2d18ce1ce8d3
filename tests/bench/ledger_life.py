"""A ledger's life from opening to closing, over and over: each time one write later fails, and nothing may be lost.

Run as ``python -m tests.bench.ledger_life DIRECTORY HOW``, where HOW is one of failing_writes or "size" (no file may
grow beyond a limit, which rises by less than a page). Prints how many lives failed; ends with a traceback when one lost
anything.
"""

import os
import resource
import signal
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.ledger import Ledger
from planner.errors import BenchError
from tests.bench.failing_writes import fail_from
from tests.bench.test_ledger import bench_case
from tests.bench.test_objective import FAULT, outcome

CASES = [bench_case("1")]
N_EXECUTIONS = 2
STEP = 1545
"""Bytes; a page takes 4120 in SQLite's write-ahead log, so that the limit cuts pages at different places."""
FAILED_CLEARLY, FAILED = 3, 4


@dataclass
class Told:
    """What a life was told to be on disk before it ended."""

    planned: bool = False
    failing: bool = False
    """A write of it has failed, or could have, whatever came of that."""
    finished: set[str] = field(default_factory=set)
    error: str = ""


def live(path: Path, tell: Callable[[str], None]) -> None:
    """Bind, plan, start and finish everything, with a lost worker, a fault, and a look between all of it."""
    with Ledger.open(path) as ledger:
        ledger.bind({"command": ["cyntra"]})
        ledger.add_cases(CASES)
        tell("planned")
        ledger.plan_faults_again()
        while planned := ledger.planned():
            execution = planned[0]
            ledger.start([execution.execution_id])
            if execution.attempts == 0 and execution.execution_id == "case-1-a0-r0":
                ledger.plan_again(execution.execution_id, "its worker died", spent_ms=10)
                continue
            if execution.attempts == 0 and execution.execution_id == "case-1-a1-r0":
                ledger.finish({execution.execution_id: FAULT})
                ledger.plan_faults_again()
                ledger.start([execution.execution_id])
            ledger.finish({execution.execution_id: outcome(duration_ms=7)})
            tell(f"finished {execution.execution_id}")
            ledger.progress()
        ledger.executions()


def live_until_failure(path: Path, fail: Callable[[Callable[[], None]], None]) -> tuple[int, Told]:
    """One life in a process of its own, made to fail by ``fail``; its exit code and what it was told."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:

        def tell(text: str) -> None:
            os.write(write, f"{text}\n".encode())

        code = FAILED
        try:
            fail(lambda: tell("failing"))
            live(path, tell)
            code = 0
        except BenchError as error:
            tell(f"error {error}")
            code = FAILED_CLEARLY
        except BaseException as error:
            tell(f"error {error!r}")
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        lines = pipe.read().splitlines()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    told = Told("planned" in lines, "failing" in lines)
    for line in lines:
        kind, _, text = line.partition(" ")
        if kind == "finished":
            told.finished.add(text)
        elif kind == "error":
            told.error = text
    return code, told


def check(path: Path, told: Told) -> None:
    """Nothing that was told is lost, and the same life goes on to its end with every execution once."""
    with Ledger.open(path) as ledger:
        finished = [execution.execution_id for execution in ledger.executions()]
        assert told.finished <= set(finished), (told, finished)
        progress = ledger.progress()
        assert progress.total == N_EXECUTIONS or (not told.planned and progress.total == 0), (told, progress)
        assert progress.started == 0, progress
        # One more may have come to the disk without being told: the one at whose end the write failed.
        assert len(finished) <= len(told.finished) + 1, (told, finished)
    live(path, lambda _: None)
    with Ledger.read(path) as ledger:
        executions = ledger.executions()
        assert len({execution.execution_id for execution in executions}) == len(executions) == N_EXECUTIONS
        assert len({(e.case_id, str(e.action)) for e in executions}) == N_EXECUTIONS
        assert all(execution.outcome.passed for execution in executions)
        assert ledger.progress().total == N_EXECUTIONS
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("SELECT count(*) FROM meta WHERE key = 'owner'").fetchone() == (0,)
    connection.close()


def sweep(directory: Path, how: str) -> int:
    """Live until no write fails any more; how many lives failed."""
    n = 0
    while True:
        n += 1
        path = directory / str(n) / "ledger.sqlite"

        def fail(on_failure: Callable[[], None], n: int = n) -> None:
            if how == "size":
                resource.setrlimit(resource.RLIMIT_FSIZE, (n * STEP, n * STEP))
            else:
                fail_from(n, how, on_failure)

        code, told = live_until_failure(path, fail)
        expected = -signal.SIGKILL if how in ("kill", "torn") else FAILED_CLEARLY
        assert code in (0, expected), f"{how} {n}: {told.error}"
        if code == FAILED_CLEARLY:
            assert str(path) in told.error and "ledger" in told.error, told.error
        check(path, told)
        if code == 0 and not told.failing:
            return n - 1


if __name__ == "__main__":
    print(sweep(Path(sys.argv[1]), sys.argv[2]))
