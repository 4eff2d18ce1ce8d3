"""Writing a dataset, whole or not at all."""

import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from planner.actions import HEADS, ActionSpace
from planner.artifacts.recorded_context import PackedContext
from planner.contracts.dataset import DatasetInfo
from planner.contracts.document import canonical_json
from planner.dataset.examples import Example
from planner.dataset.outcomes import STORED_AS, make_outcomes
from planner.dataset.split import SPLITS
from planner.dataset.storage import CONFIDENCE, EXAMPLE_SCHEMA, MANIFEST, ROW_GROUP
from planner.dataset.trials import TRIALS_FILE, Trial, count_trials, write_trials
from planner.encoding.encode import Encoded, apply_vocabulary, fit_vocabulary
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
    encode: Callable[[], Encoded],
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

    ``encode`` makes the examples' arrays; it is called while their tables are compressed. A ``vocabulary`` of None is
    fitted on train. ``account`` holds the fields of DatasetInfo that say how the examples came about, the token
    profile among them unless it is the planner's own. ``normalisation_of`` is the dataset whose feature normalisation
    is kept (winners), otherwise it is fitted on train. ``context_names`` are the columns of the encoded context
    features. ``trials`` stand beside the examples and are no part of the hash: they follow from the same runs.
    """
    check_out(out)
    with staged_directory(out) as staging, ThreadPoolExecutor(max_workers=1) as tables:
        parts = {name: [examples[i] for i in splits[name]] for name in SPLITS}
        seen = {name: np.array([e.issue_id in seen_issues for e in parts[name]], dtype=bool) for name in SPLITS}
        columns = {name: _columns(part, seen[name]) for name, part in parts.items()}
        contexts = {name: _joined([example.packed for example in part]) for name, part in parts.items()}
        for name in parts:
            (staging / name).mkdir()
        # Compressing needs nothing of Python, so it goes on beside all else.
        write_trials(staging, trials)
        written = [tables.submit(_write_table, staging / name, columns[name], contexts[name]) for name in parts]
        encoded = encode()
        if vocabulary is None:
            vocabulary = fit_vocabulary(encoded, splits["train"], specials(account.get("token_profile", "planner")))
        tokens = apply_vocabulary(encoded, vocabulary)
        digest = hashlib.sha256(canonical_json({"space": space.to_document(), "vocabulary": list(vocabulary)}))
        for name, part in parts.items():
            arrays = _arrays(part, encoded, tokens, splits[name], space, seen[name])
            _write_arrays(staging / name, arrays, digest)
            digest.update(orjson.dumps(columns[name]))
            for _, text in contexts[name]:
                digest.update(text)
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
        train = splits["train"]
        info = DatasetInfo.model_validate(
            {
                "schema_version": "cyntra.planner_dataset.v1",
                "dataset_hash": digest.hexdigest(),
                "action_space": space.to_document(),
                "n_similar": n_similar,
                "tokens_per_run": TOKENS_PER_RUN,
                "splits": infos,
                "vocabulary": list(vocabulary),
                **_normalisation(encoded, context_names, train, normalisation_of),
                "tool_versions": tool_versions(),
                "trials": count_trials(trials),
                **account,
            }
        )
        (staging / MANIFEST).write_bytes(orjson.dumps(info.model_dump(), option=orjson.OPT_INDENT_2))
    return info


def _arrays(
    part: Sequence[Example],
    encoded: Encoded,
    tokens: NDArray[np.int32],
    span: range,
    space: ActionSpace,
    seen: NDArray[np.bool_],
) -> dict[str, NDArray[Any]]:
    rows = slice(span.start, span.stop)
    positions = {label: space.index(label) for label in {example.label for example in part}}
    segments = encoded.segments[rows]
    first, last = (int(segments[0, 0]), int(segments[-1, -1])) if len(part) else (0, 0)
    outcomes = make_outcomes([example.executed for example in part], space)
    return {
        "tokens": tokens[first:last],
        "segments": segments - first,
        "context_features": encoded.context_features[rows],
        "run_features": encoded.run_features[rows],
        "labels": np.array([positions[example.label] for example in part], dtype=np.int64).reshape(-1, len(HEADS)),
        "masks": np.array([_admitted(example.space, example.job_type, space) for example in part], dtype=bool).reshape(
            -1, sum(space.widths)
        ),
        "passed": np.array([example.status == "success" for example in part], dtype=bool),
        "duration_ms": np.array([example.duration_ms for example in part], dtype=np.int64),
        "seen": seen,
        CONFIDENCE: np.array([example.label_confidence for example in part], dtype=np.float32),
        **{f"outcome_{STORED_AS.get(name, name)}": array for name, array in outcomes.arrays().items()},
    }


def _write_arrays(directory: Path, arrays: Mapping[str, NDArray[Any]], digest: Any) -> None:
    """Write a split's arrays and add them to ``digest``."""
    for name in arrays:
        array = np.ascontiguousarray(arrays[name])
        np.save(directory / f"{name}.npy", array)
        digest.update(f"{directory.name}/{name}{array.dtype}{array.shape}".encode())
        digest.update(array.data)


def _joined(contexts: Sequence[PackedContext]) -> list[tuple[NDArray[np.int64], bytes]]:
    """The texts of every row group one after another, with the bounds of each within."""
    groups = []
    for start in range(0, len(contexts), ROW_GROUP):
        pieces = [context.pieces() for context in contexts[start : start + ROW_GROUP]]
        lengths = [sum(map(len, own)) for own in pieces]
        groups.append((np.cumsum([0, *lengths]), b"".join(itertools.chain.from_iterable(pieces))))
    return groups


def _write_table(
    directory: Path, columns: Mapping[str, list[Any]], contexts: Sequence[tuple[NDArray[np.int64], bytes]]
) -> None:
    """``contexts`` as :func:`_joined` makes them."""
    arrays = [
        pa.LargeStringArray.from_buffers(len(bounds) - 1, pa.py_buffer(bounds), pa.py_buffer(text))
        for bounds, text in contexts
    ]
    table = {**columns, "context": pa.chunked_array(arrays, pa.large_string())}
    pq.write_table(
        pa.table(table, schema=pa.schema([field for field in EXAMPLE_SCHEMA if field.name in table])),
        directory / "examples.parquet",
        row_group_size=ROW_GROUP,
        compression="zstd",
        version="2.6",
        store_schema=False,
    )


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


def _normalisation(
    encoded: Encoded, context_names: Sequence[str], train: range, keep: DatasetInfo | None
) -> dict[str, Any]:
    """Mean and scale of every feature over train; of run features over the runs that are there."""
    if keep is not None:
        kept = keep.model_dump()
        return {key: kept[key] for key in ("context_features", "run_features")}
    rows = slice(train.start, train.stop)
    present = np.diff(encoded.segments[rows], axis=1)[:, 1:] > 0
    return {
        "context_features": _fit(context_names, encoded.context_features[rows]),
        "run_features": _fit(RUN_FEATURES, encoded.run_features[rows][present]),
    }


def _fit(names: Sequence[str], values: NDArray[np.float32]) -> list[dict[str, Any]]:
    if not len(values):
        return [{"name": name, "mean": 0.0, "scale": 1.0} for name in names]
    slices = [values[start : start + NORMALISED] for start in range(0, len(values), NORMALISED)]
    means = sum(part.sum(axis=0, dtype=np.float64) for part in slices) / len(values)
    scales = np.sqrt(sum(((part - means) ** 2).sum(axis=0) for part in slices) / len(values))
    return [
        {"name": name, "mean": float(mean), "scale": float(scale) if scale > 1e-6 else 1.0}
        for name, mean, scale in zip(names, means, scales, strict=True)
    ]
