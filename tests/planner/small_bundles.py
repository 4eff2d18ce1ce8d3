"""What the tests of bundles share: the settings of a small model, and a context that a bundle can read."""

from pathlib import Path
from typing import Any

from planner.bundle import Bundle
from planner.context import signed
from planner.dataset.storage import load_dataset

SMALL = ("model.d_model=32", "model.layers=1", "model.loops=2", "model.backprop_loops=1")


def context_for(bundle: Path, dataset: Path) -> dict[str, Any]:
    """A context of the dataset, with similar runs, as the builder that the bundle learned from makes it."""
    found = next(
        c
        for c in load_dataset(dataset).splits["train"].contexts()
        if c["job_type"] == "code" and c["universe_defaults"]["swarm_id"] and c["history"]["last_n_similar_runs"]
    )
    return {**found, "issue": signed(found["issue"], Bundle(bundle).context_builder or "planner")}
