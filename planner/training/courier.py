"""What workers of a cluster need of the driver's disk where they do not see it: the dataset, the weights that a run
begins from, and the runs they write.

Files that nobody changes go through Ray's object store into a cache of the node, keyed by what they hold. A run's
directory is mirrored: what is there at the start comes from the driver's disk, what a training writes goes back to it.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.nodes import is_embedded, nonce_in
from planner.dataset.storage import MANIFEST, Dataset, load_dataset
from planner.places import Mirror, Place, cached, mirror_of, place_of, recorded
from planner.remote_directory import UPLOADING
from planner.runs.checkpoint import LESSONS, WEIGHTS
from planner.training.drivers_disk import DriversDisk, start_disk

RAY = "ray"
"""In the directory of a run: Ray's own files."""


@dataclass(frozen=True)
class Parcel:
    """A directory that every node can have: as it lies there, or out of the object store."""

    place: str
    """As the driver sees it."""
    files: Mapping[str, Any] = field(default_factory=dict)
    """Name of each file -> its reference in the object store; none where all see the place."""
    name: str = ""
    """What it is called in caches, by what it holds."""
    name_of: Callable[[Path], str | None] | None = None
    """What any directory would be called; None for one that cannot be read."""

    def here(self) -> Place:
        """Where this node has it."""
        place = place_of(self.place)
        if self.name_of is None or not isinstance(place, Path) or self.name_of(place) == self.name:
            return place
        return cached(self.name, self._unpack)

    def _unpack(self, directory: Path) -> None:
        import ray

        for name, reference in self.files.items():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(ray.get(reference))


@dataclass(frozen=True)
class Courier:
    """Goes to every worker; see :func:`courier`."""

    dataset: Parcel
    weights: Parcel | None = None
    """The checkpoint that a run begins from."""
    nonce: Path | None = None
    """A file by which a node shows that it sees the runs; None where all do."""
    disk: Any | None = None
    """The actor that reads and writes the driver's disk."""

    def open_dataset(self) -> Dataset:
        """The dataset, as this node has it."""
        return load_dataset(self.dataset.here())

    def open_weights(self) -> Path | None:
        """The checkpoint that a run begins from, as this node has it."""
        return None if self.weights is None else Path(self.weights.here())

    @contextmanager
    def run_at(self, run: Path, *, writes: bool = True) -> Iterator[Mirror]:
        """The directory of a run to work in; only one worker of a run ``writes``."""
        if self.nonce is None or self.nonce.exists():
            if (run / UPLOADING).exists() and not (run / "run.json").exists():
                shutil.rmtree(run)  # all there is of it came from a node that died meanwhile
            yield Mirror(run, "run.json")
            return
        with mirror_of(DriversDisk(self.disk, run), "run.json", without=(RAY, LESSONS), writes=writes) as mirror:
            yield mirror


@contextmanager
def courier(ray: Any, dataset: Place, runs: Path, weights: Path | None = None) -> Iterator[Courier]:
    """One for workers that train on ``dataset`` and write runs in the directory ``runs``, for the length of the block.

    ``weights`` is the checkpoint that they begin from. In a Ray that this process has started there is one disk, and
    nothing to carry.
    """
    if is_embedded(ray):
        yield Courier(Parcel(recorded(dataset)), Parcel(str(weights)) if weights else None)
        return
    data = Parcel(recorded(dataset))
    if isinstance(dataset, Path):
        data = _packed(ray, dataset, _names(dataset), _dataset_name)
    initial = _packed(ray, weights, WEIGHTS, _weights_name) if weights else None
    with nonce_in(runs) as nonce:
        yield Courier(data, initial, nonce, start_disk(ray) if nonce else None)


def _packed(ray: Any, place: Path, names: Iterable[str], name_of: Callable[[Path], str | None]) -> Parcel:
    name = name_of(place)
    if name is None:
        return Parcel(recorded(place))
    return Parcel(recorded(place), {file: ray.put((place / file).read_bytes()) for file in names}, name, name_of)


def _dataset_name(directory: Path) -> str | None:
    """By its manifest, with the hash of its examples, and the sizes of its files."""
    try:
        sizes = [(name, (directory / name).stat().st_size) for name in _names(directory)]
        key = hashlib.sha256((directory / MANIFEST).read_bytes() + repr(sizes).encode()).hexdigest()[:32]
    except OSError:
        return None
    return f"datasets/{key}/dataset"


def _weights_name(checkpoint: Path) -> str | None:
    """By every byte: those of two trainings differ in nothing else."""
    try:
        found = [hashlib.sha256((checkpoint / name).read_bytes()).digest() for name in WEIGHTS]
    except OSError:
        return None
    return f"weights/{hashlib.sha256(b''.join(found)).hexdigest()[:32]}/checkpoint"


def _names(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
