"""Places: what a command reads or writes, as a path of this machine or as the URI of a file system that pyarrow knows.

What lies at a URI is copied once into a cache of this machine, by what it holds. What goes to a URI is made on this
machine and then uploaded, its marker (dataset.json, metadata.json, run.json) last: who finds that finds all of it.
pyarrow is imported only when a URI is given.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from planner.errors import PathError
from planner.files import check_writable, staged_directory

Place: TypeAlias = Path | str
"""A path of this machine, or a URI as text."""

OR_URI = "|URI"
"""Ends the name of a command's argument that takes either."""
NO_URI = "places are paths of this machine: mount what it names, or copy it here, and give the path"
"""What is wrong with a URI where only a path will do."""
PUSH_EVERY_S = 10.0
"""How often a directory is mirrored while it grows, at most."""
_URI = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_UPLOADING = ".uploading"
"""Lies at a URI while something is uploaded there: by it an upload that died is told from somebody else's files."""
_WITHOUT_DIRECTORIES = ("s3", "gcs", "abfs")
"""File systems in which a name makes its directories."""
_AT_ONCE = 8
"""Files copied at the same time."""
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


def fetched(place: Place, marker: str) -> Path:
    """The directory at ``place`` on this machine: itself, or a whole copy of it in the cache, which nobody may change.

    PathError when a URI cannot be read, or has no file ``marker``.
    """
    if isinstance(place, Path):
        return place
    remote = _Remote(place)
    for _ in range(_READS):
        files = remote.files()
        if marker not in files:
            raise PathError(f"{place}: no {marker} there: name a directory that a command of the planner has written")

        def copy(target: Path, files: Mapping[str, tuple[int, int]] = files) -> None:
            remote.download(files, target)
            if remote.files() != files:
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
    remote = _Remote(place)
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
    remote = _Remote(place)
    remote.put("", data)


class Mirror:
    """A directory that grows at ``place`` for hours: on this machine as ``path``, kept up with by :meth:`push`."""

    def __init__(self, place: Place, path: Path, marker: str, without: Collection[str] = ()) -> None:
        self.path = path
        self._marker, self._without = marker, without
        self._remote = None if isinstance(place, Path) else _Remote(place)
        self._pushed: dict[str, tuple[int, int]] = {}
        """Name -> size and time (ns) of what was uploaded."""
        self._pushed_s = time.monotonic()

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
        """Upload what is new, the marker last. Nothing for a path.

        The directory may change meanwhile: then what lies at the URI stays as the marker there says.
        """
        if self._remote is None:
            return
        try:
            marked = (self.path / self._marker).read_bytes()
        except FileNotFoundError:
            return
        found = {name: state for name, state in _states(self.path).items() if name.split("/")[0] not in self._without}
        new = [name for name, state in found.items() if name != self._marker and self._pushed.get(name) != state]
        if not self._pushed:
            self._remote.put(_UPLOADING, b"")  # removed below with all that is not here
        try:
            self._remote.upload(self.path, new)
        except FileNotFoundError:
            return
        if (self.path / self._marker).read_bytes() != marked:
            return
        self._remote.put(self._marker, marked)
        self._remote.remove(set(self._remote.files()) - set(found))
        self._pushed = found


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
        yield Mirror(place, place, marker)
        return
    remote = _Remote(place)
    remote.require_room(marker)
    files = remote.files()
    if existing is False and marker in files:
        raise PathError(f"{place} has a {marker} already: pass --resume to go on, or another place")
    if existing and marker not in files:
        raise PathError(f"{place}: no {marker} there: name a directory that a command of the planner has written")
    base = _new_directory()
    mirror = Mirror(place, base / remote.name, marker, without)
    if marker in files:
        remote.download(files, mirror.path)
        mirror._pushed = _states(mirror.path)
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


class _Remote:
    """A directory or file at a URI; PathError for all that goes wrong there."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        where = uri.partition("?")[0].split("://", 1)[1]
        if "@" in where.split("/")[0]:
            raise PathError("a URI must not hold a name and a password: put them into the environment")
        self.name = PurePosixPath(where).name or "place"
        with self._troubles():
            from pyarrow.fs import FileSystem

            self._files, path = FileSystem.from_uri(uri)
        self._path = path.rstrip("/")

    def files(self) -> dict[str, tuple[int, int]]:
        """Name of every file below, relative -> size and time of its last change (ns)."""
        from pyarrow.fs import FileSelector, FileType

        with self._troubles():
            found = self._files.get_file_info(FileSelector(self._path, recursive=True, allow_not_found=True))
        names = {info.path.removeprefix(f"{self._path}/"): info for info in found if info.type == FileType.File}
        if strange := [name for name in names if not {"", ".", ".."}.isdisjoint(name.split("/"))]:
            raise PathError(f"{self._uri}: {strange[0]!r} is no name for a file: name another directory")
        return {name: (info.size, info.mtime_ns or 0) for name, info in names.items()}

    def require_room(self, marker: str) -> None:
        """PathError when nothing can be written here, or when there are files of another kind."""
        with self._troubles():
            self._files.create_dir(self._path, recursive=True)
        files = self.files()
        if files and not {marker, _UPLOADING} & files.keys():
            raise PathError(
                f"{self._uri} holds other files ({', '.join(sorted(files)[:3])}) and no {marker}: name an empty place"
            )

    def read(self, name: str) -> bytes:
        """What a file holds."""
        with self._troubles(), self._files.open_input_stream(f"{self._path}/{name}") as stream:
            return bytes(stream.read())

    def download(self, names: Iterable[str], target: Path) -> None:
        """Copy files to the directory ``target``."""

        def copy(name: str) -> None:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            with self._files.open_input_stream(f"{self._path}/{name}") as source, (target / name).open("wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)

        self._each(copy, names)

    def upload(self, source: Path, names: Iterable[str]) -> None:
        """Copy files of the directory ``source`` here; FileNotFoundError for one that has gone meanwhile."""

        def copy(name: str) -> None:
            with (source / name).open("rb") as file, self._sink(f"{self._path}/{name}") as sink:
                shutil.copyfileobj(file, sink, 1 << 20)

        gone = [name for name in names if not (source / name).exists()]
        if gone:
            raise FileNotFoundError(gone[0])
        self._each(copy, names)

    def replace(self, source: Path, marker: str) -> None:
        """Put the directory ``source`` here, in the place of what is here; meanwhile there is no marker."""
        names = _states(source)
        self.put(_UPLOADING, b"")
        self.remove([marker] if marker in self.files() else [])
        self.upload(source, names.keys() - {marker})
        self.put(marker, (source / marker).read_bytes())
        self.remove(self.files().keys() - names.keys())

    def put(self, name: str, data: bytes) -> None:
        """Write a file in one step; of the name "" the place itself."""
        path = f"{self._path}/{name}" if name else self._path
        directory, _, last = path.rpartition("/")
        part = f"{directory}/.{last}.part"
        with self._troubles():
            with self._sink(part) as sink:
                sink.write(data)
            self._files.move(part, path)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files."""
        self._each(lambda name: self._files.delete_file(f"{self._path}/{name}"), names)

    def _sink(self, path: str) -> Any:
        if self._files.type_name not in _WITHOUT_DIRECTORIES:
            self._files.create_dir(path.rpartition("/")[0], recursive=True)
        return self._files.open_output_stream(path)

    def _each(self, work: Any, names: Iterable[str]) -> None:
        with self._troubles(), ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(work, sorted(names)))

    @contextmanager
    def _troubles(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, NotImplementedError) as error:  # all that pyarrow raises
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise PathError(f"{self._uri}: {said}") from None


def _states(directory: Path) -> dict[str, tuple[int, int]]:
    """Name of every file below, relative -> size and time of its last change (ns)."""
    found = {}
    for parent, _, names in os.walk(directory):
        for name in names:
            path = Path(parent) / name
            with contextlib.suppress(FileNotFoundError):
                state = path.stat()
                found[path.relative_to(directory).as_posix()] = (state.st_size, state.st_mtime_ns)
    return found


def _key(files: Mapping[str, tuple[int, int]], marker: bytes) -> str:
    return hashlib.sha256(marker + repr(sorted(files.items())).encode()).hexdigest()[:32]


def _new_directory() -> Path:
    base = cache_directory() / "made"
    base.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=base))
