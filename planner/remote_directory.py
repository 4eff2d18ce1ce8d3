"""Directories that are not on this machine's disk: the one role, and those at URIs of file systems that pyarrow knows.

pyarrow is imported only when a URI is given.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from planner.errors import PathError

UPLOADING = ".uploading"
"""Lies at a URI while something is uploaded there: by it an upload that died is told from somebody else's files."""
_WITHOUT_DIRECTORIES = ("s3", "gcs", "abfs")
"""File systems in which a name makes its directories."""
_AT_ONCE = 8
"""Files copied at the same time."""


class Remote(Protocol):
    """A directory that is not on this machine, or not on its disk. PathError for all that goes wrong there."""

    name: str

    def files(self) -> Mapping[str, tuple[int, int]]:
        """Name of every file below, relative -> size and time of its last change (ns)."""
        ...

    def download(self, names: Iterable[str], target: Path) -> None:
        """Copy files to the directory ``target``."""
        ...

    def upload(self, source: Path, names: Iterable[str]) -> None:
        """Copy files of the directory ``source`` here; FileNotFoundError for one that has gone meanwhile."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Write a file in one step."""
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Remove files."""
        ...


class UriDirectory:
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

    def files(self, only: tuple[str, ...] = ("",), besides: tuple[str, ...] = ()) -> dict[str, tuple[int, int]]:
        """Name of every file below, relative -> size and time of its last change (ns); see :func:`fetched`."""
        from pyarrow.fs import FileSelector, FileType

        with self._troubles():
            found = self._files.get_file_info(FileSelector(self._path, recursive=True, allow_not_found=True))
        names = {info.path.removeprefix(f"{self._path}/"): info for info in found if info.type == FileType.File}
        if strange := [name for name in names if not {"", ".", ".."}.isdisjoint(name.split("/"))]:
            raise PathError(f"{self._uri}: {strange[0]!r} is no name for a file: name another directory")
        return {
            name: (info.size, info.mtime_ns or 0)
            for name, info in names.items()
            if name.startswith(only) and not name.startswith(besides)
        }

    def require_room(self, marker: str) -> None:
        """PathError when nothing can be written here, or when there are files of another kind."""
        with self._troubles():
            self._files.create_dir(self._path, recursive=True)
        files = self.files()
        if files and not {marker, UPLOADING} & files.keys():
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
        names = states(source)
        self.put(UPLOADING, b"")
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


def states(directory: Path) -> dict[str, tuple[int, int]]:
    """Name of every file below, relative -> size and time of its last change (ns)."""
    found = {}
    for parent, _, names in os.walk(directory):
        for name in names:
            path = Path(parent) / name
            with contextlib.suppress(FileNotFoundError):
                state = path.stat()
                found[path.relative_to(directory).as_posix()] = (state.st_size, state.st_mtime_ns)
    return found
