"""Writing files and directories whole or not at all, whatever moment the process dies."""

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from planner.errors import PathError

_AT_FDCWD, _EXCHANGE = -100, 2
"""renameat2's names for "from the current directory" and for exchanging."""


@contextmanager
def staged_directory(out: Path, *, durable: bool = True) -> Iterator[Path]:
    """A directory to fill; when the block ends without an error it takes the place of ``out``, else it is removed.

    At every instant ``out`` is the old directory or the new one, whole, whenever the process or the machine dies; where
    the system cannot exchange two names, the old one may be left beside it under a hidden name. With
    ``durable`` false only the death of the process is borne.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    staging.chmod(0o777 & ~_umask())  # mkdtemp gives the owner alone access
    try:
        yield staging
        if durable:
            _sync_tree(staging)
        _put_in_place(staging, out)
        if durable:
            _sync(out.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _put_in_place(staging: Path, out: Path) -> None:
    """Afterwards ``out`` is what was staged, and ``staging`` what was there before, if anything was."""
    if not out.exists():
        staging.rename(out)
    elif not _exchange(staging, out):
        # Where the system cannot exchange two names: the old directory is set aside, not removed, until the new is in.
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        out.rename(aside)
        staging.rename(out)
        aside.rename(staging)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step (renameat2(2) of Linux); whether that could be done."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return rename(_AT_FDCWD, os.fsencode(one.absolute()), _AT_FDCWD, os.fsencode(other.absolute()), _EXCHANGE) == 0


def _sync_tree(directory: Path) -> None:
    for parent, _, names in os.walk(directory):
        for name in names:
            _sync(Path(parent) / name)
        _sync(Path(parent))


def _sync(path: Path) -> None:
    """Have a file or directory on disk; a file system that cannot do that is left alone."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_writable(path: Path) -> None:
    """PathError when nothing can be written at ``path``, which need not exist: ask before the work, not after it."""
    place = path.absolute()
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if place != path.absolute() and not place.is_dir():
        raise PathError(f"{path}: {place} is not a directory: choose another path")
    if not os.access(place, os.W_OK | (os.X_OK if place.is_dir() else 0)):
        raise PathError(f"{path}: {place} cannot be written to: choose another path, or change its rights")


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file ``path`` in one step."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).chmod(0o666 & ~_umask())
    Path(file.name).replace(path)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
