"""Which programs a bench needs, and which are there."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.doctor.check import Check, attempt
from planner.artifacts.toolchains import find_command, find_toolchains, toolchain_names
from planner.artifacts.universe import load_kernel_config


def programs(kernel: tuple[Sequence[str], Path] | None, search_path: str | None) -> list[Check]:
    """The kernel and the toolchains of the config, of (its command, the repo), where one is to run; a shell."""
    checks = []
    if kernel is not None:
        command, repo = kernel
        found = find_command(command[0], search_path)
        remedy = "install Cyntra, or name its command with --cyntra"
        checks.append(Check("kernel", found is not None, found or f"{command[0]!r} is not on PATH", remedy))
        checks.append(
            attempt("toolchains", "install one of the config's tools", lambda: _toolchains(repo, search_path))
        )
    shell = shutil.which("/bin/sh")
    return [*checks, Check("shell", shell is not None, shell or "no /bin/sh", "install one: tools are started by it")]


def _toolchains(repo: Path, search_path: str | None) -> str:
    config = load_kernel_config(repo / ".cyntra" / "config.yaml")
    names = [toolchain.name for toolchain in find_toolchains(config, repo, search_path)]
    missing = [name for name in toolchain_names(config) if name not in names]
    if not names:
        raise OSError(f"none of {', '.join(missing)} is on PATH")
    return ", ".join(names) + (f" (missing or disabled: {', '.join(missing)})" if missing else "")
