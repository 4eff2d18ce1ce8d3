"""The ledger as a file: whether it is whole, and how it is opened where nothing can be written."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from pathlib import Path

from planner.errors import BenchError

_MAGIC = b"SQLite format 3\0"
_REMEDY = "take a copy from before, or name another file with --ledger"


def repo_of(ledger_path: Path) -> Path | None:
    """The repo in whose .cyntra directory the ledger lies, if it does."""
    kernel = next((path for path in ledger_path.resolve().parents if path.name == ".cyntra"), None)
    return None if kernel is None else kernel.parent


def make_file(path: Path, statements: Iterable[str]) -> None:
    """A ledger's file with its tables, there as a whole or not at all; nothing when there is one."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        connection = sqlite3.connect(draft, isolation_level=None)
        try:
            # Without a write-ahead log, so that an error shows here and not when the file is closed.
            connection.execute("BEGIN")
            for statement in statements:
                connection.execute(statement)
            connection.execute("COMMIT")
        finally:
            connection.close()
        with contextlib.suppress(FileExistsError):  # another bench was quicker
            os.link(draft, path)
    finally:
        for name in (draft, draft.with_name(f"{draft.name}-journal")):
            name.unlink(missing_ok=True)


def check_whole(path: Path) -> None:
    """BenchError for a file that was emptied or cut short: SQLite would open the one as new, the other with less."""
    if not path.exists():
        return
    size = path.stat().st_size
    if size == 0:
        raise BenchError(f"{path}: empty (0 bytes), so whatever it held is lost: {_REMEDY}; remove it to begin anew")
    with path.open("rb") as file:
        header = file.read(100)
    if not header.startswith(_MAGIC) or len(header) < 100:
        raise BenchError(f"{path}: cannot be used as a ledger: no SQLite file: {_REMEDY}")
    page_size = int.from_bytes(header[16:18], "big")
    page_size = 65_536 if page_size == 1 else page_size
    n_pages = int.from_bytes(header[28:32], "big")
    # With a log beside it, pages may be missing that the log still holds.
    if size < page_size * n_pages and not _has_log(path):
        raise BenchError(f"{path}: cut short: {size} bytes of {page_size * n_pages}: {_REMEDY}")


def check_pages(path: Path, connection: sqlite3.Connection) -> None:
    """BenchError for a file with damaged pages."""
    ((verdict,), *_) = connection.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != "ok":
        raise BenchError(f"{path}: damaged: {str(verdict).strip().splitlines()[-1]}: {_REMEDY}")


def open_to_read(path: Path, timeout_s: float) -> sqlite3.Connection:
    """A connection that cannot write, also where nothing can be written: then it is to a copy of the file."""
    # query_only instead of mode=ro: after a crash, a reader must be able to recover the write-ahead log.
    connection = sqlite3.connect(path, timeout=timeout_s, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        return connection
    except sqlite3.OperationalError as error:
        connection.close()
        if (error.sqlite_errorcode & 0xFF) not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
    copy = sqlite3.connect(":memory:", isolation_level=None)
    with tempfile.TemporaryDirectory() as directory:
        for source in (path, _log_of(path)):
            if source.exists():
                shutil.copyfile(source, Path(directory) / source.name)
        original = sqlite3.connect(Path(directory) / path.name)
        original.backup(copy)
        original.close()
    copy.execute("PRAGMA query_only = ON")
    return copy


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _has_log(path: Path) -> bool:
    return _log_of(path).exists() and _log_of(path).stat().st_size > 0
