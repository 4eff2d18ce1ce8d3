"""The small dataset of the tune tests."""

from tests.tune.conftest import small_dataset

__all__ = ["small_dataset"]
