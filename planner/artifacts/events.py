"""The kernel's event log: when a workcell started, and how and when it ended."""

from dataclasses import dataclass
from pathlib import Path

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


def read_events(path: Path, quarantine: Quarantine) -> dict[str, WorkcellEvents]:
    """Workcell id -> what happened to it. Broken lines are set aside; a missing log is an empty one."""
    cells: dict[str, WorkcellEvents] = {}
    try:
        file = open_regular(path, MAX_LOG_BYTES, inside=path.parent.parent)
    except FileNotFoundError:
        return cells
    except ContractError as failure:
        quarantine.dropped(path, failure.reason)
        return cells
    foreign = 0
    with file:
        for number, line in read_lines(file):
            if line is not None and b'"workcell.' not in line:
                foreign += line[:1] not in (b"{", b"")
                continue
            try:
                event = orjson.loads(line or b"")
                kind, cell_id = event["type"], event["workcell_id"]
                cell = cells.setdefault(cell_id, WorkcellEvents())
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
    return cells
