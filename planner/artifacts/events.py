"""The kernel's event log: when a workcell started, how and when it ended, and where none could be made."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from planner.artifacts.files import MAX_LOG_BYTES, open_regular, read_lines
from planner.artifacts.lenient import moment, section, string
from planner.artifacts.records import Quarantine
from planner.errors import ContractError


@dataclass(slots=True)
class WorkcellEvents:
    """What the log says of one workcell; times in ms since the epoch, UTC, None when not logged."""

    started_ms: int | None = None
    ended_ms: int | None = None
    completed: bool = False
    error: str | None = None
    issue_id: str | None = None
    toolchain: str | None = None
    speculative: bool = False
    """Whether it was one of several candidates; of those that were not chosen, the log is all that is left."""

    @property
    def fail_codes(self) -> list[str]:
        """The codes in an error such as "Gate failures: test, lint"."""
        codes = (self.error or "").removeprefix("Gate failures:").split(",")
        return [code.strip() for code in codes if code.strip()]


@dataclass(frozen=True)
class StartFailure:
    """An attempt at an issue for which the kernel could make no workcell: it counts, and left no archive."""

    issue_id: str
    ended_ms: int


@dataclass
class EventLog:
    """What the log says, in the order of its lines."""

    cells: dict[str, WorkcellEvents] = field(default_factory=dict)
    """Workcell id -> what happened to it."""
    start_failures: list[StartFailure] = field(default_factory=list)


def read_events(path: Path, quarantine: Quarantine) -> EventLog:
    """The log at ``path``. Broken lines are set aside; a missing log is an empty one."""
    log = EventLog()
    try:
        file = open_regular(path, MAX_LOG_BYTES, inside=path.parent.parent)
    except FileNotFoundError:
        return log
    except ContractError as failure:
        quarantine.dropped(path, failure.reason)
        return log
    foreign = 0
    with file:
        for number, line in read_lines(file):
            if line is not None and b'"workcell.' not in line:
                foreign += line[:1] not in (b"{", b"")
                continue
            try:
                event = orjson.loads(line or b"")
                kind = event["type"]
                if kind == "workcell.create_failed":
                    log.start_failures += _start_failures(event)
                    continue
                cell = log.cells.setdefault(event["workcell_id"], WorkcellEvents())
            except (orjson.JSONDecodeError, KeyError, TypeError):
                quarantine.dropped(path.with_name(f"{path.name}:{number}"), "broken event line")
                continue
            if kind == "workcell.started":
                cell.started_ms = moment(event, "timestamp")
                cell.issue_id = string(event, "issue_id") or None
                cell.toolchain = string(section(event, "data"), "toolchain") or None
                cell.speculative = bool(string(section(event, "data"), "speculate_tag"))
            elif kind in ("workcell.completed", "workcell.failed"):
                cell.ended_ms = moment(event, "timestamp")
                cell.completed = kind == "workcell.completed"
                error = section(event, "data").get("error")
                cell.error = error if isinstance(error, str) else None
    if foreign:
        quarantine.dropped(path, f"{foreign} lines are no events: an event is a JSON object on a line of its own")
    return log


def _start_failures(event: dict[str, Any]) -> list[StartFailure]:
    """The attempt that ended before it had a workcell; none where only one candidate of several has none.

    The kernel counts attempts of issues and not of candidates, and the event of a candidate has a speculate_tag.
    KeyError when the event does not say of what and when.
    """
    if string(section(event, "data"), "speculate_tag"):
        return []
    issue_id, ended_ms = string(event, "issue_id"), moment(event, "timestamp")
    if not issue_id or ended_ms is None:
        raise KeyError("issue_id, timestamp")
    return [StartFailure(issue_id, ended_ms)]
