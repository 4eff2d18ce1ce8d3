"""A token policy's ONNX model is made of standard operators: OpenVINO decides by it as ONNX Runtime and torch do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino  # type: ignore[import-untyped] # it has no annotations
import pytest
import torch
from torch import nn

from planner.export.onnx_graph import write_token_policy
from planner.models.urm import LoopedTransformer, URMSettings

HEADS = {"swarm": 2, "candidates": 4, "minutes": 7}
N_TOKENS, CONTEXTS, BATCH, LONGEST = 300, 256, 16, 120


@pytest.fixture(scope="module", params=["convswiglu", "swiglu"])
def policy(request: Any) -> tuple[LoopedTransformer, nn.Linear]:
    """A URM whose weights are large enough for its decisions to differ from context to context."""
    torch.manual_seed(0)
    sizes = {"d_model": 32, "layers": 2, "heads": 4, "loops": 3, "backprop_loops": 1, "seq_len": LONGEST}
    core = LoopedTransformer(URMSettings(mlp=request.param, **sizes), N_TOKENS).eval()
    for weight in core.parameters():
        nn.init.normal_(weight, std=0.3)
    return core, nn.Linear(32, sum(HEADS.values()))


def batches() -> Iterator[dict[str, np.ndarray]]:
    """256 contexts of many lengths; the first batch holds one of them alone."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(5, LONGEST, CONTEXTS)
    for rows in np.split(np.arange(CONTEXTS), [1, *range(BATCH, CONTEXTS, BATCH)]):
        mask = (np.arange(lengths[rows].max()) < lengths[rows][:, None]).astype(np.int64)
        yield {"input_ids": draw.integers(1, N_TOKENS, mask.shape) * mask, "attention_mask": mask}


@pytest.mark.parametrize("fixed", [None, LONGEST])
def test_two_runtimes_and_torch_decide_alike(
    policy: tuple[LoopedTransformer, nn.Linear], tmp_path: Path, fixed: int | None
) -> None:
    core, head = policy
    path = tmp_path / "policy.onnx"
    write_token_policy(path, core, head, HEADS, longest=LONGEST, fixed_length=fixed, metadata={"planner": "x"})
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert {entry.domain for entry in model.opset_import} == {""}
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("planner", "x")]

    session, compiled = onnxruntime.InferenceSession(path), openvino.Core().compile_model(path, "CPU")
    decided: set[tuple[int, ...]] = set()
    for batch in batches():
        with torch.no_grad():
            hidden = core(torch.tensor(batch["input_ids"]), torch.tensor(batch["attention_mask"]))
            wanted = [part.numpy() for part in torch.split(head(hidden[:, 0]), list(HEADS.values()), dim=1)]
        if fixed is not None:
            missing = fixed - batch["input_ids"].shape[1]
            batch = {name: np.pad(value, ((0, 0), (0, missing))) for name, value in batch.items()}
        for found in (session.run(list(HEADS), batch), [compiled(batch)[name] for name in HEADS]):
            for torch_head, other in zip(wanted, found, strict=True):
                np.testing.assert_allclose(other, torch_head, atol=2e-3)
            assert np.array_equal(decisions(found), decisions(wanted))
        decided |= set(map(tuple, decisions(wanted).tolist()))
    assert len(decided) > 10


def decisions(heads: list[np.ndarray]) -> np.ndarray:
    """The choice of every head, (n, heads)."""
    return np.stack([head.argmax(axis=1) for head in heads], axis=1)
