"""Fixtures of the planner's tests."""

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def synthetic(ray_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A repo of 240 generated archives, a quarter of them without a recorded context; and its dataset."""
    # Not above: this folder's tests of the readers run without torch and Ray too.
    from benchmarks.archives import write_repo
    from planner.dataset.build import build_dataset

    directory = tmp_path_factory.mktemp("synthetic")
    write_repo(directory / "repo", 240, seed=3)
    build_dataset(directory / "repo", directory / "dataset")
    return directory / "repo", directory / "dataset"


@pytest.fixture(scope="session")
def trained(synthetic: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one worker on the synthetic dataset. Tests must not change it."""
    from planner.training.loop import train
    from tests.planner.small_runs import begin

    run = begin(tmp_path_factory.mktemp("runs") / "run", synthetic[1])
    assert train(run).finished
    return run
