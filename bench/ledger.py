"""The bench's crash-safe record: cases and executions in one SQLite file, written by one bench at a time."""

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import orjson

from bench.containment.process_identity import ProcessIdentity
from bench.ledger_file import check_pages, check_whole, make_file, open_to_read
from bench.ledger_place import require_own_disk
from bench.ledger_versions import READABLE_VERSIONS, SCHEMA_VERSION, upgrade, upgraded_outcome
from bench.logged_execution import LoggedExecution, logged_outcome
from planner.actions import Action, action_from_document
from planner.contracts.bench import BenchCase, BenchExecution, BenchOutcome
from planner.contracts.document import canonical_json, parse
from planner.errors import BenchError

BUSY_TIMEOUT_S = 30.0
CHECKPOINT_EVERY_S = 1.0
"""How old the file itself, without its write-ahead log, may be."""
_TABLES = (
    """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT
""",
    """
CREATE TABLE IF NOT EXISTS cases (
    position INTEGER PRIMARY KEY, case_id TEXT NOT NULL UNIQUE, issue_id TEXT NOT NULL UNIQUE, document TEXT NOT NULL
) STRICT
""",
    """
CREATE TABLE IF NOT EXISTS executions (
    position INTEGER PRIMARY KEY,
    execution_id TEXT NOT NULL UNIQUE,
    case_id TEXT NOT NULL REFERENCES cases (case_id),
    action TEXT NOT NULL,
    repeat INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('planned', 'started', 'finished')),
    attempts INTEGER NOT NULL DEFAULT 0,
    spent_ms INTEGER NOT NULL DEFAULT 0,
    trouble TEXT,
    started_ms INTEGER,
    finished_ms INTEGER,
    worker TEXT,
    passed INTEGER,
    status TEXT,
    outcome TEXT CHECK ((outcome IS NOT NULL) = (state = 'finished')),
    UNIQUE (case_id, action, repeat)
) STRICT
""",
)
_VERSION = f"INSERT OR IGNORE INTO meta VALUES ('schema_version', '{SCHEMA_VERSION}')"


@dataclass(frozen=True)
class PlannedExecution:
    """One execution that is yet to be done.

    ``repeat`` counts the executions of one action on one case, ``attempts`` how often this one was started before.
    """

    execution_id: str
    case_id: str
    action: Action
    repeat: int
    attempts: int


@dataclass(frozen=True)
class Progress:
    """How far a bench has come, in executions."""

    planned: int
    started: int
    finished: int
    passed: int
    faults: int
    capped: int
    retried: int
    """Executions that were started more than once, because of a fault or a lost worker."""

    @property
    def total(self) -> int:
        """All executions, in whatever state."""
        return self.planned + self.started + self.finished


@dataclass(frozen=True)
class Spent:
    """What executions have used up: time (ms) and known cost (US dollars)."""

    time_ms: int = 0
    dollars: float = 0.0


class Ledger:
    """An open ledger. Use :meth:`open` to write (one process at a time) and :meth:`read` to look at it."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._owner: str | None = None
        self._checkpointed_s = 0.0

    @classmethod
    def open(cls, path: Path, *, take_over: bool = False) -> "Ledger":
        """Open for writing, made when it does not exist; what a dead owner left started becomes planned again.

        BenchError when another live bench owns it, the file is damaged, or lies on no disk of this machine;
        ``take_over`` overrides an owner on another host, whose life cannot be seen from here.
        """
        require_own_disk(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        check_whole(path)
        with _readable_errors(path):
            make_file(path, (*_TABLES, _VERSION))
            connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            ledger = cls(path, connection)
            try:
                _use_write_ahead_log(connection)
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                check_pages(path, connection)
                ledger._set_up(take_over)
                ledger._checkpoint()
            except BaseException:
                connection.close()
                raise
        return ledger

    @classmethod
    def read(cls, path: Path) -> "Ledger":
        """Open for reading, whoever writes; BenchError when there is no ledger."""
        if not path.is_file():
            raise BenchError(f"{path}: no ledger; make one with `planner bench`")
        check_whole(path)
        with _readable_errors(path):
            connection = open_to_read(path, BUSY_TIMEOUT_S)
            ledger = cls(path, connection)
            try:
                check_pages(path, connection)
                ledger._check_version()
            except BaseException:
                connection.close()
                raise
        return ledger

    def close(self) -> None:
        """Give the lock back and close the file."""
        if self._owner is not None:
            # A lock that a full disk keeps in the file is taken over once this process has ended.
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("DELETE FROM meta WHERE key = 'owner' AND value = ?", [self._owner])
                self._checkpoint()
        self._connection.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- reading ---

    def cases(self) -> list[BenchCase]:
        """All cases, in the order in which they were added."""
        rows = self._rows("SELECT document FROM cases ORDER BY position")
        with _readable_errors(self.path):
            return [parse(BenchCase, document, f"{self.path}: cases") for (document,) in rows]

    def executions(self, case_id: str | None = None) -> list[BenchExecution]:
        """The finished executions of one case, or of all, in the order in which they were planned."""
        # Two statements in one would look through all executions for those of one case.
        of_case, values = ("", []) if case_id is None else (" AND case_id = ?", [case_id])
        rows = self._rows(
            "SELECT execution_id, case_id, action, repeat, outcome FROM executions"
            f" WHERE state = 'finished'{of_case} ORDER BY position",
            values,
        )
        with _readable_errors(self.path):
            return [_execution(f"{self.path}: executions", *row) for row in rows]

    def logged(self) -> list[LoggedExecution]:
        """Every execution in whatever state, in the order of the plan, with what a page shows of it.

        Outcomes are not validated against their contract: of 26,000 executions that would take seconds.
        """
        rows = self._rows(
            "SELECT execution_id, case_id, action, repeat, state, attempts, started_ms, finished_ms,"
            f" {self._column('trouble')}, {self._column('worker')}, outcome FROM executions ORDER BY position"
        )
        with _readable_errors(self.path):
            actions = {text: _action(text) for text in {row[2] for row in rows}}
            return [
                LoggedExecution(
                    key, case, actions[action], n, state, tries, start, end, why, worker, logged_outcome(outcome)
                )
                for key, case, action, n, state, tries, start, end, why, worker, outcome in rows
            ]

    def planned(self) -> list[PlannedExecution]:
        """The executions that are yet to be done, in order."""
        rows = self._rows(
            "SELECT execution_id, case_id, action, repeat, attempts FROM executions"
            " WHERE state = 'planned' ORDER BY position"
        )
        with _readable_errors(self.path):
            return [PlannedExecution(key, case, _action(action), *counts) for key, case, action, *counts in rows]

    def finished_keys(self) -> set[tuple[str, Action, int]]:
        """(case id, action, repeat) of every finished execution."""
        rows = self._rows("SELECT case_id, action, repeat FROM executions WHERE state = 'finished'")
        with _readable_errors(self.path):
            return {(case_id, _action(action), repeat) for case_id, action, repeat in rows}

    def progress(self) -> Progress:
        """Counts over all executions."""
        (row,) = self._rows(
            "SELECT count(*) FILTER (WHERE state = 'planned'), count(*) FILTER (WHERE state = 'started'),"
            " count(*) FILTER (WHERE state = 'finished'), count(*) FILTER (WHERE passed),"
            " count(*) FILTER (WHERE status = 'fault'),"
            " count(*) FILTER (WHERE status IN ('stopped_early', 'censored')),"
            " count(*) FILTER (WHERE attempts > 1) FROM executions"
        )
        return Progress(*row)

    def spent(self) -> dict[str, Spent]:
        """Case id -> what its executions have used up, attempts that yielded nothing included."""
        rows = self._rows(
            "SELECT case_id, sum(spent_ms), "
            " sum(iif(json_extract(outcome, '$.derived_from') IS NULL,"
            " coalesce(json_extract(outcome, '$.cost_usd'), 0), 0)) FROM executions"
            " GROUP BY case_id"
        )
        return {case_id: Spent(time_ms, dollars) for case_id, time_ms, dollars in rows}

    def span_ms(self) -> tuple[int, int]:
        """When the first execution started and the last one ended, ms since the epoch, UTC; (0, 0) when none has."""
        ((first, last),) = self._rows("SELECT min(started_ms), max(finished_ms) FROM executions")
        return first or 0, last or 0

    def fault_reasons(self) -> dict[str, int]:
        """Why executions ended in a fault -> how many, most first."""
        rows = self._rows(
            "SELECT json_extract(outcome, '$.fault') AS reason, count(*) FROM executions WHERE status = 'fault'"
            " GROUP BY reason ORDER BY count(*) DESC, reason"
        )
        return {str(reason): count for reason, count in rows}

    def n_derived(self) -> int:
        """Finished executions for which nothing was run, because another one gave their outcome."""
        query = "SELECT count(*) FROM executions WHERE json_extract(outcome, '$.derived_from') IS NOT NULL"
        return self._rows(query)[0][0]

    def settings(self) -> dict[str, Any]:
        """What the ledger was bound to; empty when it never was."""
        with _readable_errors(self.path):
            return dict(json.loads(self._meta("settings") or "{}"))

    # --- writing ---

    def bind(self, settings: Mapping[str, Any]) -> None:
        """Tie the ledger to what its outcomes depend on; BenchError when it was made under other settings."""
        text = canonical_json(settings).decode()
        with self._transaction():
            self._connection.execute("INSERT OR IGNORE INTO meta VALUES ('settings', ?)", [text])
        stored = self.settings()
        for key, value in settings.items():
            if stored.get(key) != value:
                raise BenchError(
                    f"{self.path}: made with {key} {stored.get(key)!r}, now it is {value!r}: outcomes would not "
                    "compare; name another file with --ledger"
                )

    def add_cases(self, cases: Sequence[BenchCase], repeats: int = 1) -> None:
        """Store the cases that are new, and plan every action of all ``cases`` ``repeats`` times."""
        with self._transaction():
            for case in cases:
                self._connection.execute(
                    "INSERT OR IGNORE INTO cases (case_id, issue_id, document) VALUES (?, ?, ?)",
                    [case.case_id, case.issue_id, canonical_json(case.model_dump(mode="json")).decode()],
                )
                for number, action in enumerate(case.actions):
                    text = canonical_json(action.model_dump()).decode()
                    self._connection.executemany(
                        "INSERT OR IGNORE INTO executions (execution_id, case_id, action, repeat, state)"
                        " VALUES (?, ?, ?, ?, 'planned')",
                        [(f"{case.case_id}-a{number}-r{r}", case.case_id, text, r) for r in range(repeats)],
                    )
        self._checkpoint()

    def start(self, execution_ids: Sequence[str], worker: str | None = None) -> None:
        """Note that executions have begun, and which worker does them."""
        self._move(
            "UPDATE executions SET state = 'started', attempts = attempts + 1, started_ms = ?, worker = ?"
            " WHERE execution_id = ? AND state = 'planned'",
            [(_now_ms(), worker, execution_id) for execution_id in execution_ids],
        )

    def plan_again(self, execution_id: str, trouble: str, spent_ms: int = 0) -> None:
        """Take back an execution that yielded no outcome: why, and what time it used up."""
        self._move(
            "UPDATE executions SET state = 'planned', trouble = ?, spent_ms = spent_ms + ?"
            " WHERE execution_id = ? AND state = 'started'",
            [(trouble, spent_ms, execution_id)],
        )

    def finish(self, outcomes: Mapping[str, BenchOutcome]) -> None:
        """Record outcomes of started executions (id -> outcome); all of them are on disk when this returns."""
        self._move(
            "UPDATE executions SET state = 'finished', finished_ms = ?, passed = ?, status = ?, outcome = ?,"
            " spent_ms = spent_ms + ? WHERE execution_id = ? AND state = 'started'",
            [
                (
                    _now_ms(),
                    outcome.passed,
                    outcome.status,
                    outcome.model_dump_json(),
                    time_spent_ms(outcome),
                    execution_id,
                )
                for execution_id, outcome in outcomes.items()
            ],
        )
        if time.monotonic() - self._checkpointed_s > CHECKPOINT_EVERY_S:
            self._checkpoint()

    def plan_faults_again(self) -> int:
        """Forget the outcomes of faulty executions, so that they are done again; returns how many."""
        return self._plan_again("status = 'fault'")

    def plan_to_the_end(self) -> int:
        """Plan executions again that were capped, or whose outcome another one gave; returns how many."""
        return self._plan_again("status = 'stopped_early' OR json_extract(outcome, '$.derived_from') IS NOT NULL")

    def _plan_again(self, condition: str) -> int:
        with self._transaction():
            return self._connection.execute(
                "UPDATE executions SET state = 'planned', attempts = 0, passed = NULL, status = NULL, outcome = NULL"
                f" WHERE {condition}"
            ).rowcount

    # --- inner workings ---

    def _checkpoint(self) -> None:
        """Move what was committed into the file itself: a copy of that alone then holds it."""
        self._checkpointed_s = time.monotonic()
        # Nothing is lost when that fails: the log has it, and the next write says what is wrong with the disk.
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _set_up(self, take_over: bool) -> None:
        """Tables, version and lock at one stroke, so that of two benches that start at once one finds the other's."""
        with self._transaction():
            for statement in (*_TABLES, _VERSION):
                self._connection.execute(statement)
            self._check_version()
            self._take_lock(take_over)
            upgrade(self._connection, str(self._meta("schema_version")))

    def _take_lock(self, take_over: bool) -> None:
        text = self._meta("owner")
        if text is not None:
            _check_dead(ProcessIdentity(**json.loads(text)), self.path, take_over)
        owner = orjson.dumps(asdict(ProcessIdentity.own())).decode()
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('owner', ?)", [owner])
        # A driver's death says nothing about what it was running: that was no attempt.
        self._connection.execute(
            "UPDATE executions SET state = 'planned', attempts = max(0, attempts - 1) WHERE state = 'started'"
        )
        self._owner = owner

    def _check_owner(self) -> None:
        """A bench that was thought dead must not write any more."""
        text = self._meta("owner")
        if text != self._owner:
            other = "nobody" if text is None else "process {pid} on host {host}".format(**json.loads(text))
            raise BenchError(f"{self.path}: taken over from this bench, now owned by {other}: this bench ends")

    def _check_version(self) -> None:
        found = self._meta("schema_version")
        if found not in READABLE_VERSIONS:
            raise BenchError(
                f"{self.path}: ledger of version {found}, this program reads {' and '.join(READABLE_VERSIONS)}: "
                "name another file with --ledger"
            )

    def _column(self, name: str) -> str:
        """The name of a column of executions; NULL in a ledger of a version that has none."""
        return name if any(row[1] == name for row in self._rows("PRAGMA table_info(executions)")) else "NULL"

    def _meta(self, key: str) -> str | None:
        rows = self._rows("SELECT value FROM meta WHERE key = ?", [key])
        return rows[0][0] if rows else None

    def _rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        with _readable_errors(self.path):
            return self._connection.execute(statement, values).fetchall()

    def _move(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Change the state of executions, all or none. The execution's id is the last value of each row."""
        with self._transaction():
            for row in rows:
                if self._connection.execute(statement, row).rowcount != 1:
                    raise BenchError(f"{self.path}: execution {row[-1]} is not in the state it should be in")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _readable_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                if self._owner is not None:
                    self._check_owner()
                yield
                self._connection.execute("COMMIT")
            finally:
                # After some errors, a full disk's for one, SQLite has already rolled back.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")


def time_spent_ms(outcome: BenchOutcome) -> int:
    """What the outcome took: nothing where another execution gave it."""
    return 0 if outcome.derived_from else outcome.duration_ms


@contextmanager
def _readable_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
        # Text that is no UTF-8, no JSON, or JSON of another shape: no program of ours wrote that.
        raise BenchError(f"{path}: cannot be used as a ledger: a damaged row: {error!r:.200}") from error
    except sqlite3.Error as error:
        # Extended codes keep the general one in their lowest byte.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise BenchError(
                f"{path}: the ledger cannot be written: {error}; what was recorded is kept: make space on its disk, "
                "then give the same command again"
            ) from error
        raise BenchError(f"{path}: cannot be used as a ledger: {error}") from error


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    # While another bench turns a new file into a write-ahead log, SQLite does not wait for it by itself.
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _check_dead(owner: ProcessIdentity, path: Path, take_over: bool) -> None:
    if take_over and not owner.is_local:
        return
    if not owner.is_local:
        raise BenchError(
            f"{path}: in use by process {owner.pid} on host {owner.host}, which cannot be checked from here; "
            "if that bench is dead, say --take-over"
        )
    if owner.is_alive:
        raise BenchError(f"{path}: another bench writes to it (process {owner.pid}): wait for its end, or stop it")


def _execution(source: str, execution_id: str, case_id: str, action: str, repeat: int, outcome: str) -> BenchExecution:
    document = {
        "schema_version": "cyntra.bench_execution.v1",
        "execution_id": execution_id,
        "case_id": case_id,
        "action": orjson.loads(action),
        "repeat": repeat,
        "outcome": upgraded_outcome(orjson.loads(outcome)),
    }
    return parse(BenchExecution, orjson.dumps(document), source)


def _action(text: str) -> Action:
    return action_from_document(orjson.loads(text))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
