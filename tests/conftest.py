"""Fixtures for all tests."""

import os
import shutil
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Started in the background of a script, a process ignores Ctrl-C, and so would every command that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# One thread per process for linear algebra: those of two workers on two cores spin while they wait for each other.
for library in ("OPENBLAS", "OMP"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
# How long an example takes tells how busy the machine is.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

FIXTURES = Path(__file__).parent / "fixtures"
CORPUS = FIXTURES / "corpus"
LONGEST = ("test_command_lines.py", "test_quickstart.py")
"""Files that take minutes; they begin first, so that both workers end at about the same time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; the others in their order."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What commands and workers cache does not go to the user's own cache."""
    os.environ.setdefault("PLANNER_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """One small Ray for the whole session; yields the ray module."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100_000_000,
        log_to_driver=False,
        logging_level="warning",
    )
    yield ray
    ray.shutdown()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A writable copy of the excerpt of real kernel output (see tests/fixtures/README.md)."""
    return copy_corpus(tmp_path / "corpus")


@pytest.fixture
def first_runs(tmp_path: Path) -> Path:
    """A repo with the first 48 runs of the real kernel, whose histories are whole (see tests/fixtures/README.md)."""
    with tarfile.open(FIXTURES / "first-runs.tar.gz") as archive:
        archive.extractall(tmp_path / "repo", filter="data")
    return tmp_path / "repo"


@pytest.fixture(scope="session")
def corpus_dataset(ray_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset built from the excerpt. Tests must not change it."""
    from planner.dataset.build import build_dataset

    directory = tmp_path_factory.mktemp("corpus")
    build_dataset(copy_corpus(directory / "repo"), directory / "dataset")
    return directory / "dataset"


@pytest.fixture(scope="session")
def kernel_dataset(ray_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in the kernel's token profile. Tests must not change it."""
    from planner.dataset.build import build_dataset

    directory = tmp_path_factory.mktemp("kernel-corpus")
    build_dataset(copy_corpus(directory / "repo"), directory / "dataset", profile="kernel")
    return directory / "dataset"


def copy_corpus(target: Path) -> Path:
    """Copy the excerpt to ``target``, with the empty archive that git cannot keep."""
    shutil.copytree(CORPUS, target, copy_function=shutil.copyfile)
    (target / ".cyntra" / "archives" / "wc-99-20260101T000000Z").mkdir()
    return target
