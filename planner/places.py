"""Places: what a command reads or writes, as a path of this machine or as the URI of a file system that pyarrow knows.

What lies at a URI is copied once into a cache of this machine, by what it holds. What goes to a URI is made on this
machine and then uploaded, its marker (dataset.json, metadata.json, run.json) last: who finds that finds all of it.
pyarrow is imported only when a URI is given.
"""

import contextlib
import fcntl
import hashlib
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from planner.errors import PathError
from planner.files import check_writable, staged_directory
from planner.remote_directory import UPLOADING, Remote, UriDirectory, states

Place: TypeAlias = Path | str
"""A path of this machine, or a URI as text."""

OR_URI = "|URI"
"""Ends the name of a command's argument that takes either."""
NO_URI = "places are paths of this machine: mount what it names, or copy it here, and give the path"
"""What is wrong with a URI where only a path will do."""
PUSH_EVERY_S = 10.0
"""How often a directory is mirrored while it grows, at most."""
_URI = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_READS = 3
"""How often a directory is read that changes meanwhile."""


def is_uri(text: str) -> bool:
    """Whether a text names the URI of something, and not a path."""
    return _URI.match(text) is not None


def place_of(text: str) -> Place:
    """What a command line, a project file or a run.json names."""
    return text if is_uri(text) else Path(text)


def recorded(place: Place) -> str:
    """A place as documents keep it, whatever the current directory; :func:`place_of` reads it again."""
    return place if isinstance(place, str) else str(place.resolve())


def within(place: Place, name: str) -> Place:
    """The file ``name`` in the directory ``place``; the options of a URI, after its ``?``, stay at its end."""
    if isinstance(place, Path):
        return place / name
    path, mark, options = place.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{options}"


def fetched(place: Place, marker: str, only: tuple[str, ...] = ("",), besides: tuple[str, ...] = ()) -> Path:
    """The directory at ``place`` on this machine: itself, or a whole copy of it in the cache, which nobody may change.

    ``only`` and ``besides`` are how the names of the files begin that are copied, and that are not. PathError when a
    URI cannot be read, or has no file ``marker``.
    """
    if isinstance(place, Path):
        return place
    remote = UriDirectory(place)
    for _ in range(_READS):
        files = remote.files(only, besides)
        if marker not in files:
            raise PathError(f"{place}: no {marker} there: name another place")

        def copy(target: Path, files: Mapping[str, tuple[int, int]] = files) -> None:
            remote.download(files, target)
            if remote.files(only, besides) != files:
                raise _ChangedError

        with contextlib.suppress(_ChangedError):
            return cached(f"places/{_key(files, remote.read(marker))}/{remote.name}", copy)
    raise PathError(f"{place}: changes while it is read, tried {_READS} times: try again when it has been written")


@contextmanager
def written(place: Place, marker: str) -> Iterator[Path]:
    """A path to write the directory at ``place`` to: itself, or one that is uploaded when the block has ended well.

    PathError, before the block, when nothing can be written there, or when there are other files there; after it, when
    the upload fails: it says where what was made is kept.
    """
    if isinstance(place, Path):
        check_writable(place)
        yield place
        return
    remote = UriDirectory(place)
    remote.require_room(marker)
    base = _new_directory()
    local = base / remote.name
    try:
        yield local
    except BaseException:
        shutil.rmtree(base)
        raise
    try:
        remote.replace(local, marker)
    except PathError as error:
        raise PathError(f"{error}; what was made is kept in {local}") from None
    shutil.rmtree(base)


def write_file(place: Place, data: bytes) -> None:
    """Write one file; PathError when a URI cannot be written."""
    if isinstance(place, Path):
        place.write_bytes(data)
        return
    remote = UriDirectory(place)
    remote.put("", data)


class Mirror:
    """A directory that grows elsewhere for hours: on this machine as ``path``, kept up with by :meth:`push`."""

    def __init__(self, path: Path, marker: str, remote: Remote | None = None, without: Collection[str] = ()) -> None:
        """Without a ``remote``, ``path`` is all there is."""
        self.path = path
        self._marker, self._without = marker, without
        self._remote = remote
        self._pushed: dict[str, tuple[int, int]] = {}
        """Name -> size and time (ns) of what was uploaded."""
        self._pushed_s = -math.inf

    def push_when_due(self) -> None:
        """:meth:`push`, at most every PUSH_EVERY_S; what fails now is tried again by the next."""
        if time.monotonic() - self._pushed_s >= PUSH_EVERY_S:
            self._pushed_s = time.monotonic()
            with contextlib.suppress(PathError):
                self.push()

    def pushing_after(self, report: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
        """``report``, and then :meth:`push_when_due`."""

        def both(metrics: dict[str, Any]) -> None:
            report(metrics)
            self.push_when_due()

        return both

    def push(self) -> None:
        """Upload what is new, the marker last. Nothing without a remote.

        The directory may change meanwhile: then what lies at the URI stays as the marker there says.
        """
        if self._remote is None:
            return
        try:
            marked = (self.path / self._marker).read_bytes()
        except FileNotFoundError:
            return
        there = states(self.path)
        found = {name: there[name] for name in self._of_ours(there)}
        new = [name for name, state in found.items() if name != self._marker and self._pushed.get(name) != state]
        if not self._pushed:
            self._remote.put(UPLOADING, b"")  # removed below with all that is not here
        try:
            self._remote.upload(self.path, new)
        except FileNotFoundError:
            return
        if (self.path / self._marker).read_bytes() != marked:
            return
        self._remote.put(self._marker, marked)
        self._remote.remove(self._of_ours(self._remote.files()) - found.keys())
        self._pushed = found

    def _of_ours(self, names: Iterable[str]) -> set[str]:
        return {name for name in names if name.split("/")[0] not in self._without}


@contextmanager
def mirrored(
    place: Place, marker: str, *, existing: bool | None = None, without: Collection[str] = ()
) -> Iterator[Mirror]:
    """The directory at ``place`` to work in. What a URI held is there first; what changed is uploaded at the end,
    whatever ended the block.

    ``existing``: whether there may be (None) or must be (True) something at a URI; PathError when there is what must
    not be. ``without``: names in it that stay on this machine.
    """
    if isinstance(place, Path):
        yield Mirror(place, marker)
        return
    remote = UriDirectory(place)
    remote.require_room(marker)
    files = remote.files()
    if existing is False and marker in files:
        raise PathError(f"{place} has a {marker} already: --fresh starts anew, another place leaves it alone")
    if existing and marker not in files:
        raise PathError(f"{place}: no {marker} there: name a directory that a command of the planner has written")
    with mirror_of(remote, marker, without=without) as mirror:
        yield mirror


@contextmanager
def mirror_of(remote: Remote, marker: str, *, without: Collection[str] = (), writes: bool = True) -> Iterator[Mirror]:
    """A directory to work in that mirrors a remote one, see :func:`mirrored`; without ``writes`` nothing goes there."""
    base = _new_directory()
    files = remote.files()
    mirror = Mirror(base / remote.name, marker, remote if writes else None, without)
    if marker in files:
        remote.download([name for name in files if name.split("/")[0] not in without], mirror.path)
        mirror._pushed = states(mirror.path)
    try:
        yield mirror
    finally:
        try:
            mirror.push()
        except PathError as error:
            raise PathError(f"{error}; what was made is kept in {mirror.path}") from None
        shutil.rmtree(base)


def cache_directory() -> Path:
    """Where copies of what lies at URIs are: PLANNER_CACHE, else cyntra-planner in the user's cache; safe to delete."""
    chosen = os.environ.get("PLANNER_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cyntra-planner"


BUILDS = "builds"
"""Where in the cache builds of datasets keep what the next ones need not make again."""


def build_cache(repo: Place, *settings: str) -> Path | None:
    """A directory in the cache for the builds of one repo with the same settings; None where none can be made."""
    key = hashlib.sha256(repr((recorded(repo), *settings)).encode("utf-8", "backslashreplace")).hexdigest()[:32]
    path = cache_directory() / BUILDS / key
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return path if os.access(path, os.W_OK) else None


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The directory ``name`` in the cache, which nobody may change; ``make`` fills it where it is not there yet.

    It is there whole or not at all, and made once by all processes of this machine that ask for it.
    """
    place = cache_directory() / name
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            with staged_directory(place, durable=False) as staging:
                make(staging)
    return place


class _ChangedError(Exception):
    """A directory was written to while it was read."""


def _key(files: Mapping[str, tuple[int, int]], marker: bytes) -> str:
    return hashlib.sha256(marker + repr(sorted(files.items())).encode()).hexdigest()[:32]


def _new_directory() -> Path:
    base = cache_directory() / "made"
    base.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=base))
