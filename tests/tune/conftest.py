"""A dataset of real kernel artifacts, small enough to train on in a second."""

from pathlib import Path
from typing import Any

import pytest

from planner.dataset.build import build_dataset

CORPUS = Path(__file__).parents[1] / "fixtures" / "corpus"


@pytest.fixture(scope="session")
def small_dataset(ray_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 examples, 3 of them in validation."""
    path = tmp_path_factory.mktemp("tune") / "dataset"
    build_dataset(CORPUS, path)
    return path
