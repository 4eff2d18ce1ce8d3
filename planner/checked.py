"""What a command is pointed at, looked at before anything large is imported: a wrong word is answered at once."""

from collections.abc import Iterable
from pathlib import Path

from planner.errors import ArtifactError, BenchError, CheckpointError, DatasetError, PathError, UsageError
from planner.files import check_writable
from planner.places import Place


def dataset_at(place: Place) -> Place:
    """A dataset's directory; DatasetError for a path without one. What lies at a URI is looked at later."""
    if isinstance(place, Path) and not (place / "dataset.json").is_file():
        raise DatasetError(f"{place}: no dataset.json; build one with `planner dataset build`")
    return place


def run_at(place: Place) -> Place:
    """A trained run's directory, or a checkpoint in one; CheckpointError for another path."""
    if isinstance(place, Path) and not any((place / name).is_file() for name in ("run.json", "policy.json")):
        raise CheckpointError(f"{place}: no run.json, so this is not a training run; start one with `planner train`")
    return place


def ledger_at(path: Path) -> Path:
    """A bench's ledger; BenchError where there is none."""
    if not path.is_file():
        raise BenchError(f"{path}: no ledger; make one with `planner bench`")
    return path


def repo_at(root: Path, kernel_dir: Path | None = None) -> Path:
    """The root of a repo in which Cyntra has run; ArtifactError for another path."""
    if not (kernel_dir or root / ".cyntra").is_dir():
        raise ArtifactError(f"{root.resolve()}: no .cyntra directory; give the root of a repo in which Cyntra has run")
    return root


def bundle_at(place: Place) -> Place:
    """A bundle's directory; UsageError for a path without one."""
    if isinstance(place, Path) and not (place / "metadata.json").is_file():
        raise UsageError(f"{place}: no metadata.json, so this is not a bundle; write one with `planner export`")
    return place


def room_at(place: Place) -> Place:
    """A directory to write to; PathError where nothing can be written."""
    if isinstance(place, Path):
        check_writable(place)
        if place.exists() and not place.is_dir():
            raise PathError(f"{place}: is a file, and a directory is to be written there: choose another path")
    return place


def one_of(option: str, chosen: Iterable[str], known: Iterable[str]) -> None:
    """UsageError for words of an option that are none of those it has."""
    have = list(known)
    if unknown := sorted(set(chosen) - set(have)):
        raise UsageError(f"{option} {', '.join(unknown)}: not here; choose from {', '.join(have)}, or all")
