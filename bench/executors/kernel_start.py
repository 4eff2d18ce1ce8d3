"""How long the kernel takes to start on a machine: measured by `planner bench --doctor`, read by every bench there."""

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import orjson

from planner.contracts.document import ms_to_timestamp

FILE = "kernel-start.json"
"""Beside the ledger: {host: {kernel's command: {"start_ms": ..., "measured_at": ...}}}."""


def record_start(directory: Path, command: str, start_ms: float, now_ms: int) -> Path:
    """Write down what was measured on this machine; returns the file."""
    path = directory / FILE
    machines = _read(path)
    measured = {"start_ms": round(start_ms, 1), "measured_at": ms_to_timestamp(now_ms)}
    machines[socket.gethostname()] = {**machines.get(socket.gethostname(), {}), command: measured}
    directory.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=directory)
    with os.fdopen(descriptor, "wb") as file:
        file.write(orjson.dumps(machines, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))
    Path(name).replace(path)
    return path


def recorded_start(directory: Path, command: str) -> float | None:
    """The longest start-up of this kernel on any machine that was measured, in ms; None when none was."""
    found = [machine[command]["start_ms"] for machine in _read(directory / FILE).values() if command in machine]
    return max(found, default=None)


def _read(path: Path) -> dict[str, Any]:
    """What the file says; nothing of one that is missing or damaged: it is measured again in seconds."""
    try:
        machines = orjson.loads(path.read_bytes())
        return {
            host: {command: one for command, one in machine.items() if isinstance(one["start_ms"], int | float)}
            for host, machine in machines.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return {}
