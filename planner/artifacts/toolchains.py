"""The agent tools that a Cyntra config names, and which of them are there."""

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from planner.artifacts.lenient import section

DEFAULT_PRIORITY = ("codex", "claude", "crush")
"""Cyntra's order when the config names none."""


@dataclass(frozen=True)
class Toolchain:
    """One agent tool that is there: its name in the config, what the config calls it by, and its executable."""

    name: str
    configured: str
    executable: Path

    @property
    def is_path(self) -> bool:
        """Whether the config gives a path, so that PATH does not matter."""
        return "/" in self.configured


def toolchain_names(config: Mapping[str, Any]) -> list[str]:
    """Every toolchain the config names, those of ``toolchain_priority`` first."""
    priority = config.get("toolchain_priority")
    ordered = [str(name) for name in priority] if isinstance(priority, list) else list(DEFAULT_PRIORITY)
    return list(dict.fromkeys([*ordered, *map(str, section(dict(config), "toolchains"))]))


def find_toolchains(config: Mapping[str, Any], repo: Path, search_path: str | None = None) -> list[Toolchain]:
    """The enabled toolchains whose executable exists, in the config's order of priority.

    ``search_path`` is a PATH (default: this process's); a relative path in the config counts from ``repo``.
    """
    found = []
    for name in toolchain_names(config):
        settings = section(dict(config), "toolchains", name)
        configured = _configured(name, settings)
        place = str(repo / configured) if "/" in configured else configured
        executable = shutil.which(place, path=search_path)
        if settings.get("enabled", True) and executable is not None:
            found.append(Toolchain(name, configured, Path(executable).absolute()))
    return found


def _configured(name: str, settings: Mapping[str, Any]) -> str:
    """What the config calls the tool by: ``path``, else the first word of ``command``, else its name."""
    if isinstance(settings.get("path"), str) and settings["path"]:
        return settings["path"]
    words = str(settings.get("command") or "").split()
    return words[0] if words else name


def find_command(name: str, search_path: str | None = None) -> str | None:
    """The executable called ``name`` on PATH or beside this Python, whose environment may not be activated."""
    return shutil.which(name, path=search_path) or shutil.which(name, path=str(Path(sys.executable).parent))
