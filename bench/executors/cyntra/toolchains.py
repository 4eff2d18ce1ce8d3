"""The agent tools of a Cyntra config: which are there, and the wrappers that log their launches."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from bench.containment.fast_python import fast_script
from bench.executors.cyntra import tool_launch
from planner.artifacts.files import open_regular
from planner.artifacts.toolchains import Toolchain
from planner.contracts.bench import Launch
from planner.contracts.document import Milliseconds
from planner.errors import BenchError, ContractError

MAX_LOG_BYTES = 64 * 2**20
"""A hundred launches, each with the longest line that a wrapper takes from a tool."""


def write_wrappers(directory: Path, toolchains: Iterable[Toolchain], log_path: Path) -> dict[str, Path]:
    """Write a wrapper per toolchain and return them by name; ``directory`` is to stand first on PATH."""
    on_path, by_path = directory, directory / "by-path"
    by_path.mkdir(parents=True)
    wrappers = {}
    for number, toolchain in enumerate(toolchains):
        place = by_path / str(number) if toolchain.is_path else on_path / toolchain.configured
        # Two toolchains may share one executable on PATH; its launches then bear the name of the first.
        if not place.exists():
            _write_program(place, fast_script(tool_launch, str(log_path), toolchain.name, str(toolchain.executable)))
        wrappers[toolchain.name] = place
    return wrappers


def hide_tracker(directory: Path) -> None:
    """Put a ``bd`` that refuses into ``directory``, which is to stand first on PATH.

    By the tracker's own, Cyntra would read and write other issues than the clone's.
    """
    _write_program(directory / "bd", "#!/bin/sh\necho 'bd is not available inside a bench' >&2\nexit 1\n")


def read_launches(log_path: Path, run_ended_ms: Milliseconds) -> list[Launch]:
    """The launches in a log, by start. One whose end was never logged was killed when the run ended.

    BenchError when something else than the wrappers has written there.
    """
    starts: dict[str, dict[str, Any]] = {}
    ends: dict[str, dict[str, Any]] = {}
    try:
        with open_regular(log_path, MAX_LOG_BYTES) as log:
            for line in log:
                entry = orjson.loads(line)
                # A tool's end may be logged twice when it is killed in the moment it ends: the first one is right.
                (starts if entry["event"] == "start" else ends).setdefault(entry["launch"], entry)
        launches = [_launch(start, ends.get(key), run_ended_ms) for key, start in starts.items()]
    except FileNotFoundError:
        return []
    except ContractError as error:
        raise BenchError(f"the log of launches cannot be read: {error.reason}") from None
    except (ValueError, TypeError, KeyError) as error:
        # The run can write to it, too.
        raise BenchError(f"the log of launches holds what no wrapper writes: {error!r}"[:300]) from None
    return sorted(launches, key=lambda launch: (launch.started_ms, launch.tool))


def _launch(start: Mapping[str, Any], end: Mapping[str, Any] | None, run_ended_ms: int) -> Launch:
    killed = {"elapsed_ms": max(0, run_ended_ms - start["at_ms"]), "exit_code": None, "json_line_hex": ""}
    end = end or killed
    return Launch(
        tool=bytes.fromhex(start["tool_hex"]).decode(),
        started_ms=start["at_ms"],
        duration_ms=end["elapsed_ms"],
        exit_code=end["exit_code"],
        cost_usd=_cost(bytes.fromhex(end["json_line_hex"])),
    )


def _cost(json_line: bytes) -> float | None:
    """The cost a tool reported in its last JSON line, US dollars; the real claude says ``total_cost_usd``."""
    try:
        document = orjson.loads(json_line)
    except orjson.JSONDecodeError:
        return None
    for key in ("cost", "cost_usd", "total_cost_usd"):
        value = document.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return float(value)
    return None


def _write_program(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
