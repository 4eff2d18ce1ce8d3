"""What an earlier command left at a place: whether this one goes on with it, and how ``--fresh`` takes it away."""

import fcntl
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from planner.errors import CheckpointError

ANEW = "--fresh starts anew, another --out leaves it alone"
"""What to do about work that was begun with other settings."""


def differences(there: Mapping[str, Any], now: Mapping[str, Any], within: str = "") -> list[str]:
    """Each setting that differs, as ``lr is 0.001 there, 0.5 now``; those of nested mappings by their dotted names."""
    found = []
    for key in dict.fromkeys([*there, *now]):
        old, new, name = there.get(key), now.get(key), f"{within}{key}"
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{name}.")
        elif old != new:
            found.append(f"{name} is {_short(old)} there, {_short(new)} now")
    return found


def remove(directory: Path, names: Iterable[str]) -> None:
    """Remove these entries of a directory, and nothing else that lies there."""
    for name in names:
        path = directory / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def held(lock: Path, busy: str) -> Iterator[None]:
    """Hold the file ``lock``, which the system releases however this process ends; CheckpointError(busy) if another
    process has it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CheckpointError(busy) from None
        yield


def is_held(lock: Path) -> bool:
    """Whether a living process holds the file."""
    if not lock.exists():
        return False
    try:
        with held(lock, ""):
            return False
    except (CheckpointError, OSError):
        return True


def _short(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
