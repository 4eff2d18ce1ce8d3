"""What this machine can and cannot enforce on a run, each found by trying it; for ``planner bench --doctor``."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.containment.limits import Limits
from bench.containment.workdirs import remove_tree
from bench.doctor.check import Check, attempt
from bench.doctor.containment import limit_checks, processes
from bench.doctor.machine import clones, ledger, locks, resources
from bench.doctor.programs import programs


def examine(
    work_base: Path,
    command: Sequence[str] | None = None,
    *,
    repo: Path | None = None,
    ledger_dir: Path | None = None,
    limits: Limits | None = None,
    n_workers: int = 1,
    search_path: str | None = None,
) -> list[Check]:
    """Try everything a bench relies on, in a directory below ``work_base`` that is removed again; takes seconds.

    ``command`` is the kernel's command line, ``repo`` gives the config whose toolchains are looked for on
    ``search_path`` (default: PATH), ``ledger_dir`` (default: ``work_base``) is where the ledger will be. The last two
    are made when they do not exist.
    """
    limits = limits or Limits(3600.0)
    ledger_dir = ledger_dir or work_base
    try:
        work_base.mkdir(parents=True, exist_ok=True)
        ledger_dir.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix="planner-doctor-", dir=work_base))
    except OSError as error:
        return [Check("work directory", False, str(error), "choose another --work-dir or --ledger")]
    try:
        return [
            *processes(place),
            *limit_checks(place),
            attempt("git", "install git 2.5 or later", lambda: clones(place)),
            *resources(place, limits, n_workers),
            attempt("locks", "choose a --work-dir on a local file system", lambda: locks(place)),
            attempt("ledger", "put the ledger on a local file system with --ledger", lambda: ledger(ledger_dir)),
            *programs(command, repo, search_path),
        ]
    finally:
        remove_tree(place)
