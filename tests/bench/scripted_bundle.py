"""A bundle that decides what an issue's tags say: a real ONNX model of the planner's tokens, made without training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import orjson
from onnx import TensorProto, helper, numpy_helper

from planner.actions import ActionSpace
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
    vocabulary = [*SPECIALS, *(f"[TAG_HASH_{hash_bucket('tag', tag)}]" for tag in tags)]
    table: np.ndarray = np.zeros((len(vocabulary), len(space.tuples)), dtype=np.float32)
    for number, column in enumerate(space.tuple_rows(space.valid_indices(job_type))):
        table[len(SPECIALS) + number, column] = 20.0
    directory.mkdir(parents=True)
    onnx.save(_graph(table), directory / "planner.onnx")
    documents = {
        "vocab": {"tokens": vocabulary},
        "action_space": space.to_document(),
        "calibration": {"temperatures": {"joint": 1.0}, "threshold": threshold},
        "metadata": {
            "schema_version": "cyntra.planner_bundle.v1",
            "token_profile": "planner",
            "context_builder": "planner",
            "reads": "tokens",
            "outputs": ["joint"],
            # Of past runs it sees nothing: their tags are those of other issues.
            "n_similar": 0,
            "tokens_per_run": 64,
            "seq_len": 1024,
            "checkpoint_id": "scripted",
            "kernel_config": {},
        },
    }
    for name, document in documents.items():
        (directory / f"{name}.json").write_bytes(orjson.dumps(document))
    return tags


def _distinct_tags(n: int) -> list[str]:
    """Tags whose tokens are different."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < n:
        found.setdefault(hash_bucket("tag", f"plan-{number}"), f"plan-{number}")
        number += 1
    return list(found.values())


def _graph(table: np.ndarray) -> onnx.ModelProto:
    """Logits = the sum of the tokens' rows: (1, seq) -> (1, tuples)."""
    ids = [helper.make_tensor_value_info(n, TensorProto.INT64, [1, "seq"]) for n in ("input_ids", "attention_mask")]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"], axis=0),
        helper.make_node("ReduceSum", ["rows", "axes"], ["joint_logits"], keepdims=0),
    ]
    constants: Sequence[onnx.TensorProto] = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([1], dtype=np.int64), "axes"),
    ]
    out = helper.make_tensor_value_info("joint_logits", TensorProto.FLOAT, [1, table.shape[1]])
    graph = helper.make_graph(nodes, "scripted", ids, [out], initializer=constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
