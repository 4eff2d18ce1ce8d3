"""The journal of ``planner run``: what was decided, what came of it, on disk before anything depends on it.

One JSON object a line in ``.cyntra/planner/run/journal.jsonl``, appended and flushed to the disk. A decision begins
with ``decided``, before its kernel is started, and ends with exactly one of ``recorded`` (its documents are in the
run's artifacts), ``no_run`` (the kernel left no run) and ``interrupted`` (this program or the kernel was stopped).
Between them ``ended`` says what the kernel's run took. A decision without an end is one that a later start looks into.
"""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from planner.errors import BenchError

DECIDED, ENDED = "decided", "ended"
RECORDED, NO_RUN, INTERRUPTED = "recorded", "no_run", "interrupted"
CLOSING = (RECORDED, NO_RUN, INTERRUPTED)


@dataclass
class Entry:
    """One decision, as far as the journal knows it."""

    decision_id: str
    decided: dict[str, Any]
    """The line that opened it: issue_id, mode, planner_input, planner_action, forced, reason, at_ms, work_dir."""
    later: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Event -> its line."""

    @property
    def is_open(self) -> bool:
        """Whether nobody has said yet what became of it."""
        return not any(event in self.later for event in CLOSING)

    @property
    def started_ms(self) -> int:
        """Before its kernel was started, ms since the epoch, UTC."""
        return int(self.decided["at_ms"])

    def spent(self) -> tuple[float, float]:
        """Hours of the kernel's run, and the US dollars that its tools reported."""
        line = self.later.get(ENDED) or {}
        return line.get("wall_ms", 0) / 3_600_000, line.get("cost_usd") or 0.0


class Journal:
    """The journal of one repo. Only the holder of the run's lock opens it: a torn last line is cut off."""

    def __init__(self, path: Path) -> None:
        """Read what is there; BenchError where a line other than a torn last one is none of ours."""
        self.path = path
        self.entries: dict[str, Entry] = {}
        self._read()

    def open_entries(self) -> list[Entry]:
        """The decisions of which nobody has said yet what became of them, in order."""
        return [entry for entry in self.entries.values() if entry.is_open]

    def write(self, event: str, decision_id: str, at_ms: int, **values: Any) -> None:
        """Append one line, and return when it is on the disk; OSError, and no line, where that cannot be done."""
        line = {"event": event, "decision_id": decision_id, "at_ms": at_ms, **values}
        data = orjson.dumps(line) + b"\n"
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            before = os.fstat(descriptor).st_size
            if (written := os.write(descriptor, data)) < len(data):  # the disk is full
                os.ftruncate(descriptor, before)
                raise OSError(errno.ENOSPC, f"only {written} bytes of a decision could be written", str(self.path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._take(line)

    def _read(self) -> None:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return
        whole, _, torn = data.rpartition(b"\n")
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                self._take(orjson.loads(line))
            except (orjson.JSONDecodeError, KeyError, TypeError):
                raise BenchError(f"{self.path}:{number}: not a line of this journal: move the file away") from None
        if torn:  # the machine died while it was written, so nothing depends on it
            os.truncate(self.path, len(data) - len(torn))

    def _take(self, line: Mapping[str, Any]) -> None:
        if line["event"] == DECIDED:
            self.entries[line["decision_id"]] = Entry(line["decision_id"], dict(line))
        else:
            self.entries[line["decision_id"]].later[line["event"]] = dict(line)
