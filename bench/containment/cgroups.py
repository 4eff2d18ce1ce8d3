"""Where runs may have cgroups (v2) of their own on this machine: found by trying it, once per process.

A cgroup whose children have limits may have no processes of its own. So those of the bench's cgroup, when that may be
rearranged, are moved into a leaf beside the runs' cgroups.
"""

import itertools
import os
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.containment.control_group import ControlGroup
from bench.containment.mounts import mount_of_type
from bench.containment.process_identity import ProcessIdentity
from bench.containment.process_tree import descendants

CONTROLLERS = {"memory", "pids"}
LEAF = "planner-bench-rest"
"""The leaf of the processes that were in the bench's cgroup."""
MOVE_ROUNDS = 100
"""Each moves what was born during the one before."""
PROBE_BYTES = 100_000_000
PROBE_LIMIT_S = 5.0
DELEGATED = ("user.delegate", "trusted.delegate")
"""What systemd marks the cgroups with that it leaves to others."""
BOOT = "boot with systemd.unified_cgroup_hierarchy=1, which leaves all controllers to cgroup v2"
CONTAINER = "in a container: docker run --privileged, or podman run --security-opt unmask=/sys/fs/cgroup"
_NAME = re.compile(r"planner-bench-(\d+)-(\d+)-(\d+)-\d+")
_numbers = itertools.count()


class NoCgroups(Exception):
    """Why runs have no cgroups here, and what to do."""


def find_cgroups() -> Path | None:
    """The cgroup in which runs may have theirs, ready for it; None: see :func:`why_no_cgroups`."""
    place = _look()
    return place if isinstance(place, Path) else None


def why_no_cgroups() -> str:
    """Why runs have none of their own here, and what to do."""
    place = _look()
    return "" if isinstance(place, Path) else str(place)


def new_group(place: Path) -> ControlGroup:
    """One below ``place`` that does not exist yet, and whose name says whose it is."""
    own = ProcessIdentity.own()
    return ControlGroup(place / f"planner-bench-{_pid_namespace()}-{own.pid}-{own.started_ticks}-{next(_numbers)}")


@dataclass(frozen=True)
class OwnCgroup:
    """The cgroup of this process; ``v1`` are the controllers that this machine leaves to cgroup v1."""

    path: Path
    is_top: bool
    """Whether nothing above it is seen: the machine's or a container's own."""
    v1: frozenset[str]


def own_cgroup(cgroup: str, mountinfo: bytes) -> OwnCgroup:
    """From /proc/self/cgroup and /proc/self/mountinfo; NoCgroups where no cgroup v2 is mounted."""
    lines = [line.split(":", 2) for line in cgroup.splitlines()]
    v1 = frozenset(name for _, names, _ in lines for name in names.split(",") if names)
    own = next((path for number, names, path in lines if (number, names) == ("0", "")), None)
    mount = mount_of_type(b"cgroup2", mountinfo)
    if own is None or mount is None:
        raise NoCgroups(f"cgroup v2 is not mounted: {BOOT}")
    root, point = mount
    if not Path(own).is_relative_to(root):
        raise NoCgroups(f"{point} shows {root}, and not the cgroup {own} of this process: {CONTAINER}")
    return OwnCgroup(Path(point) / Path(own).relative_to(root), own == root, v1)


@cache
def _look() -> Path | NoCgroups:
    try:
        own = own_cgroup(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_bytes())
        place = own.path.parent if own.path.name == LEAF else own.path
        _check_controllers(place, own.v1)
        if place == own.path:
            _make_room(own)
        (place / "cgroup.subtree_control").write_text("+memory +pids")
        _remove_stale(place)
        _try(new_group(place))
    except NoCgroups as why:
        return why
    except OSError as error:
        return NoCgroups(f"{error.filename or 'cgroup v2'}: {error.strerror}: {_cure()}")
    return place


def _check_controllers(place: Path, v1: frozenset[str]) -> None:
    missing = CONTROLLERS - set((place / "cgroup.controllers").read_text().split())
    if missing & v1:
        raise NoCgroups(f"cgroup v1 has the controllers {' and '.join(sorted(missing & v1))}: {BOOT}")
    if missing:
        raise NoCgroups(f"{place} lacks the controllers {' and '.join(sorted(missing))}: {_cure()}")


def _make_room(own: OwnCgroup) -> None:
    """Move the processes of the own cgroup into a leaf, unless it is somebody else's to arrange."""
    if not (own.path / "cgroup.type").exists():
        # The machine's root is the only one that may have both processes and limits below it.
        return
    if not (own.is_top or _is_delegated(own.path) or _processes(own.path) <= _family()):
        raise NoCgroups(f"{own.path} is not the bench's alone: {_cure()}")
    leaf = own.path / LEAF
    leaf.mkdir(exist_ok=True)
    for _ in range(MOVE_ROUNDS):
        processes = _processes(own.path)
        if not processes:
            return
        for process in processes:
            try:
                (leaf / "cgroup.procs").write_text(str(process))
            except ProcessLookupError:
                continue


def _is_delegated(path: Path) -> bool:
    for name in DELEGATED:
        try:
            if os.getxattr(path, name) == b"1":
                return True
        except OSError:
            continue
    return False


def _processes(path: Path) -> set[int]:
    # Those of other namespaces, which cannot be moved from here, are listed as 0.
    return {int(line) for line in (path / "cgroup.procs").read_text().split()}


def _family() -> set[int]:
    return {os.getpid(), *(process.number for process in descendants())}


def _try(group: ControlGroup) -> None:
    """Whether limits are taken, a process can be moved in, and is ended by the group's own means."""
    child = subprocess.Popen(["sleep", "60"])
    try:
        group.make(PROBE_BYTES, 10)
        (group.path / "cgroup.procs").write_text(str(child.pid))
        if not (group.path / "cgroup.kill").exists():
            raise NoCgroups("this kernel has no cgroup.kill: use Linux 5.14 or later")
        group.kill()
        child.wait(PROBE_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise NoCgroups(f"cgroup.kill of {group.path} ended nothing: use Linux 5.14 or later") from None
    finally:
        child.kill()
        child.wait()
        group.remove()


def _remove_stale(place: Path) -> None:
    """End and remove the cgroups of runs whose worker is dead; those of benches in scopes beside ours as well."""
    for path in {*place.glob("planner-bench-*"), *place.parent.glob("*/planner-bench-*")}:
        match = _NAME.fullmatch(path.name)
        if match is None or int(match[1]) != _pid_namespace():
            # Numbers of another namespace are not ours: whose they are may live.
            continue
        owner = ProcessIdentity(ProcessIdentity.own().host, int(match[2]), int(match[3]))
        if not owner.is_alive:
            ControlGroup(path).remove()


def _pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _cure() -> str:
    scope = "systemd-run --user --scope" if os.getuid() else "systemd-run --scope"
    return f"start the bench by `{scope} -p Delegate=yes planner bench ...`; {CONTAINER}"
