"""What this machine can and cannot enforce on a run, each found by trying it; for ``planner bench --doctor``."""

import tempfile
from pathlib import Path

from bench.containment.limits import Limits
from bench.containment.workdirs import remove_tree
from bench.doctor.check import Check, attempt
from bench.doctor.containment import limit_checks, processes
from bench.doctor.kernel import KernelSetting, kernel_checks
from bench.doctor.machine import clones, ledger, locks, resources
from bench.doctor.programs import programs
from planner.artifacts.toolchains import find_command


def examine(
    work_base: Path,
    kernel: KernelSetting | None = None,
    *,
    ledger_dir: Path | None = None,
    limits: Limits | None = None,
    n_workers: int = 1,
    search_path: str | None = None,
) -> list[Check]:
    """Try everything a bench relies on, in a directory below ``work_base`` that is removed again; takes seconds.

    ``kernel`` is how the kernel would be called, and in which repo, whose config names the toolchains that are looked
    for on ``search_path`` (default: PATH); None: no kernel runs. ``ledger_dir`` (default: ``work_base``) is where the
    ledger will be, and what was measured of the kernel's start-up. The two directories are made when they do not exist.
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
            *programs(None if kernel is None else (kernel.options.command, kernel.repo), search_path),
            *_kernel(place, kernel, ledger_dir, search_path),
        ]
    finally:
        remove_tree(place)


def _kernel(place: Path, kernel: KernelSetting | None, ledger_dir: Path, search_path: str | None) -> list[Check]:
    """Nothing where there is none to start, which another check has said."""
    if kernel is None or find_command(kernel.options.command[0], search_path) is None:
        return []
    (place / "kernel").mkdir()
    return kernel_checks(place / "kernel", kernel, ledger_dir)
