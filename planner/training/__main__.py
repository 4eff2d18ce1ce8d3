"""The same loop without Ray Train: torchrun --nproc-per-node 1 -m planner.training DATASET --out RUN.

Also: python -m planner.training DATASET --out RUN --set epochs=2
"""

import argparse
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from planner.config import load_config
from planner.errors import PlannerError
from planner.training.loop import start_run, train


def main() -> int:
    """Train one run in this process, as one of torchrun's workers or alone; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m planner.training", description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="directory of the run")
    parser.add_argument("--arch", default="mlp_planner", help="architecture, or the path of its YAML")
    parser.add_argument("--config", type=Path, help="YAML of settings, for instance from `planner tune`")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one setting")
    parser.add_argument("--init-from", type=Path, help="run or checkpoint whose weights to start from")
    parser.add_argument("--fresh", action="store_true", help="remove the run in --out and start anew")
    parser.add_argument("--resume", action="store_true", help=argparse.SUPPRESS)  # of earlier programs
    parser.add_argument("--gpu", action="store_true", help="one GPU per process, nccl")
    arguments = parser.parse_args()
    world = int(os.environ.get("WORLD_SIZE", "1"))
    try:
        config = load_config(arguments.arch, arguments.config, arguments.set)
        if world > 1:
            if arguments.gpu:
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            dist.init_process_group("nccl" if arguments.gpu else "gloo")
        if not dist.is_initialized() or dist.get_rank() == 0:
            start_run(
                arguments.out,
                config,
                arguments.dataset,
                init_from=arguments.init_from,
                workers=world,
                resume=True,
                # Started again by torchrun (--max-restarts), it goes on with what it began.
                fresh=arguments.fresh and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0",
                gpu=arguments.gpu,
            )
        if world > 1:
            dist.barrier()
        state = train(arguments.out, gpu=arguments.gpu)
    except PlannerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    if int(os.environ.get("RANK", "0")) == 0:
        print(f"best epoch {state.best_epoch}, validation {state.selected_by} {state.best_metric}: {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
