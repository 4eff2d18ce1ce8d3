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
    inside = os.fsencode(os.path.join(os.path.realpath(directory), ""))
    with open("/proc/self/mountinfo", "rb") as file:
        points = [_unescaped(line.split()[4]) for line in file]
    return [os.fsdecode(point) for point in reversed(points) if point.startswith(inside)]


def _unescaped(point: bytes) -> bytes:
    """Spaces, tabs, newlines and backslashes stand there in octal."""
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), point)
