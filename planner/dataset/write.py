"""Writing a dataset, whole or not at all."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from planner.actions import HEADS, ActionSpace
from planner.contracts.dataset import DatasetInfo
from planner.contracts.document import canonical_json
from planner.dataset.examples import Example
from planner.dataset.outcomes import STORED_AS, make_outcomes
from planner.dataset.split import SPLITS
from planner.dataset.storage import CONFIDENCE, EXAMPLE_SCHEMA, MANIFEST, ROW_GROUP
from planner.dataset.trials import TRIALS_FILE, Trial, count_trials, write_trials
from planner.encoding.encode import Encoded, apply_vocabulary, cut, fit_vocabulary
from planner.encoding.features import CONTEXT_FEATURES, RUN_FEATURES
from planner.encoding.inputs import _admitted
from planner.encoding.profiles import specials
from planner.encoding.tokens import TOKENS_PER_RUN
from planner.errors import DatasetError
from planner.files import staged_directory
from planner.provenance import tool_versions

NORMALISED = 16384
"""Rows of features looked at together: all at once, in double precision, would be as much memory as the dataset."""


def check_out(out: Path) -> None:
    """DatasetError when a dataset written to ``out`` would replace anything but a dataset."""
    if not out.exists():
        return
    foreign = (
        sorted({path.name for path in out.iterdir()} - {MANIFEST, TRIALS_FILE, *SPLITS}) if out.is_dir() else [out.name]
    )
    if foreign:
        raise DatasetError(
            f"{out} holds other files than a dataset ({', '.join(foreign[:3])}): "
            "give an empty or new directory as --out"
        )


def write_dataset(
    out: Path,
    *,
    examples: Sequence[Example],
    encoded: Sequence[Encoded],
    splits: Mapping[str, range],
    space: ActionSpace,
    vocabulary: Sequence[str] | None,
    seen_issues: set[str],
    n_similar: int,
    account: Mapping[str, Any],
    normalisation_of: DatasetInfo | None = None,
    context_names: Sequence[str] = CONTEXT_FEATURES,
    trials: Sequence[Trial] = (),
) -> DatasetInfo:
    """Write a dataset whole or not at all, and return its dataset.json.

    ``encoded`` are the examples' contexts as arrays, in parts that follow one another. They and the examples' texts may
    be mapped from files: no more than a part of them is in memory at once. A ``vocabulary`` of None is fitted on train.
    ``account`` holds the fields of DatasetInfo that say how the examples came about, the token
    profile among them unless it is the planner's own. ``normalisation_of`` is the dataset whose feature normalisation
    is kept (winners), otherwise it is fitted on train. ``context_names`` are the columns of the encoded context
    features. ``trials`` stand beside the examples and are no part of the hash: they follow from the same runs.
    """
    check_out(out)
    with staged_directory(out) as staging, ThreadPoolExecutor(max_workers=1) as tables:
        parts = {name: [examples[i] for i in splits[name]] for name in SPLITS}
        seen = {name: np.array([e.issue_id in seen_issues for e in parts[name]], dtype=bool) for name in SPLITS}
        columns = {name: _columns(part, seen[name]) for name, part in parts.items()}
        for name in parts:
            (staging / name).mkdir()
        # Compressing needs nothing of Python, so it goes on beside all else.
        write_trials(staging, trials)
        written = [tables.submit(_write_table, staging / name, columns[name], parts[name]) for name in parts]
        arrays = {name: cut(encoded, splits[name]) for name in parts}
        if vocabulary is None:
            vocabulary = fit_vocabulary(arrays["train"], specials(account.get("token_profile", "planner")))
        digest = hashlib.sha256(canonical_json({"space": space.to_document(), "vocabulary": list(vocabulary)}))
        for name, part in parts.items():
            for array, rows, pieces in _arrays(part, arrays[name], vocabulary, space, seen[name]):
                _write_array(staging / name, array, rows, pieces, digest)
            digest.update(orjson.dumps(columns[name]))
            for example in part:
                digest.update(example.text)
        for future in written:
            future.result()
        infos = {
            name: {
                "examples": len(part),
                "first_ms": part[0].decided_ms if part else None,
                "last_ms": part[-1].decided_ms if part else None,
                "of_seen_issues": int(seen[name].sum()),
            }
            for name, part in parts.items()
        }
        info = DatasetInfo.model_validate(
            {
                "schema_version": "cyntra.planner_dataset.v1",
                "dataset_hash": digest.hexdigest(),
                "action_space": space.to_document(),
                "n_similar": n_similar,
                "tokens_per_run": TOKENS_PER_RUN,
                "splits": infos,
                "vocabulary": list(vocabulary),
                **_normalisation(arrays["train"], context_names, normalisation_of),
                "tool_versions": tool_versions(),
                "trials": count_trials(trials),
                **account,
            }
        )
        (staging / MANIFEST).write_bytes(orjson.dumps(info.model_dump(), option=orjson.OPT_INDENT_2))
    return info


def _arrays(
    part: Sequence[Example],
    encoded: Sequence[Encoded],
    vocabulary: Sequence[str],
    space: ActionSpace,
    seen: NDArray[np.bool_],
) -> Iterator[tuple[str, int, Iterable[NDArray[Any]]]]:
    """Name and length of each of a split's arrays, and the array in pieces."""
    firsts = np.cumsum([0, *(len(piece.tokens) for piece in encoded)]).tolist()
    yield "tokens", firsts[-1], (apply_vocabulary(piece, vocabulary) for piece in encoded)
    yield "segments", len(part), (piece.segments + first for piece, first in zip(encoded, firsts, strict=False))
    yield "context_features", len(part), (piece.context_features for piece in encoded)
    yield "run_features", len(part), (piece.run_features for piece in encoded)
    positions = {label: space.index(label) for label in {example.label for example in part}}
    masks = [_admitted(example.space, example.job_type, space) for example in part]
    whole = {
        "labels": np.array([positions[example.label] for example in part], dtype=np.int64).reshape(-1, len(HEADS)),
        "masks": np.array(masks, dtype=bool).reshape(-1, sum(space.widths)),
        "passed": np.array([example.status == "success" for example in part], dtype=bool),
        "duration_ms": np.array([example.duration_ms for example in part], dtype=np.int64),
        "seen": seen,
        CONFIDENCE: np.array([example.label_confidence for example in part], dtype=np.float32),
    }
    outcomes = make_outcomes([example.executed for example in part], space).arrays()
    for name, array in (whole | {f"outcome_{STORED_AS.get(name, name)}": outcomes[name] for name in outcomes}).items():
        yield name, len(array), iter([array])


def _write_array(directory: Path, name: str, rows: int, pieces: Iterable[NDArray[Any]], digest: Any) -> None:
    """Write an array of so many rows that comes in pieces, and add it to ``digest``."""
    pieces = iter(pieces)
    first = next(pieces)
    shape = (rows, *first.shape[1:])
    header = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False, "shape": shape}
    digest.update(f"{directory.name}/{name}{first.dtype}{shape}".encode())
    with (directory / f"{name}.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for piece in itertools.chain([first], pieces):
            data = np.ascontiguousarray(piece).data
            file.write(data)
            digest.update(data)


def _write_table(directory: Path, columns: Mapping[str, list[Any]], part: Sequence[Example]) -> None:
    """The Parquet table, a row group of contexts at a time."""
    schema = pa.schema([field for field in EXAMPLE_SCHEMA if field.name in (*columns, "context")])
    options = {"compression": "zstd", "version": "2.6", "store_schema": False}
    with pq.ParquetWriter(directory / "examples.parquet", schema, **options) as writer:
        for start in range(0, max(len(part), 1), ROW_GROUP):
            rows = slice(start, start + ROW_GROUP)
            texts = [example.text for example in part[rows]]
            bounds = np.cumsum([0, *map(len, texts)])
            joined = pa.py_buffer(b"".join(texts))
            context = pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(bounds), joined)
            table = {**{name: column[rows] for name, column in columns.items()}, "context": context}
            writer.write_table(pa.table(table, schema=schema), row_group_size=ROW_GROUP)


def _columns(part: Sequence[Example], seen: NDArray[np.bool_]) -> dict[str, list[Any]]:
    """The Parquet table's columns except the contexts."""
    reasons = [example.decided_by for example in part]
    return {
        "example_id": [example.example_id for example in part],
        "decided_ms": [example.decided_ms for example in part],
        "issue_id": [example.issue_id for example in part],
        "job_type": [example.job_type for example in part],
        "domain": [example.domain for example in part],
        **{head: [str(example.label[i]) for example in part] for i, head in enumerate(HEADS)},
        "status": [example.status for example in part],
        "duration_ms": [example.duration_ms for example in part],
        "cost_usd": [example.cost_usd for example in part],
        "seen_issue": seen.tolist(),
        # Only where it is known: the hash covers the columns.
        **({"decided_by": reasons} if any(reasons) else {}),
    }


def _normalisation(train: Sequence[Encoded], context_names: Sequence[str], keep: DatasetInfo | None) -> dict[str, Any]:
    """Mean and scale of every feature over train; of run features over the runs that are there."""
    if keep is not None:
        kept = keep.model_dump()
        return {key: kept[key] for key in ("context_features", "run_features")}
    present = [np.diff(piece.segments, axis=1)[:, 1:] > 0 for piece in train]
    return {
        "context_features": _fit(context_names, lambda: (piece.context_features for piece in train)),
        "run_features": _fit(
            RUN_FEATURES, lambda: (piece.run_features[rows] for piece, rows in zip(train, present, strict=True))
        ),
    }


def _fit(names: Sequence[str], pieces: Callable[[], Iterator[NDArray[np.float32]]]) -> list[dict[str, Any]]:
    count = sum(map(len, pieces()))
    if not count:
        return [{"name": name, "mean": 0.0, "scale": 1.0} for name in names]
    # Always as many rows at a time: the last bits of a sum depend on how it is made.
    means = sum(part.sum(axis=0, dtype=np.float64) for part in _evenly(pieces(), NORMALISED)) / count
    scales = np.sqrt(sum(((part - means) ** 2).sum(axis=0) for part in _evenly(pieces(), NORMALISED)) / count)
    return [
        {"name": name, "mean": float(mean), "scale": float(scale) if scale > 1e-6 else 1.0}
        for name, mean, scale in zip(names, means, scales, strict=True)
    ]


def _evenly(pieces: Iterator[NDArray[np.float32]], rows: int) -> Iterator[NDArray[np.float32]]:
    """The same array in pieces of so many rows, the last one shorter."""
    waiting: list[NDArray[np.float32]] = []
    for piece in pieces:
        while len(piece):
            taken = piece[: rows - sum(map(len, waiting))]
            waiting.append(taken)
            piece = piece[len(taken) :]
            if sum(map(len, waiting)) == rows:
                yield np.concatenate(waiting)
                waiting = []
    if waiting:
        yield np.concatenate(waiting)
