"""Runs one command under :mod:`bench.containment.supervisor` and hands back its report."""

import contextlib
import os
import select
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.containment import process_tree
from bench.containment.cgroups import new_group
from bench.containment.forkserver_client import FORK_SERVER
from bench.containment.limits import Deadline, Limits, StopReason
from bench.containment.namespaces import Namespaces, find_bubblewrap
from bench.containment.strays import MARK, kill_strays
from bench.containment.workdirs import in_use
from planner.errors import BenchError

REPORT_PATIENCE_S = 60.0
"""How long after limit, grace and kill patience a supervisor may stay silent before it counts as lost."""


@dataclass(frozen=True)
class RunReport:
    """How a supervised command ended; ``stopped_by`` is our reason for stopping it, None when it ended by itself."""

    exit_code: int | None
    wall_ms: int
    cpu_ms: int
    stopped_by: StopReason | None
    left: int
    """Processes that could not be killed."""


def run_supervised(
    command: Sequence[str],
    *,
    run_dir: Path,
    work_dir: Path,
    environment: Mapping[str, str],
    log_path: Path,
    limits: Limits,
    deadline: Deadline | None = None,
    grace_s: float = 2.0,
    namespaces: Namespaces | None = None,
    cgroups: Path | None = None,
) -> RunReport:
    """Run ``command`` in ``run_dir`` with ``environment`` and nothing more, within ``limits``.

    Its output goes to ``log_path``. ``deadline`` shortens the limit of time from another thread. When this process dies
    in any way, the supervisor kills the command's whole tree and removes ``work_dir``. With ``namespaces`` it runs in
    these, with TMPDIR as its /tmp; with ``cgroups``, as find_cgroups gives it, in a cgroup of its own below that.
    BenchError when the command cannot be started or the supervisor is lost.
    """
    group = None if cgroups is None else new_group(cgroups)
    if namespaces is not None:
        command = _enclosed(command, namespaces, work_dir, environment)
    control_read, control_write = os.pipe()
    report_read, report_write = os.pipe()
    os.set_blocking(control_write, False)
    try:
        with log_path.open("ab") as log, in_use(work_dir) as mark:
            most = ["none" if n is None else n for n in (limits.memory_bytes, limits.processes, limits.file_bytes)]
            settings = [limits.wall_s, grace_s, *most, run_dir, work_dir, int(namespaces is not None)]
            arguments = map(str, [*settings, "none" if group is None else group.path, *command])
            descriptors = (control_read, report_write, mark, log.fileno())
            FORK_SERVER.start_supervisor(list(arguments), {**environment, MARK: str(work_dir)}, descriptors)
        # Ours was a copy: when the supervisor's own is closed too, it is gone.
        os.close(report_write)
        report_write = -1
        patience_s = limits.wall_s + grace_s + process_tree.KILL_PATIENCE_S + REPORT_PATIENCE_S
        with deadline.hold(control_write) if deadline else contextlib.nullcontext():
            report = _read_report(report_read, time.monotonic() + patience_s)
        if report is None:
            if group is not None:
                group.remove()
            kill_strays(work_dir)
            raise BenchError(f"the supervisor of {command[0]!r} was lost before it reported: it was killed or is stuck")
        if "error" in report:
            raise BenchError(f"cannot start {command[0]!r}: {report['error']}")
        return RunReport(**report)
    finally:
        for descriptor in (control_read, control_write, report_read, report_write):
            if descriptor >= 0:
                os.close(descriptor)


def _enclosed(
    command: Sequence[str], namespaces: Namespaces, work_dir: Path, environment: Mapping[str, str]
) -> list[str]:
    program = find_bubblewrap()
    if program is None:
        raise BenchError("bubblewrap does not work on this machine any more: see `planner bench --doctor`")
    return namespaces.command(program, command, work_dir, Path(environment.get("TMPDIR", work_dir)))


def _read_report(source: int, deadline: float) -> dict[str, Any] | None:
    text = b""
    poller = select.poll()
    poller.register(source, select.POLLIN)
    # The supervisor is the only writer: the end of its report is also its own end.
    while poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        chunk = os.read(source, 4096)
        if not chunk:
            break
        text += chunk
    return orjson.loads(text) if text else None
