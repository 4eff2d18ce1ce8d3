"""What a build has made on its way, kept on disk by a digest of all that it follows from; deleting it loses only time.

A value is one file: its pickle, and the buffers of its arrays beside it (PEP 574), so that a loaded array is a view of
the file. Pickles are as trusted as this program's own files: the directory is the user's, never one of a repo.
"""

import contextlib
import hashlib
import os
import pickle
import struct
import tempfile
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from planner.dimensions import DIMENSIONS
from planner.errors import PathError
from planner.provenance import tool_versions

FORGOTTEN_AFTER_S = 3600
"""How long a value is left alone that this build does not need: another may."""
_ALIGNED = 64
"""Where buffers begin: numpy is slower on arrays that lie across its words."""


def packed(value: Any) -> list[Any]:
    """A value as its pickle and the buffers of its arrays, none of them copied."""
    buffers: list[pickle.PickleBuffer] = []
    stream = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return [stream, *(buffer.raw() for buffer in buffers)]


def unpacked(parts: Sequence[Any]) -> Any:
    """The value of :func:`packed`; its arrays are views of the parts."""
    return pickle.loads(parts[0], buffers=parts[1:])


def digest_of(*parts: bytes) -> str:
    """A key: SHA-256 of this program and of the parts, each with its length."""
    digest = hashlib.sha256(_program())
    for part in parts:
        digest.update(struct.pack("<Q", len(part)))
        digest.update(part)
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _program() -> bytes:
    """The digest of the planner's source and of what it runs on: another program makes other values."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256(repr((sorted(tool_versions().items()), DIMENSIONS)).encode())
    for path in sorted(package.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


class Kept:
    """The values in a directory, by their keys."""

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        """With ``durable`` false only the death of the process is borne, not that of the machine."""
        self._directory = directory
        self._durable = durable
        self._used: set[str] = set()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def load(self, key: str) -> Any:
        """The value, its arrays mapped from the file; None where there is none, or what is there is damaged."""
        try:
            # Python's own mmap keeps the file open, and a process may have few files open.
            with pa.memory_map(str(self._directory / key)) as file:
                whole = memoryview(file.read_buffer())
            (count,) = struct.unpack_from("<Q", whole)
            bounds = struct.unpack_from(f"<{2 * count}Q", whole, 8)
            parts = [whole[start:end] for start, end in zip(bounds[::2], bounds[1::2], strict=True)]
            value = unpacked(parts)
        except Exception:  # a damaged pickle may raise anything
            return None
        self._used.add(key)
        return value

    def keep(self, key: str | None, parts: Sequence[Any]) -> Any:
        """The value of :func:`packed`, kept under its key if it has one: then its arrays are mapped from the file."""
        if key is None:
            return unpacked(parts)
        self.store(key, parts)
        return self.load(key)

    def store(self, key: str, parts: Sequence[Any]) -> None:
        """Keep what :func:`packed` gave, whole or not at all; PathError where the disk does not take it."""
        start = 8 + 16 * len(parts)
        bounds = []
        for part in parts:
            start += -start % _ALIGNED
            bounds += [start, start + len(part)]
            start += len(part)
        self._used.add(key)
        unfinished = None
        try:
            with tempfile.NamedTemporaryFile(dir=self._directory, delete=False) as file:
                unfinished = Path(file.name)
                file.write(struct.pack(f"<{1 + len(bounds)}Q", len(parts), *bounds))
                for part, begin in zip(parts, bounds[::2], strict=True):
                    file.write(bytes(begin - file.tell()))
                    file.write(part)
                if self._durable:
                    file.flush()
                    os.fsync(file.fileno())
            unfinished.replace(self._directory / key)
        except OSError as error:
            if unfinished is not None:
                unfinished.unlink(missing_ok=True)
            raise PathError(
                f"{self._directory}: cannot be written to ({error.strerror}): make space, or set PLANNER_CACHE to "
                "another directory"
            ) from None

    def forget_others(self) -> None:
        """Delete what this build has neither loaded nor stored: what is of an earlier state of the repo or program.

        What is new is left alone: another build may be about to load it.
        """
        newest_s = time.time() - FORGOTTEN_AFTER_S
        for path in self._directory.iterdir():
            with contextlib.suppress(OSError):
                if path.name not in self._used and path.stat().st_mtime < newest_s:
                    path.unlink()
