"""Runs one command under :mod:`bench.supervisor` and hands back its report."""

import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bench import supervisor
from bench.limits import Leash
from bench.programs import fast_python
from bench.strays import MARK, kill_strays
from bench.workdirs import in_use
from planner.errors import BenchError

REPORT_PATIENCE_S = 60.0
"""How long after limit, grace and kill patience a supervisor may stay silent before it counts as lost."""


@dataclass(frozen=True)
class RunReport:
    """How a supervised command ended; ``stopped_by`` is our reason for stopping it, None when it ended by itself."""

    exit_code: int | None
    wall_ms: int
    cpu_ms: int
    stopped_by: str | None
    left: int
    """Processes that could not be killed."""


def run_supervised(
    command: Sequence[str],
    *,
    run_dir: Path,
    work_dir: Path,
    environment: Mapping[str, str],
    log_path: Path,
    wall_limit_s: float,
    grace_s: float = 2.0,
    leash: Leash | None = None,
) -> RunReport:
    """Run ``command`` in ``run_dir`` with ``environment`` and nothing more, for at most ``wall_limit_s`` seconds.

    Its output goes to ``log_path``. When this process dies in any way, the supervisor kills the command's whole tree
    and removes ``work_dir``. BenchError when the command cannot be started or the supervisor is lost.
    """
    liveness_read, liveness_write = os.pipe()
    report_read, report_write = os.pipe()
    try:
        with log_path.open("ab") as log, in_use(work_dir) as mark:
            inherited = (liveness_read, report_write, mark)
            numbers = (*inherited, wall_limit_s, grace_s)
            starter = subprocess.Popen(
                [*fast_python(), supervisor.__file__, *map(str, numbers), str(run_dir), str(work_dir), *command],
                env={**environment, MARK: str(work_dir)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=inherited,
                start_new_session=True,
            )
            starter.wait()
        # Ours was a copy: when the supervisor's own is closed too, it is gone.
        os.close(report_write)
        report_write = -1
        patience_s = wall_limit_s + grace_s + supervisor.KILL_PATIENCE_S + REPORT_PATIENCE_S
        report = _read_report(report_read, time.monotonic() + patience_s)
        if report is None:
            kill_strays(work_dir)
            raise BenchError(f"the supervisor of {command[0]!r} was lost before it reported: it was killed or is stuck")
        if "error" in report:
            raise BenchError(f"cannot start {command[0]!r}: {report['error']}")
        return RunReport(**report)
    finally:
        for descriptor in (liveness_read, liveness_write, report_read, report_write):
            if descriptor >= 0:
                os.close(descriptor)


def _read_report(source: int, deadline: float) -> dict[str, Any] | None:
    text = b""
    # The supervisor is the only writer: the end of its report is also its own end.
    while select.select([source], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(source, 4096)
        if not chunk:
            break
        text += chunk
    return orjson.loads(text) if text else None
