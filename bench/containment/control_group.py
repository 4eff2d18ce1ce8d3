"""One run's cgroup (v2): what its processes may use together is kept by the kernel, and one word ends them all.

Used by the supervisor's own program, which needs nothing but the standard library. Where such a cgroup may be made is
found by ``cgroups``. The files are those of the kernel's document on cgroup v2.
"""

import contextlib
import os
import time
from pathlib import Path

REMOVAL_PATIENCE_S = 5.0
"""How long killed processes may take until the cgroup is empty."""


class ControlGroup:
    """A cgroup at ``path``, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self, memory_bytes: int | None, max_tasks: int | None) -> None:
        """Make it with its limits, None = no such limit; OSError when that is refused."""
        self.path.mkdir()
        if memory_bytes is not None:
            self._write("memory.max", memory_bytes)
            self._write("memory.oom.group", 1)
            with contextlib.suppress(OSError):
                # Not there without swap. With it, a run over its limit would be slow instead of stopped.
                self._write("memory.swap.max", 0)
        if max_tasks is not None:
            self._write("pids.max", max_tasks)

    def enter(self) -> None:
        """Move the calling process into it, with all that it will start."""
        self._write("cgroup.procs", 0)

    def exceeded(self) -> str | None:
        """The limit that its processes came to, "memory" or "processes", or None."""
        memory = self._events("memory.events")
        # The machine itself may have been out of memory: then they were killed without a limit of theirs.
        if memory.get("oom", 0) and memory.get("oom_kill", 0):
            return "memory"
        return "processes" if self._events("pids.events").get("max", 0) else None

    def kill(self) -> None:
        """End all its processes, those that are being born included."""
        with contextlib.suppress(OSError):
            self._write("cgroup.kill", 1)

    def remove(self, patience_s: float = REMOVAL_PATIENCE_S) -> bool:
        """Kill what is in it and remove it with all that a run has made below it; whether it is gone."""
        self.kill()
        patience_ends = time.monotonic() + patience_s
        while self.path.is_dir():
            for directory, _, _ in os.walk(self.path, topdown=False):
                with contextlib.suppress(OSError):
                    Path(directory).rmdir()
            if time.monotonic() > patience_ends:
                break
            time.sleep(0.002)
        return not self.path.is_dir()

    def _write(self, name: str, value: int) -> None:
        (self.path / name).write_text(str(value))

    def _events(self, name: str) -> dict[str, int]:
        """A file of lines ``NAME COUNT``; nothing where it cannot be read."""
        try:
            lines = (self.path / name).read_text().splitlines()
        except OSError:
            return {}
        return {line.split()[0]: int(line.split()[1]) for line in lines}
