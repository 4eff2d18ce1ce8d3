"""Mounts below a directory that is to be removed: removing it would empty what a run has mounted there.

Needs nothing but the standard library: the supervisor's own program uses it as well.
"""

import ctypes
import os
import re

MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8
_ESCAPED = re.compile(rb"\\([0-7]{3})")


def detach_mounts(directory: str) -> list[str]:
    """Take away what is mounted below ``directory``; returns the places where that is refused, which must stay."""
    libc = ctypes.CDLL(None)
    points = mount_points_below(directory)
    return [point for point in points if libc.umount2(os.fsencode(point), MNT_DETACH | UMOUNT_NOFOLLOW)]


def mount_points_below(directory: str) -> list[str]:
    """Where something is mounted below ``directory``, by proc_pid_mountinfo(5): the deepest and the latest first."""
    inside = os.fsencode(os.path.realpath(directory)) + b"/"
    points = [_unescaped(line.split()[4]) for line in read_whole("/proc/self/mountinfo").splitlines()]
    return [os.fsdecode(point) for point in reversed(points) if point.startswith(inside)]


def mount_of_type(kind: bytes, mountinfo: bytes) -> tuple[str, str] | None:
    """What of a file system is mounted, and where, for the first of this type; None when there is none."""
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(b" - ")
        if rest.split()[0] == kind:
            root, point = fields.split()[3:5]
            return os.fsdecode(_unescaped(root)), os.fsdecode(_unescaped(point))
    return None


def read_whole(path: str) -> bytes:
    """A file of /proc, as large as it is."""
    descriptor = os.open(path, os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _unescaped(point: bytes) -> bytes:
    """Spaces, tabs, newlines and backslashes stand there in octal."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), point)
