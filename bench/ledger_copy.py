"""`planner bench --ledger-copy`: a copy of the ledger elsewhere, whole at any moment, while the bench writes on."""

import hashlib
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.ledger_file import open_to_read
from planner.errors import BenchError, PathError
from planner.files import write_atomically
from planner.places import Place, write_file

COPY_EVERY_S = 60.0
"""How old the copy may be while the bench runs, besides the time that the upload takes."""
_TIMEOUT_S = 30.0


@contextmanager
def copied(ledger: Path, place: Place | None, *, every_s: float = COPY_EVERY_S) -> Iterator[None]:
    """Keep a copy of ``ledger`` at ``place``: at once, every ``every_s``, and at the end of the block, however it ends.

    Nothing for None. PathError when the first or the last copy fails; one between is tried again.
    """
    if place is None:
        yield
        return
    copies, over = _Copies(ledger, place), threading.Event()
    copies.write()
    thread = threading.Thread(target=copies.keep_writing, args=(over, every_s), name="ledger copy", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        try:
            copies.write()
        except PathError as error:
            raise PathError(f"{error}; the ledger itself is whole; the same command copies it again") from None


class _Copies:
    """Writes a copy when it differs from the one before."""

    def __init__(self, ledger: Path, place: Place) -> None:
        self._ledger, self._place = ledger, place
        self._written = b""

    def keep_writing(self, over: threading.Event, every_s: float) -> None:
        while not over.wait(every_s):
            try:
                self.write()
            except (PathError, BenchError, OSError):
                continue  # the last copy says what is wrong, if it still is

    def write(self) -> None:
        data = snapshot(self._ledger)
        digest = hashlib.sha256(data).digest()
        if digest == self._written:
            return
        if isinstance(self._place, Path):
            self._place.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._place, data)
        else:
            write_file(self._place, data)
        self._written = digest


def snapshot(ledger: Path) -> bytes:
    """The ledger at one moment as one file, whoever writes to it: without a log beside it, and owned by nobody."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / ledger.name
        try:
            with closing(open_to_read(ledger, _TIMEOUT_S)) as source, closing(sqlite3.connect(path)) as copy:
                source.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
                copy.execute("DELETE FROM meta WHERE key = 'owner'")
                copy.commit()
        except sqlite3.Error as error:
            raise BenchError(f"{ledger}: cannot be copied: {error}") from None
        return path.read_bytes()
