"""Runs as most tests need them: trained for an epoch, on any dataset."""

from pathlib import Path

from planner.config import load_config
from planner.training.loop import start_run, train


def trained(dataset: Path, run: Path, *settings: str, arch: str = "mlp_planner", init_from: Path | None = None) -> Path:
    """The directory ``run`` after an epoch of training, or after as many as ``settings`` ask for."""
    config = load_config(arch, None, ["epochs=1", *settings])
    start_run(run, config, dataset, init_from=init_from, workers=1, resume=False)
    train(run)
    return run
