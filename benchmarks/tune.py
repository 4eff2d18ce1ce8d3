"""What a trial of `planner tune` takes beyond its training, once Ray and its worker are warm.

    python -m benchmarks.tune --trials 10

A search of short trials, one at a time, and then the same trainings one after another in this process. What is left of
the time from the end of a trial to that of the next one is asking, reporting and recording.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import fmean

from benchmarks.archives import make_dataset
from cluster.connect import connect
from planner.dataset.storage import Dataset
from planner.training.loop import start_run, train
from tune.search import run_search
from tune.space import apply_settings, base_config
from tune.study import SearchProgress, TrialRecord

ARCHIVES, ARCH, EPOCHS = 200, "mlp_planner", 2


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune", description=__doc__)
    parser.add_argument("--trials", type=int, default=10)
    trials: int = parser.parse_args().trials
    with tempfile.TemporaryDirectory(prefix="planner-benchmark-") as name:
        directory = Path(name)
        dataset = make_dataset(directory, ARCHIVES)
        ends: list[float] = []

        def note(state: SearchProgress) -> None:
            if state.ended > len(ends):
                ends.append(time.monotonic())

        with connect(num_cpus=1):
            result = run_search(
                directory / "dataset",
                directory / "search",
                trials=trials,
                epochs=EPOCHS,
                max_concurrent=1,
                progress=note,
            )
        records = sorted(result.trials, key=lambda record: record.number)
        # The first trial starts the worker there, and is the warm-up here.
        alone = [_training_s(directory, dataset, record) for record in records][1:]
    searched = (ends[-1] - ends[0]) / (len(ends) - 1)
    print(
        f"{trials} trials of {EPOCHS} epochs: {searched:.2f} s from end to end, of which {fmean(alone):.2f} s training"
    )
    print(f"beyond its training a trial takes {searched - fmean(alone):.2f} s")
    print(f"load average over the last minutes: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


def _training_s(directory: Path, dataset: Dataset, record: TrialRecord) -> float:
    """Seconds that the training of a trial takes by itself."""
    config = apply_settings(base_config(ARCH, EPOCHS, 0), record.settings)
    run = directory / "alone" / f"{record.number:03d}"
    began = time.monotonic()
    start_run(run, config, directory / "dataset", init_from=None, workers=1, resume=False, opened=dataset)
    train(run, opened=dataset)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
