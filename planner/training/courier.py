"""What workers of a cluster need of the driver's disk where they do not see it: the dataset, and the runs they write.

The dataset's files go through Ray's object store into a cache of the node, keyed by what they hold. A run's directory
is mirrored: what is there at the start comes from the driver's disk, what a training writes goes back to it.
"""

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.nodes import is_embedded, nonce_in
from planner.dataset.storage import MANIFEST, Dataset, load_dataset
from planner.errors import PathError
from planner.places import Mirror, Place, cached, fetched, mirror_of, place_of, recorded
from planner.remote_directory import UPLOADING
from planner.runs.checkpoint import LESSONS

RAY = "ray"
"""In the directory of a run: Ray's own files."""


@dataclass(frozen=True)
class Courier:
    """Goes to every worker; see :func:`courier`."""

    dataset: str
    """Its place, as the driver sees it."""
    key: str | None
    """Of what the dataset holds."""
    files: Mapping[str, Any] = field(default_factory=dict)
    """Name of each of the dataset's files -> its reference in the object store; none where all see the dataset."""
    nonce: Path | None = None
    """A file by which a node shows that it sees the runs; None where all do."""
    disk: Any | None = None
    """The actor that reads and writes the driver's disk."""

    def open_dataset(self) -> Dataset:
        """The dataset, as this node has it."""
        place = place_of(self.dataset)
        if self.files and isinstance(place, Path) and _key(place) != self.key:
            place = cached(f"datasets/{self.key}/dataset", self._unpack)
        return load_dataset(place)

    @contextmanager
    def run_at(self, run: Path, *, writes: bool = True) -> Iterator[Mirror]:
        """The directory of a run to work in; only one worker of a run ``writes``."""
        if self.nonce is None or self.nonce.exists():
            if (run / UPLOADING).exists() and not (run / "run.json").exists():
                shutil.rmtree(run)  # all there is of it came from a node that died meanwhile
            yield Mirror(run, "run.json")
            return
        with mirror_of(_DriversDisk(self.disk, run), "run.json", without=(RAY, LESSONS), writes=writes) as mirror:
            yield mirror

    def _unpack(self, directory: Path) -> None:
        import ray

        for name, reference in self.files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(ray.get(reference))


@contextmanager
def courier(ray: Any, dataset: Place, runs: Path) -> Iterator[Courier]:
    """One for workers that train on ``dataset`` and write runs in the directory ``runs``, for the length of the block.

    In a Ray that this process has started there is one disk, and nothing to carry.
    """
    directory = fetched(dataset, MANIFEST)
    key = _key(directory)
    if is_embedded(ray):
        yield Courier(recorded(dataset), key)
        return
    files = {}
    if isinstance(dataset, Path):
        files = {name: ray.put((directory / name).read_bytes()) for name in _names(directory)}
    with nonce_in(runs) as nonce:
        yield Courier(recorded(dataset), key, files, nonce, _start_disk(ray) if nonce else None)


def _start_disk(ray: Any) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0)(_Disk).options(scheduling_strategy=here).remote()


class _Disk:
    """The actor on the driver's node."""

    def files(self, run: Path) -> dict[str, tuple[int, int]]:
        """Name of every file of a run -> size and time of its last change (ns)."""
        paths = [path for path in run.rglob("*") if path.is_file()] if run.exists() else []
        return {path.relative_to(run).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}

    def read(self, path: Path) -> bytes:
        """What a file holds."""
        return path.read_bytes()

    def write(self, path: Path, data: bytes) -> None:
        """Write a file in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(data)
        part.replace(path)

    def remove(self, paths: Sequence[Path]) -> None:
        """Remove files, and the directories that they leave empty."""
        for path in paths:
            path.unlink(missing_ok=True)
            if not any(path.parent.iterdir()):
                path.parent.rmdir()


class _DriversDisk:
    """A run's directory as a Remote, by way of the actor."""

    def __init__(self, disk: Any, run: Path) -> None:
        self._disk, self._run = disk, run
        self.name = run.name

    def files(self) -> Mapping[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = self._do(self._disk.files, self._run)
        return found

    def download(self, names: Iterable[str], target: Path) -> None:
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(self._do(self._disk.read, self._run / name))

    def upload(self, source: Path, names: Iterable[str]) -> None:
        for name in sorted(names):
            self.put(name, (source / name).read_bytes())

    def put(self, name: str, data: bytes) -> None:
        self._do(self._disk.write, self._run / name, data)

    def remove(self, names: Iterable[str]) -> None:
        self._do(self._disk.remove, [self._run / name for name in names])

    def _do(self, method: Any, *arguments: Any) -> Any:
        import ray

        try:
            return ray.get(method.remote(*arguments))
        except (ray.exceptions.RayError, OSError) as error:
            raise PathError(f"{self._run} on the driver's disk: {str(error).splitlines()[0]}") from None


def _key(dataset: Path) -> str | None:
    """Of what a dataset's directory holds: its manifest, with the hash of its examples, and the sizes of its files."""
    try:
        sizes = [(name, (dataset / name).stat().st_size) for name in _names(dataset)]
        return hashlib.sha256((dataset / MANIFEST).read_bytes() + repr(sizes).encode()).hexdigest()[:32]
    except OSError:
        return None


def _names(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
