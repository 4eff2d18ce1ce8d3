"""Muon and Adam-atan2 agree with the reference's numbers (excerpt in tests/fixtures/urm), and move what they should."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from planner.config import load_config
from planner.models.urm import LoopedTransformer, URMSettings
from planner.training.optimizers import AdamAtan2, Muon, build_optimizer, orthogonalised, set_learning_rate
from tests.conftest import FIXTURES

MUON = np.load(FIXTURES / "urm" / "muon.npz")
ATAN2 = np.load(FIXTURES / "urm" / "adam_atan2.npz")
SETTINGS = {"lr": 1e-3, "weight_decay": 0.1}


def steps(optimizer: torch.optim.Optimizer, parameter: nn.Parameter, gradients: list[np.ndarray]) -> Tensor:
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient)
        optimizer.step()
    return parameter.detach()


@pytest.mark.parametrize(("name", "last"), [("W1", 1), ("W2", 3), ("b", 3)])
def test_muon_takes_the_references_steps(name: str, last: int) -> None:
    parameter = nn.Parameter(torch.from_numpy(MUON[f"{name}_0"]))
    matrices, others = ([parameter], []) if parameter.ndim == 2 else ([], [parameter])
    if not others:
        others = [nn.Parameter(torch.zeros(1))]
    found = steps(Muon(matrices, others, **SETTINGS), parameter, [MUON[f"{name}_grad{t + 1}"] for t in range(last)])
    np.testing.assert_allclose(found, MUON[f"{name}_{last}"], rtol=0, atol=1e-6)


def test_adam_atan2_takes_the_references_steps() -> None:
    parameter = nn.Parameter(torch.from_numpy(ATAN2["w_0"]))
    found = steps(AdamAtan2([parameter], **SETTINGS), parameter, [ATAN2[f"grad{t}"] for t in range(1, 5)])
    np.testing.assert_allclose(found, ATAN2["w_4"], rtol=0, atol=1e-6)


def test_orthogonalised_matrices_have_singular_values_of_like_size() -> None:
    torch.manual_seed(0)
    matrix = torch.randn(60, 20) * torch.logspace(0, -2, 20)
    before, after = torch.linalg.svdvals(matrix), torch.linalg.svdvals(orthogonalised(matrix))
    assert before.max() / before.min() > 50
    assert after.min() > 0.4 and after.max() < 2


def test_muon_survives_a_gradient_of_zero_and_then_goes_on_as_if_it_had_not_been() -> None:
    start, gradient = torch.randn(6, 4), torch.randn(6, 4).numpy()
    zero = np.zeros_like(gradient)
    settings = {"lr": 1e-3, "weight_decay": 0.0}

    def after(gradients: list[np.ndarray]) -> Tensor:
        parameter = nn.Parameter(start.clone())
        return steps(Muon([parameter], [nn.Parameter(torch.zeros(1))], **settings), parameter, gradients)

    assert torch.equal(after([zero, zero]), start)
    torch.testing.assert_close(after([zero, gradient]), after([gradient]))


def test_muon_leaves_embeddings_heads_and_vectors_to_adam() -> None:
    model = nn.Module()
    model.core = LoopedTransformer(URMSettings(d_model=32, layers=1, heads=2, loops=2, backprop_loops=1), 9)
    model.heads = nn.Linear(32, 5)
    optimizer = build_optimizer(model, load_config("urm_planner", None, ["optimizer=muon"]))
    names = {parameter: name for name, parameter in model.named_parameters()}
    matrices, others = ({names[p] for p in group["params"]} for group in optimizer.param_groups)
    layer = "core.layers.0."
    projections = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
    assert matrices == {f"{layer}{name}.weight" for name in projections}
    assert others == set(names.values()) - matrices
    set_learning_rate(optimizer, load_config("urm_planner", None, ["lr=0.5"]), 10, 1000)
    assert {group["lr"] for group in optimizer.param_groups} == {0.5}
