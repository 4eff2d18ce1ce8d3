"""How many more examples per second two workers train on than one does, through Ray Train, one thread each.

    python -m benchmarks.ddp

The URM of benchmarks.training in the same global batches of half the default size: of every 32 examples two workers
take 16 each, as with `planner train --workers 2`. What is compared is the speed that a training gives to its trackers,
of each epoch but the first: one pass over train, without the start of Ray and its workers, validation and checkpoints.
Before it, how many more matrix products two processes do that exchange nothing: cores share memory and clock, so that
is the floor.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch

from benchmarks.archives import make_dataset
from benchmarks.training import SIZE
from cluster.connect import connect
from planner.config import load_config
from planner.training.driver import train_with_ray
from planner.training.loop import start_run
from planner.training.trackers import RunStart

ARCHIVES, BATCH = 43, 32
"""Such that train is one batch, and full."""
SPEEDS = "speeds.txt"
PRODUCTS_S = 5.0


class Speeds:
    """Tracker: writes every epoch's examples per second, a line each, into the run's directory."""

    def run_starts(self, start: RunStart) -> None:
        """Know the file."""
        self._file = start.run / SPEEDS

    def epoch(self, epoch: int, metrics: Mapping[str, float], is_best: bool) -> None:
        """One line."""
        with self._file.open("a") as file:
            file.write(f"{metrics['examples_per_second']}\n")

    def run_ends(self, finished: bool) -> None:
        """Nothing is left to write."""


def main() -> None:
    """Train with one worker, then with two, and print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ddp", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=4, help="of each training; the first is not counted")
    epochs: int = parser.parse_args().epochs
    alone, beside = (products_per_second(processes) for processes in (1, 2))
    print(f"two processes that exchange nothing do {beside / alone:.2f} times as many matrix products as one")
    best, middle = [], []
    with tempfile.TemporaryDirectory(prefix="planner-benchmark-") as name, connect(num_cpus=2):
        directory = Path(name)
        n = len(make_dataset(directory, ARCHIVES).splits["train"])
        print(f"{n} examples, batches of {BATCH}  examples per second min/median/max  whole training s")
        for workers in (1, 2):
            began = time.perf_counter()
            speeds = examples_per_second(directory / f"run-{workers}", directory / "dataset", workers, epochs)
            whole = time.perf_counter() - began
            best.append(max(speeds))
            middle.append(median(speeds))
            spread = f"{min(speeds):.2f} / {middle[-1]:.2f} / {best[-1]:.2f}"
            print(f"{workers} worker{'s' if workers > 1 else ' '} {spread:>51}  {whole:16.1f}", flush=True)
    print(
        f"two workers train on {best[1] / best[0]:.2f} times as many examples per second as one by the best epochs, "
        f"on {middle[1] / middle[0]:.2f} times as many by the medians"
    )
    print(f"load average over the last minutes: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


def products_per_second(processes: int) -> float:
    """Of so many processes side by side, one thread each, all together."""
    threads = {"initializer": torch.set_num_threads, "initargs": (1,)}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), **threads) as pool:
        list(pool.map(time.sleep, [1.0] * processes))  # until all have started
        return sum(pool.map(_multiply, [PRODUCTS_S] * processes))


def _multiply(seconds: float) -> float:
    left, right = torch.randn(1536, 256), torch.randn(256, 1024)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for _ in range(20):
            left @ right
        done += 20
    return done / (time.perf_counter() - began)


def examples_per_second(run: Path, dataset: Path, workers: int, epochs: int) -> list[float]:
    """Of every epoch but the first of a new run in the directory ``run``."""
    settings = [*SIZE, f"batch_size={BATCH}", f"epochs={epochs}", f"patience={epochs}"]
    config = load_config("urm_planner", None, settings)
    start_run(run, config, dataset, init_from=None, workers=workers, resume=False)
    train_with_ray(run, workers=workers, track=["benchmarks.ddp:Speeds"])
    return [float(line) for line in (run / SPEEDS).read_text().split()][1:]


if __name__ == "__main__":
    main()
