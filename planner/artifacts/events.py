"""The kernel's event log: when a workcell started, and how and when it ended."""

from dataclasses import dataclass
from pathlib import Path

import orjson

from planner.artifacts.records import Quarantine, moment, section


@dataclass(slots=True)
class WorkcellEvents:
    """What the log says of one workcell; times in ms since the epoch, UTC, None when not logged."""

    started_ms: int | None = None
    ended_ms: int | None = None
    completed: bool = False
    error: str | None = None

    @property
    def fail_codes(self) -> list[str]:
        """The codes in an error such as "Gate failures: test, lint"."""
        codes = (self.error or "").removeprefix("Gate failures:").split(",")
        return [code.strip() for code in codes if code.strip()]


def read_events(path: Path, quarantine: Quarantine) -> dict[str, WorkcellEvents]:
    """Workcell id -> what happened to it. Broken lines are set aside; a missing log is an empty one."""
    cells: dict[str, WorkcellEvents] = {}
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return cells
    except OSError as failure:
        quarantine.dropped(path, f"cannot be read: {failure.strerror}")
        return cells
    for number, line in enumerate(lines, start=1):
        if b'"workcell.' not in line:
            continue
        try:
            event = orjson.loads(line)
            kind, cell_id = event["type"], event["workcell_id"]
            cell = cells.setdefault(cell_id, WorkcellEvents())
        except (orjson.JSONDecodeError, KeyError, TypeError):
            quarantine.dropped(path.with_name(f"{path.name}:{number}"), "broken event line")
            continue
        if kind == "workcell.started":
            cell.started_ms = moment(event, "timestamp")
        elif kind in ("workcell.completed", "workcell.failed"):
            cell.ended_ms = moment(event, "timestamp")
            cell.completed = kind == "workcell.completed"
            error = section(event, "data").get("error")
            cell.error = error if isinstance(error, str) else None
    return cells
