"""A dataset on disk: dataset.json, and per split a Parquet table of examples beside memory-mapped training arrays.

DIR/dataset.json
DIR/{train,val,test}/examples.parquet   contexts, labels, outcomes: for people, evaluation and the bench
DIR/{train,val,test}/*.npy              what training reads: see Split
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from planner.actions import HEADS, Action, ActionSpace
from planner.contracts.dataset import DatasetInfo
from planner.contracts.document import read_document
from planner.contracts.versions import DATASET
from planner.dataset.outcomes import LATER_FIELDS, OUTCOME_FIELDS, STORED_AS, Outcomes, outcomes_of
from planner.dataset.split import SPLITS
from planner.dimensions import DIMENSIONS
from planner.encoding.inputs import Inputs
from planner.errors import DatasetError
from planner.places import Place, fetched

ARRAYS = ("tokens", "segments", "context_features", "run_features", "labels", "masks", "passed", "duration_ms", "seen")
CONFIDENCE = "label_confidence"
ROW_GROUP = 4096
"""Rows of one row group of the Parquet table."""
MANIFEST = "dataset.json"


@dataclass(frozen=True)
class Split:
    """One split's arrays, memory-mapped. n examples, N stored similar runs, H = summed widths of the four heads.

    tokens (t,) int32; segments (n, N + 2) int64, boundaries in tokens; context_features (n, F) float32;
    run_features (n, N, R) float32; labels (n, 4) int64, positions in the heads; masks (n, H) bool, the values an
    example's own action space and job type admit; passed (n,) bool; duration_ms (n,) int64; seen (n,) bool, whether
    train holds the same issue; label_confidence (n,) float32, how sure it is that no other executed action passes more
    often, 1 for executed plans; outcomes of every executed action, the labels' included.
    """

    directory: Path
    tokens: NDArray[np.int32]
    segments: NDArray[np.int64]
    context_features: NDArray[np.float32]
    run_features: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_]
    passed: NDArray[np.bool_]
    duration_ms: NDArray[np.int64]
    seen: NDArray[np.bool_]
    label_confidence: NDArray[np.float32]
    outcomes: Outcomes

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def table(self) -> dict[str, list[Any]]:
        """The Parquet table's columns except the contexts, in the order of the arrays; LATER_COLUMNS may be missing."""
        file = pq.ParquetFile(self.directory / "examples.parquet")
        columns = [name for name in file.schema_arrow.names if name != "context"]
        return {**dict.fromkeys(LATER_COLUMNS, [None] * len(self)), **file.read(columns).to_pydict()}

    def contexts(self) -> list[dict[str, Any]]:
        """The planner_input.v1 of every example."""
        column = pq.read_table(self.directory / "examples.parquet", columns=["context"]).column("context")
        return [orjson.loads(text) for text in column.to_pylist()]


@dataclass(frozen=True)
class Dataset:
    """An opened dataset."""

    path: Path
    info: DatasetInfo
    splits: dict[str, Split]

    @cached_property
    def space(self) -> ActionSpace:
        """The action space of all its examples."""
        return ActionSpace.from_document(self.info.action_space.model_dump(), str(self.path / MANIFEST))


EXAMPLE_SCHEMA = pa.schema(
    [
        ("example_id", pa.string()),
        ("decided_ms", pa.int64()),
        ("issue_id", pa.string()),
        ("job_type", pa.string()),
        ("domain", pa.string()),
        *((head, pa.string()) for head in HEADS),
        ("status", pa.string()),
        ("duration_ms", pa.int64()),
        ("cost_usd", pa.float64()),
        ("seen_issue", pa.bool_()),
        ("decided_by", pa.string()),
        ("context", pa.large_string()),
    ]
)
LATER_COLUMNS = ("decided_by",)
"""Columns that only some datasets have: what sets a winner apart, which is known of a bench's winners alone."""


def load_dataset(place: Place) -> Dataset:
    """Open the dataset at ``place``; DatasetError when something is missing or is not a dataset."""
    path = fetched(place, MANIFEST)
    manifest = path / MANIFEST
    if not manifest.exists():
        raise DatasetError(f"{path}: no {MANIFEST}; build one with `planner dataset build`")
    info = read_document(DatasetInfo, manifest, DATASET)
    splits = {}
    for name in SPLITS:
        directory = path / name
        try:
            arrays = {key: np.load(directory / f"{key}.npy", mmap_mode="r") for key in ARRAYS}
            arrays[CONFIDENCE] = _load_later(
                directory / f"{CONFIDENCE}.npy", np.ones(len(arrays["labels"]), np.float32)
            )
            outcomes = outcomes_of(_outcome_arrays(directory))
            if len({len(outcomes), *(len(array) for key, array in arrays.items() if key != "tokens")}) > 1:
                raise ValueError("its arrays differ in length")
            pq.read_schema(directory / "examples.parquet")
        except (OSError, ValueError, EOFError) as error:
            raise DatasetError(f"{directory}: incomplete dataset ({error}); build it again") from None
        splits[name] = Split(directory=directory, outcomes=outcomes, **arrays)
    return Dataset(path, info, splits)


def _outcome_arrays(directory: Path) -> dict[str, NDArray[Any]]:
    paths = {field: directory / f"outcome_{STORED_AS.get(field, field)}.npy" for field in OUTCOME_FIELDS}
    wanted = {field: path for field, path in paths.items() if field not in LATER_FIELDS or path.exists()}
    return {field: np.load(path, mmap_mode="r") for field, path in wanted.items()}


def _load_later(path: Path, otherwise: NDArray[Any]) -> NDArray[Any]:
    """An array that datasets of an earlier program lack."""
    return np.load(path, mmap_mode="r") if path.exists() else otherwise


def label_of(row: Mapping[str, Any]) -> Action:
    """The action in a row of the Parquet table, whose bins are text."""
    return Action(*(dimension.of_text(row[dimension.name]) for dimension in DIMENSIONS))


def inputs_of_split(split: Split) -> Inputs:
    """A split's arrays, still memory-mapped, and a way to its contexts."""
    job_types = np.array(split.table["job_type"], dtype=np.str_)
    return Inputs(
        split.tokens,
        split.segments,
        split.context_features,
        split.run_features,
        split.masks,
        job_types,
        split.contexts,
    )
