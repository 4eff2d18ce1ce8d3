"""Makes SQLite's own writes fail: the n-th system call that changes a file, replaced where SQLite's own tests do it."""

import _sqlite3
import ctypes
import ctypes.util
import errno
import os
import signal
from collections.abc import Callable
from typing import Any

CHANGES = ("pwrite64", "pwrite", "write", "ftruncate", "fallocate", "unlink")
"""SQLite's names of the calls that change a file. It offers no hook for fdatasync."""
_FIND = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
_REPLACE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "write": (ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t),
    "pwrite": (ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64),
    "pwrite64": (ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64),
    "ftruncate": (ctypes.c_int, ctypes.c_int, ctypes.c_int64),
    "fallocate": (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64),
    "unlink": (ctypes.c_int, ctypes.c_char_p),
}


class _Vfs(ctypes.Structure):
    """``sqlite3_vfs`` of version 3, as sqlite3.h has it."""

    _fields_ = [
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("longest_path", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("methods", ctypes.c_void_p * 13),
        ("set_system_call", _REPLACE),
        ("get_system_call", _FIND),
        ("next_system_call", ctypes.c_void_p),
    ]


def sqlite_vfs() -> Any:
    """How the SQLite that Python uses reaches the operating system; OSError when it hides that (a static build)."""
    library = ctypes.CDLL(_sqlite3.__file__)
    try:
        find = library.sqlite3_vfs_find
    except AttributeError as error:
        raise OSError(str(error)) from error
    find.restype = ctypes.POINTER(_Vfs)
    vfs = find(None)
    if not vfs or vfs.contents.name != b"unix":
        raise OSError("SQLite's interface to the operating system is another one")
    return vfs


def fail_from(n: int, how: str, on_failure: Callable[[], None]) -> None:
    """Let SQLite's ``n``-th change of a file (1 = the first) and all later ones of this process fail.

    ``how``: "full" (half of it is written, then no space is left), "broken" (an I/O error), "once" (an I/O error, and
    the later ones work again), "kill" (SIGKILL before it) or "torn" (SIGKILL when half of it is written).
    ``on_failure`` is called before the first failure.
    """
    vfs, count = sqlite_vfs(), 0

    def is_due() -> bool:
        nonlocal count
        count += 1
        if count == n:
            on_failure()
        return count == n if how == "once" else count >= n

    for name in CHANGES:
        found = vfs.contents.get_system_call(vfs, name.encode())
        if found is not None:
            kind = ctypes.CFUNCTYPE(*_SIGNATURES[name], use_errno=True)
            replacement = kind(_failing(kind(found), how, is_due))
            _KEPT.append(replacement)
            pointer = ctypes.cast(replacement, ctypes.c_void_p)
            assert vfs.contents.set_system_call(vfs, name.encode(), pointer) == 0


_KEPT: list[Any] = []
"""SQLite calls these as long as the process lives."""


def _failing(original: Callable[..., int], how: str, is_due: Callable[[], bool]) -> Callable[..., int]:
    def call(*arguments: Any) -> int:
        if not is_due():
            return original(*arguments)
        # Of pwrite and write alone one half can be done: descriptor, data, length, place.
        if how in ("full", "torn") and len(arguments) >= 3 and arguments[2] > 1:
            original(*arguments[:2], arguments[2] // 2, *arguments[3:])
        if how in ("kill", "torn"):
            os.kill(os.getpid(), signal.SIGKILL)
        ctypes.set_errno(errno.ENOSPC if how == "full" else errno.EIO)
        return -1

    return call
