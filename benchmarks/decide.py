"""How long a warm decision takes on one core, beside the time that its matrix products alone would take there.

python -m benchmarks.decide           tiny at ~200 tokens, then d 256, 4 layers, 8 loops at 128, 256 and 512 tokens
python -m benchmarks.decide --runs 5  the same, quickly

Weights are random: they do not change the time. The floor is FLOPs over the rate of single-threaded products of the
same shapes, measured in the same process.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import orjson
import torch
from safetensors.torch import save_file

from benchmarks.archives import make_dataset
from benchmarks.products import forward_products, timed
from planner.bundle import Bundle
from planner.config import load_config
from planner.dataset.storage import Dataset
from planner.decision import decide
from planner.export.bundle import bundle_metadata, write_bundle
from planner.models.base import ModelSpec
from planner.models.load import build_model
from planner.runs.checkpoint import PolicyDocument
from planner.runs.learned import LearnedPolicy

ARCHIVES, EXTRA_TAGS = 400, 100


class Size(NamedTuple):
    """A policy's size, and how many tokens of its context it reads."""

    name: str
    overrides: Sequence[str]
    tokens: int


LARGE = ("model.d_model=256", "model.layers=4", "model.heads=8", "model.loops=8", "model.backprop_loops=4")
SIZES = (Size("tiny", (), 200), *(Size("d256 L4 M8", LARGE, tokens) for tokens in (128, 256, 512)))


def main() -> None:
    """Measure every size and print one row each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decide", description=__doc__)
    parser.add_argument("--runs", type=int, default=50, help="decisions measured of each size")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="planner-benchmark-") as name:
        directory = Path(name)
        dataset = make_dataset(directory, ARCHIVES)
        print("policy      tokens  GFLOP  matmul GFLOP/s  floor ms  decide ms min/median/max  CPU ms min  CPU / floor")
        for number, size in enumerate(SIZES):
            print(_row(size, dataset, directory / f"checkpoint-{number}", arguments.runs), flush=True)
    print(f"load average over the last minutes: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


def _row(size: Size, dataset: Dataset, checkpoint: Path, runs: int) -> str:
    bundle = _bundle(size, dataset, checkpoint)
    context = max(dataset.splits["test"].contexts(), key=lambda context: len(orjson.dumps(context)))
    context["issue"]["tags"] = [f"tag-{number}" for number in range(EXTRA_TAGS)]  # else the longest has some 480 tokens
    found = bundle.feeds(context)["input_ids"].shape[1]
    if found != size.tokens:
        raise SystemExit(f"the longest context has {found} tokens, {size.tokens} are needed: raise EXTRA_TAGS")
    times = timed(lambda: decide(context, bundle), runs)
    model = bundle.metadata["model"]
    flops, seconds = (model["loops"] * figure for figure in forward_products(model, size.tokens))
    floor = 1000 * seconds
    median = sorted(times.wall)[len(times.wall) // 2]
    return (
        f"{size.name:10}  {size.tokens:6d}  {flops / 1e9:5.2f}  {flops / seconds / 1e9:14.0f}  {floor:8.1f}  "
        f"{f'{min(times.wall):.1f} / {median:.1f} / {max(times.wall):.1f}':>24}  {min(times.cpu):10.1f}  "
        f"{min(times.cpu) / floor:11.2f}"
    )


def _bundle(size: Size, dataset: Dataset, checkpoint: Path) -> Bundle:
    """A bundle of random weights that reads exactly ``size.tokens`` of a long context."""
    seen = [f"model.seq_len={size.tokens}", "n_similar=16"]
    config = load_config("urm_planner", None, [*size.overrides, *seen])
    torch.manual_seed(0)
    model = build_model(config.class_path, config.model, ModelSpec.of(dataset.info))
    checkpoint.mkdir()
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, checkpoint / "model.safetensors"
    )
    (checkpoint / "policy.json").write_bytes(orjson.dumps(PolicyDocument.of(config, dataset.info).model_dump()))
    policy = LearnedPolicy(checkpoint)
    directory = checkpoint.with_name(f"{checkpoint.name}-bundle")
    directory.mkdir()
    metadata = bundle_metadata(policy)
    write_bundle(policy, directory, {**metadata, "model": policy.model.settings.model_dump()})
    return Bundle(directory)


if __name__ == "__main__":
    main()
