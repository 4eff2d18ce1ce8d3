"""URM agrees with the reference implementation's numbers (an excerpt of them is in tests/fixtures/urm)."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from planner.models.blocks import Attention, ConvSwiGLU, Rotary
from planner.models.urm import LoopedTransformer, URMSettings
from tests.conftest import FIXTURES

GOLDEN = FIXTURES / "urm"
MANIFEST = json.loads((GOLDEN / "manifest.json").read_text())
LOOPS = np.load(GOLDEN / "loops.npz")
LOOP_CASES = [case for case in MANIFEST if case.startswith("loop_")]


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    """The golden numbers are fp32; our side is computed in fp64, so that only their noise counts."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def tensor(array: Any) -> Tensor:
    found = torch.from_numpy(np.asarray(array))
    return found.double() if found.is_floating_point() else found.long()


def assert_close(found: Tensor, golden: Any, noise: float) -> None:
    golden = np.asarray(golden, dtype=np.float64)
    tolerance = max(1e-5 + 1e-5 * float(np.abs(golden).max()), 8 * noise)
    np.testing.assert_allclose(found.detach().numpy(), golden, rtol=0, atol=tolerance)


def rotary_table(head_dim: int, length: int) -> tuple[Tensor, Tensor]:
    cos, sin = Rotary(head_dim)(length)
    return cos.double(), sin.double()


@pytest.mark.parametrize("case", ["attention", "convswiglu_small"])
def test_a_module_gives_the_references_output_and_gradients(case: str) -> None:
    golden, noise = np.load(GOLDEN / f"{case}.npz"), MANIFEST[case]["noise"]
    call: Callable[[nn.Module, Tensor], Tensor]
    if case == "attention":
        meta = MANIFEST[case]["meta"]
        module: nn.Module = Attention(meta["hidden"], meta["heads"])
        call = lambda m, x: m(x, rotary_table(meta["head_dim"], x.shape[1]), None)  # noqa: E731
    else:
        d_model, width = golden["w.down_proj.weight"].shape
        module = ConvSwiGLU(d_model, width)
        call = lambda m, x: m(x, None)  # noqa: E731
    module.load_state_dict({name[2:]: tensor(golden[name]) for name in golden.files if name.startswith("w.")})
    x = tensor(golden["x"]).requires_grad_()
    y = call(module, x)
    y.backward(tensor(golden["gy"]))
    assert_close(y, golden["y"], noise["y"])
    assert x.grad is not None
    assert_close(x.grad, golden["gx"], noise["gx"])
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None
        assert_close(parameter.grad, golden[f"g.{name}"], noise["gparam"])


def reference_core(loops: int, backprop_loops: int) -> LoopedTransformer:
    settings = URMSettings(d_model=32, layers=2, heads=4, loops=loops, backprop_loops=backprop_loops)
    core = LoopedTransformer(settings, vocabulary=50).double()
    weights = {n[2:].replace("embedding_weight", "weight"): tensor(LOOPS[n]) for n in LOOPS.files if n.startswith("w.")}
    core.load_state_dict({**weights, "init_hidden": tensor(LOOPS["init_hidden"])})
    return core


@pytest.mark.parametrize("case", LOOP_CASES)
def test_loops_give_the_references_states_loss_and_truncated_gradients(case: str) -> None:
    meta, noise = MANIFEST[case]["meta"], MANIFEST[case]["noise"]
    core = reference_core(meta["M_loops"], meta["K_grad_loops"])
    ids = tensor(LOOPS[f"{case}/input_ids"])
    hidden = core(ids, torch.ones_like(ids, dtype=torch.bool))
    assert_close(hidden, LOOPS[f"{case}/hidden"], noise["hidden"])
    loss = torch.zeros(())
    for head in meta["head_names"]:
        weight, bias, label = (tensor(LOOPS[f"{case}/head.{head}.{part}"]) for part in ("weight", "bias", "label"))
        loss = loss + F.cross_entropy(hidden[:, 0] @ weight.T + bias, label)
    assert_close(loss, LOOPS[f"{case}/loss"], noise["loss"])
    loss.backward()
    for name, parameter in core.named_parameters():
        key = f"{case}/g.{name.replace('embed_tokens.weight', 'embed_tokens.embedding_weight')}"
        assert parameter.grad is not None
        assert_close(parameter.grad.flatten()[tensor(LOOPS[f"{key}/at"])], LOOPS[key], noise["grad"])


def test_padding_on_the_right_changes_nothing_at_the_valid_tokens() -> None:
    lengths = LOOPS["ragged/lengths"]
    ids = torch.zeros(len(lengths), int(lengths.max()), dtype=torch.long)
    mask = torch.arange(ids.shape[1]) < tensor(lengths)[:, None]
    for i, length in enumerate(lengths):
        ids[i, :length] = tensor(LOOPS[f"ragged/ids{i}"])
    hidden = reference_core(8, 4)(ids, mask)
    for i, length in enumerate(lengths):
        assert_close(hidden[i, :length], LOOPS[f"ragged/hidden{i}"], 5e-6)


def test_wider_kernels_do_not_see_padding_either() -> None:
    module = ConvSwiGLU(16, 32, kernel=3)
    x, valid = torch.randn(1, 6, 16), (torch.arange(6) < 4).double()[None, :, None]
    torch.testing.assert_close(module(x, valid)[:, :4], module(x[:, :4], None))


def test_frozen_taps_get_no_gradient() -> None:
    settings = URMSettings(d_model=32, layers=1, heads=2, loops=2, backprop_loops=1, train_taps=False)
    core = LoopedTransformer(settings, vocabulary=9).double()
    core(torch.ones(1, 3, dtype=torch.long), torch.ones(1, 3, dtype=torch.bool)).sum().backward()
    taps = [p.grad for name, p in core.named_parameters() if "dwconv" in name]
    assert taps and all(grad is None for grad in taps)


def test_weights_start_with_the_references_deviations() -> None:
    torch.manual_seed(0)
    core = LoopedTransformer(URMSettings(d_model=256, layers=1, heads=4, loops=2, backprop_loops=1), vocabulary=3000)
    wanted = {"embed_tokens": 256, "qkv_proj": 256, "o_proj": 256, "gate_up_proj": 256, "down_proj": 768}
    for name, fan_in in wanted.items():
        (weight,) = (p for key, p in core.named_parameters() if key.endswith(f"{name}.weight"))
        deviation = 1 / fan_in**0.5
        assert weight.std().item() == pytest.approx(deviation, rel=0.01), name
        # Cut at two deviations of the normal before the cut made it narrower.
        assert weight.abs().max().item() == pytest.approx(2 * deviation / 0.8796, rel=0.01), name
