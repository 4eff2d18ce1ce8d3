"""What a training step of the URM costs beside its matrix products, and what batches of like lengths save.

python -m benchmarks.training            d 256, 4 layers, M 8, K 4, batches of 8, some minutes
python -m benchmarks.training --steps 1  the same, quickly

The floor is FLOPs over the rate of single-threaded products of the same shapes, measured in the same process: M passes
forward, and K of them twice more, backward. Embedding, norms, softmax, the head and the optimizer are not in it.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.archives import make_dataset
from benchmarks.products import forward_products, timed
from planner.config import TrainConfig, load_config
from planner.dataset.storage import Dataset, inputs_of_split
from planner.models.base import NeuralPolicy
from planner.runs.batches import batch_positions, batcher_for
from planner.training.hardware import autocast, blocks_to_compile, has_bf16_units
from planner.training.learner import loss_on, model_for
from planner.training.optimizers import build_optimizer

ARCHIVES, BATCH, TOKENS = 400, 8, 512
SIZE = ("model.d_model=256", "model.layers=4", "model.heads=8", "model.loops=8", "model.backprop_loops=4")
CPU = torch.device("cpu")
Batch = Mapping[str, Tensor]


def main() -> None:
    """Measure a step in each way, then an epoch by length and padded."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--steps", type=int, default=2, help="steps measured of each kind")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="planner-benchmark-") as name:
        directory = Path(name)
        dataset = make_dataset(directory, ARCHIVES)
        print(f"step of {BATCH} x {TOKENS} tokens      GFLOP  matmul GFLOP/s  floor s  CPU s min  floor / CPU")
        for label, settings in _kinds():
            print(_step_row(label, dataset, settings, arguments.steps), flush=True)
        print(_lengths(dataset))
    print(f"load average over the last minutes: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


def _kinds() -> Iterator[tuple[str, tuple[str, ...]]]:
    yield "convswiglu, fp32", ()
    yield "swiglu, fp32", ("model.mlp=swiglu",)
    yield "convswiglu, fp32, compiled", ("compile=true",)
    if has_bf16_units(CPU):
        yield "convswiglu, bf16", ("precision=bf16",)


def _step_row(label: str, dataset: Dataset, overrides: tuple[str, ...], steps: int) -> str:
    config = load_config("urm_planner", None, [*SIZE, f"model.seq_len={TOKENS}", *overrides])
    model, step = _trainer(dataset, config)
    positions = np.arange(BATCH)
    batcher = batcher_for(model, inputs_of_split(dataset.splits["train"]), config.n_similar, CPU)
    batch = _padded(batcher.batch(positions))
    batch["attention_mask"][:] = True
    seconds = min(timed(partial(step, batch, positions), steps).cpu) / 1000
    settings = model.settings.model_dump()
    flops, floor = forward_products(settings, TOKENS, BATCH)
    passes = settings["loops"] + 2 * settings["backprop_loops"]
    return (
        f"{label:26}  {passes * flops / 1e9:7.0f}  {flops / floor / 1e9:14.0f}  {passes * floor:7.2f}  {seconds:9.2f}  "
        f"{passes * floor / seconds:11.2f}"
    )


def _lengths(dataset: Dataset) -> str:
    """Examples per second of CPU over train, in batches of like lengths as training makes them, and padded to 512."""
    config = load_config("urm_planner", None, [*SIZE, f"model.seq_len={TOKENS}"])
    model, step = _trainer(dataset, config)
    batcher = batcher_for(model, inputs_of_split(dataset.splits["train"]), config.n_similar, CPU)
    assert batcher.lengths is not None
    n = min(8 * BATCH, len(batcher.lengths))
    batches = list(batch_positions(n, BATCH, 0, 0, batcher.lengths[:n]))
    rates = []
    for prepare in (lambda batch: batch, _padded):
        step(prepare(batcher.batch(batches[0])), batches[0])  # the first step takes new memory
        began = time.thread_time()
        for rows in batches:
            step(prepare(batcher.batch(rows)), rows)
        rates.append(n / (time.thread_time() - began))
    return (
        f"lengths {int(batcher.lengths[:n].min())} to {int(batcher.lengths[:n].max())}, mean "
        f"{batcher.lengths[:n].mean():.0f}: {rates[0]:.2f} examples per second of CPU in batches of like lengths, "
        f"{rates[1]:.2f} padded to {TOKENS}: {rates[0] / rates[1]:.2f} times as many"
    )


def _trainer(dataset: Dataset, config: TrainConfig) -> tuple[NeuralPolicy, Callable[[Batch, NDArray[np.int64]], None]]:
    """An untrained model, and what takes one step with it."""
    torch.manual_seed(0)
    model = model_for(dataset, config)
    loss, optimizer = loss_on(dataset, model, config, CPU), build_optimizer(model, config)
    for block in blocks_to_compile(model, config):
        block.compile(dynamic=True)

    def step(batch: Batch, positions: NDArray[np.int64]) -> None:
        with autocast(config.precision, CPU):
            prediction = model(batch)
        optimizer.zero_grad()
        loss(prediction, positions).mean().backward()
        optimizer.step()

    return model, step


def _padded(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    missing = TOKENS - batch["input_ids"].shape[1]
    return {
        **batch,
        "input_ids": F.pad(batch["input_ids"], (0, missing)),
        "attention_mask": F.pad(batch["attention_mask"], (0, missing)),
    }


if __name__ == "__main__":
    main()
