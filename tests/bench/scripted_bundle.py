"""A bundle that decides what an issue's tags say: a real ONNX model of the planner's tokens, made without training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import orjson
from onnx import TensorProto, helper, numpy_helper

from planner.actions import HEADS, ActionSpace
from planner.artifacts.universe import NO_UNIVERSE
from planner.encoding.tokens import SPECIALS, hash_bucket

SPACE = NO_UNIVERSE.action_space
CODE_ACTIONS = SPACE.valid_actions("code")


def write_scripted_bundle(
    directory: Path, space: ActionSpace = SPACE, threshold: float = 0.5, job_type: str = "code"
) -> list[str]:
    """Write the bundle, and return a tag for each of the space's valid actions for such jobs.

    An issue without such a tag is decided at random, with a confidence below ``threshold``.
    """
    actions = space.valid_actions(job_type)
    tags = _distinct_tags(len(actions))
    columns = [[int(row)] for row in space.tuple_rows(space.valid_indices(job_type))]
    metadata = {
        "token_profile": "planner",
        "context_builder": "planner",
        "outputs": ["joint"],
        # Of past runs it sees nothing: their tags are those of other issues.
        "n_similar": 0,
        "seq_len": 1024,
    }
    _write(directory, space, [*SPECIALS, *map(_token, tags)], columns, [len(space.tuples)], metadata, threshold)
    return tags


def write_kernel_bundle(directory: Path, space: ActionSpace = SPACE) -> list[str]:
    """The same as a bundle that Cyntra's own planner loads."""
    tags = _distinct_tags(len(space.valid_actions("code")))
    starts = np.cumsum([0, *space.widths[:-1]])
    columns = [(starts + row).tolist() for row in space.valid_indices("code")]
    metadata = {
        "token_profile": "kernel",
        "context_builder": "kernel",
        "outputs": list(HEADS),
        "n_similar": 8,
        "seq_len": 512,
    }
    specials = ["[PAD]", "[UNK]", "[BOS]", "[SEP]", "[EOS]", "[=]"]
    _write(directory, space, [*specials, *map(_token, tags)], columns, space.widths, metadata, 0.5)
    return tags


def _write(
    directory: Path,
    space: ActionSpace,
    vocabulary: list[str],
    columns: Sequence[Sequence[int]],
    widths: Sequence[int],
    metadata: dict[str, Any],
    threshold: float,
) -> None:
    """``columns`` are the logits that the tags raise, which are the last tokens of the vocabulary."""
    table: np.ndarray = np.zeros((len(vocabulary), sum(widths)), dtype=np.float32)
    for row, raised in enumerate(columns, start=len(vocabulary) - len(columns)):
        table[row, raised] = 20.0
    directory.mkdir(parents=True)
    length = "seq" if metadata["outputs"] == ["joint"] else metadata["seq_len"]
    onnx.save(_graph(table, widths, length), directory / "planner.onnx")
    common = {"schema_version": "cyntra.planner_bundle.v1", "reads": "tokens", "tokens_per_run": 64}
    documents = {
        "vocab": {"tokens": vocabulary},
        "action_space": space.to_document(),
        "calibration": {"temperatures": dict.fromkeys(metadata["outputs"], 1.0), "threshold": threshold},
        "metadata": {**common, "checkpoint_id": "scripted", "kernel_config": {}, **metadata},
    }
    for name, document in documents.items():
        (directory / f"{name}.json").write_bytes(orjson.dumps(document))


def _token(tag: str) -> str:
    return f"[TAG_HASH_{hash_bucket('tag', tag)}]"


def _distinct_tags(n: int) -> list[str]:
    """Tags whose tokens are different."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < n:
        found.setdefault(hash_bucket("tag", f"plan-{number}"), f"plan-{number}")
        number += 1
    return list(found.values())


def _graph(table: np.ndarray, widths: Sequence[int], length: int | str) -> onnx.ModelProto:
    """Logits = the sum of the tokens' rows, split into heads: (1, length) -> (1, width) each."""
    ids = [helper.make_tensor_value_info(n, TensorProto.INT64, [1, length]) for n in ("input_ids", "attention_mask")]
    names = [f"logits_{number}" for number in range(len(widths))]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"], axis=0),
        helper.make_node("ReduceSum", ["rows", "axes"], ["sums"], keepdims=0),
        helper.make_node("Split", ["sums", "widths"], names, axis=1),
    ]
    constants = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "axes"),
        numpy_helper.from_array(np.array(widths, dtype=np.int64), "widths"),
    ]
    outputs = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, width]) for n, width in zip(names, widths, strict=True)
    ]
    graph = helper.make_graph(nodes, "scripted", ids, outputs, initializer=constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
