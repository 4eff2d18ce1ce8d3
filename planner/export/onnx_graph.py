"""A looped transformer as an ONNX graph, written node by node instead of traced: exported in no time, and fast to run.

The stack is the body of one ONNX Loop, so that its weights are packed once however many loops there are. All operators
are ONNX's own, of opset 23 (RotaryEmbedding, Attention, RMSNormalization), so that other runtimes load it as well; ONNX
Runtime's fused ones save 2 to 11 % of a decision. Formulae as in planner.models.blocks. Only the first token is read
out: the last layer of the last loop makes no other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from planner.models.blocks import EPSILON, ROPE_THETA, Block, ConvSwiGLU
from planner.models.urm import LoopedTransformer

OPSET, IR_VERSION = 23, 11


@dataclass
class Nodes:
    """Nodes of a graph or of a subgraph; subgraphs see the values and the constants of the graph around them."""

    constants: dict[str, NDArray[Any]]
    prefix: str = ""
    nodes: list[onnx.NodeProto] = field(default_factory=list)

    def add(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Append a node; returns the name of its output."""
        name = f"{self.prefix}{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """A constant of the whole model, once however often it is asked for."""
        self.constants[name] = value
        return name

    def integers(self, *values: int) -> str:
        """A constant of int64 values, (n,)."""
        return self.constant(f"integers_{'_'.join(map(str, values))}", np.array(values, dtype=np.int64))

    def inner(self, prefix: str) -> "Nodes":
        """The nodes of a subgraph."""
        return Nodes(self.constants, f"{self.prefix}{prefix}_")


def write_token_policy(
    path: Path,
    core: LoopedTransformer,
    head: nn.Linear,
    outputs: dict[str, int],
    *,
    longest: int,
    fixed_length: int | None = None,
    penalties: tuple[NDArray[np.float32], int] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model of input_ids and attention_mask, int64 (batch, length), that reads out from the first token.

    ``head`` is the read-out, ``outputs`` the names and widths that it is split into. No context is longer than
    ``longest``. With ``fixed_length`` the inputs have that length, and padding is cut off before anything is computed.
    ``penalties`` (vocabulary, width) are added to the logits by the token at a place; ``metadata`` is kept inside.
    """
    nodes = Nodes({})
    ids, mask = _without_padding(nodes) if fixed_length is not None else ("input_ids", "attention_mask")
    hidden = _looped(nodes, core, ids, mask, longest)
    first = nodes.add("Gather", [hidden, nodes.constant("first", np.array(0, dtype=np.int64))], axis=1)
    weight, bias = _array(head.weight), _array(head.bias)
    logits = nodes.add("Gemm", [first, nodes.constant("head", weight), nodes.constant("head_bias", bias)], transB=1)
    if penalties is not None:
        table, place = penalties
        token = nodes.add("Gather", ["input_ids", nodes.constant("place", np.array(place, dtype=np.int64))], axis=1)
        penalty = nodes.add("Gather", [nodes.constant("penalties", table), token], axis=0)
        logits = nodes.add("Add", [logits, penalty])
    widths = nodes.constant("widths", np.array(list(outputs.values()), dtype=np.int64))
    nodes.nodes.append(helper.make_node("Split", [logits, widths], list(outputs), axis=1))
    shape = ["batch", fixed_length or "length"]
    graph = helper.make_graph(
        nodes.nodes,
        "policy",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]) for name, width in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in nodes.constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, path)


def _without_padding(nodes: Nodes) -> list[str]:
    """Both inputs up to the last token of the longest context."""
    zero, one = nodes.integers(0), nodes.integers(1)
    lengths = nodes.add("ReduceSum", ["attention_mask", one], keepdims=0)
    longest = nodes.add("ReduceMax", [lengths, zero], keepdims=1)
    return [nodes.add("Slice", [name, zero, longest, one]) for name in ("input_ids", "attention_mask")]


def _looped(nodes: Nodes, core: LoopedTransformer, ids: str, mask: str, longest: int) -> str:
    """All loops; the first token's state, (batch, 1, d_model)."""
    table = nodes.constant("embedding", core.scale * _array(core.embed_tokens.weight))
    embedding = nodes.add("Gather", [table, ids], axis=0)
    start = nodes.constant("init_hidden", _array(core.init_hidden))
    hidden = nodes.add("Expand", [start, nodes.add("Shape", [embedding])])
    # Contexts of one length, a single one for instance, need no mask: the attention without one is the faster.
    whole = nodes.add("ReduceMin", [mask], keepdims=0)
    padded = nodes.add("Equal", [whole, nodes.constant("zero", np.array(0, dtype=np.int64))])
    inputs = (hidden, embedding, _places(nodes, ids))
    branches = {
        branch: _branch(nodes.inner(branch), core, inputs, visible, longest)
        for branch, visible in (("then_branch", mask), ("else_branch", None))
    }
    return nodes.add("If", [padded], **branches)


def _places(nodes: Nodes, ids: str) -> str:
    """The place of every token, (batch, length)."""
    zero, one = (nodes.constant(f"scalar_{i}", np.array(i, dtype=np.int64)) for i in (0, 1))
    length = nodes.add("Squeeze", [nodes.add("Shape", [ids], start=1, end=2)])
    return nodes.add("Expand", [nodes.add("Range", [zero, length, one]), nodes.add("Shape", [ids])])


def _visible(nodes: Nodes, mask: str) -> str:
    """The keys that every query may see, bool (batch, 1, length, length): ONNX Runtime wants each query's own."""
    keys = nodes.add("Unsqueeze", [nodes.add("Cast", [mask], to=TensorProto.BOOL), nodes.integers(1, 2)])
    batch, length = (nodes.add("Shape", [mask], start=axis, end=axis + 1) for axis in (0, 1))
    return nodes.add("Expand", [keys, nodes.add("Concat", [batch, nodes.integers(1), length, length], axis=0)])


def _branch(
    nodes: Nodes, core: LoopedTransformer, inputs: tuple[str, str, str], mask: str | None, longest: int
) -> onnx.GraphProto:
    """The Loop over the stack, with or without a mask of the keys that may be seen.

    ``inputs`` are the state that it begins with, the embedding that every loop adds, and the tokens' places.
    """
    hidden, embedding, places = inputs
    visible = [] if mask is None else [_visible(nodes, mask)]
    # The number of axes must be known inside: OpenVINO asks for it.
    shape = ["batch", "place", core.embed_tokens.embedding_dim]
    body = nodes.inner("body")
    state = body.add("Add", [f"{body.prefix}hidden", embedding])
    for number, layer in enumerate(core.layers):
        assert isinstance(layer, Block)
        final = number == len(core.layers) - 1
        wanted = _wanted(body, places, core.loops) if final else None
        state = _block(body, layer, f"layer_{number}", state, places, visible, longest, wanted)
    proceed = body.add("Identity", [f"{body.prefix}proceed"])
    stack = helper.make_graph(
        body.nodes,
        "stack",
        [
            helper.make_tensor_value_info(f"{body.prefix}loop", TensorProto.INT64, []),
            helper.make_tensor_value_info(f"{body.prefix}proceed", TensorProto.BOOL, []),
            helper.make_tensor_value_info(f"{body.prefix}hidden", TensorProto.FLOAT, shape),
        ],
        [
            helper.make_tensor_value_info(proceed, TensorProto.BOOL, []),
            helper.make_tensor_value_info(state, TensorProto.FLOAT, shape),
        ],
    )
    loops = nodes.constant("loops", np.array(core.loops, dtype=np.int64))
    looped = nodes.add("Loop", [loops, "", hidden], body=stack)
    output = helper.make_tensor_value_info(looped, TensorProto.FLOAT, shape)
    return helper.make_graph(nodes.nodes, nodes.prefix, [], [output])


def _wanted(nodes: Nodes, places: str, loops: int) -> str:
    """How many of the first tokens the last layer makes, (1,): all of them, in the last loop one."""
    final = nodes.add("Equal", [f"{nodes.prefix}loop", nodes.constant("last", np.array(loops - 1, dtype=np.int64))])
    return nodes.add("Where", [final, nodes.integers(1), nodes.add("Shape", [places], start=1, end=2)])


def _block(
    nodes: Nodes,
    block: Block,
    name: str,
    x: str,
    places: str,
    visible: Sequence[str],
    longest: int,
    wanted: str | None,
) -> str:
    """x <- norm(x + attention(x)); x <- norm(x + mlp(x)), of the first ``wanted`` tokens; all of them with None."""
    attention, mlp = block.self_attn, block.mlp
    width = attention.o_proj.out_features
    cos, sin = _rotary(nodes, width // attention.heads, longest)
    q, k, v = (
        _linear(nodes, x, f"{name}_{i}", _array(attention.qkv_proj.weight)[i * width :][:width]) for i in range(3)
    )
    q, k = (nodes.add("RotaryEmbedding", [part, cos, sin, places], num_heads=attention.heads) for part in (q, k))
    if wanted is not None:
        zero, one, two = (nodes.integers(i) for i in (0, 1, 2))
        x, q = (nodes.add("Slice", [part, zero, wanted, one]) for part in (x, q))
        visible = [nodes.add("Slice", [part, zero, wanted, two]) for part in visible]
    n_heads = {"q_num_heads": attention.heads, "kv_num_heads": attention.heads}
    seen = nodes.add("Attention", [q, k, v, *visible], **n_heads)
    x = _norm(nodes, x, _linear(nodes, seen, f"{name}_o", _array(attention.o_proj.weight)), width)
    gate, up = np.split(_array(mlp.gate_up_proj.weight), 2)
    gated = nodes.add(
        "Mul", [_silu(nodes, _linear(nodes, x, f"{name}_gate", gate)), _linear(nodes, x, f"{name}_up", up)]
    )
    if isinstance(mlp, ConvSwiGLU):
        gated = _silu(nodes, _convolution(nodes, mlp, name, gated))
    return _norm(nodes, x, _linear(nodes, gated, f"{name}_down", _array(mlp.down_proj.weight)), width)


def _convolution(nodes: Nodes, mlp: ConvSwiGLU, name: str, x: str) -> str:
    """Two taps: every token sees itself and the one before."""
    taps = _array(mlp.dwconv.weight)
    assert mlp.dwconv.bias is not None
    shift = nodes.constant("shift", np.array([0, 1, 0, 0, -1, 0], dtype=np.int64))
    before = nodes.add("Mul", [nodes.add("Pad", [x, shift]), nodes.constant(f"{name}_before", taps[:, 0, 0])])
    here = nodes.add("Mul", [x, nodes.constant(f"{name}_here", taps[:, 0, 1])])
    both = nodes.add("Add", [before, here])
    return nodes.add("Add", [both, nodes.constant(f"{name}_bias", _array(mlp.dwconv.bias))])


def _rotary(nodes: Nodes, head_dim: int, longest: int) -> tuple[str, str]:
    """Cosines and sines of every position, (longest, head_dim / 2)."""
    angles = np.arange(longest)[:, None] * ROPE_THETA ** (-np.arange(0, head_dim, 2) / head_dim)
    return (
        nodes.constant("cos", np.cos(angles).astype(np.float32)),
        nodes.constant("sin", np.sin(angles).astype(np.float32)),
    )


def _linear(nodes: Nodes, x: str, name: str, weight: NDArray[np.float32]) -> str:
    return nodes.add("MatMul", [x, nodes.constant(name, np.ascontiguousarray(weight.T))])


def _silu(nodes: Nodes, x: str) -> str:
    return nodes.add("Mul", [x, nodes.add("Sigmoid", [x])])


def _norm(nodes: Nodes, x: str, change: str, width: int) -> str:
    """RMS norm of the sum of both."""
    gain = nodes.constant("gain", np.ones(width, dtype=np.float32))
    return nodes.add("RMSNormalization", [nodes.add("Add", [x, change]), gain], epsilon=EPSILON)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().cpu().numpy().astype(np.float32)
