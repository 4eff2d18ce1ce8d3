"""Where a repo keeps datasets, runs and its bundle if a command names no other place; and how commands take them."""

from pathlib import Path
from typing import Annotated

import typer

from planner.errors import CheckpointError
from planner.places import OR_URI, Place

DATASET = Path(".cyntra/planner/dataset")
RUNS = Path(".cyntra/planner/runs")
BUNDLE = Path(".cyntra/planner/bundle")

DatasetPlace = Annotated[str, typer.Argument(help="Directory of a dataset.", metavar=f"DATASET{OR_URI}")]
RunPlace = Annotated[
    str | None, typer.Argument(help="Trained run. [default: the latest]", metavar=f"RUN{OR_URI}", show_default=False)
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Start anew: what an earlier command left unfinished there is removed.")
]
Resume = Annotated[bool, typer.Option("--resume", hidden=True)]
"""What earlier programs had to be given to go on."""
BundlePlace = Annotated[str, typer.Argument(help="Directory of a bundle.", metavar=f"BUNDLE{OR_URI}")]


def beside(dataset: Place) -> Path:
    """Where results on a dataset go: the directory it lies in, or this repo's for one at a URI."""
    return (dataset if isinstance(dataset, Path) else DATASET).parent


def new_run(arch: str) -> Path:
    """A place that no run has yet."""
    number = 1
    while (RUNS / f"{arch}-{number}").exists():
        number += 1
    return RUNS / f"{arch}-{number}"


def latest_run() -> Path:
    """The run that began last; CheckpointError when there is none."""
    runs = sorted(RUNS.glob("*/run.json"), key=lambda path: path.stat().st_mtime_ns)
    if not runs:
        raise CheckpointError(f"{RUNS}: no run there; name one, or start one with `planner train`")
    return runs[-1].parent


def named(runs: list[Path]) -> dict[str, Path]:
    """Runs by name, or by path where two have the same name."""
    names = [run.resolve().name for run in runs]
    return {name if names.count(name) == 1 else str(run): run for name, run in zip(names, runs, strict=True)}
