"""What a dataset build costs beside merely reading and parsing the same files, what it costs again after 100 new runs,
how much memory the driver takes, and how all of that grows.

python -m benchmarks.dataset                  5,000 and 20,000 archives, some minutes
python -m benchmarks.dataset --sizes 500 2000 on a small machine
python -m benchmarks.dataset --unrecorded     as if no run had recorded its context
"""

import argparse
import itertools
import logging
import math
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from benchmarks.archives import write_repo
from cluster.connect import connect
from planner.artifacts.archives import ARTIFACTS
from planner.dataset.build import build_dataset

PAUSE_S = 3.0
"""Before each measure: what Ray starts and stops after the one before would be counted with the next."""
NEW_RUNS = 100
READ_CHUNK = 4096
"""Archives that merely parsing with Ray Data takes at once."""


def main() -> None:
    """Measure every size and print one row each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dataset", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 20_000], help="numbers of archives")
    parser.add_argument("--cpus", type=int, default=2, help="CPUs given to Ray")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--unrecorded", action="store_true", help="no run recorded its context")
    arguments = parser.parse_args()
    print("archives  parse  by Ray  build  / parse  100 new  / build  MB / 1,000  driver CPU  hash")
    seconds, cpu = [], []
    with connect(num_cpus=arguments.cpus) as ray:
        _start_workers(ray, arguments.cpus)
        with tempfile.TemporaryDirectory(prefix="planner-benchmark-") as directory:
            _measure(Path(directory), 4 * READ_CHUNK, arguments.seed, not arguments.unrecorded)
        for size in arguments.sizes:
            with tempfile.TemporaryDirectory(prefix="planner-benchmark-") as directory:
                row = _measure(Path(directory), size, arguments.seed, not arguments.unrecorded)
            seconds.append(row["build"])
            cpu.append(row["cpu"])
            print(
                f"{size:8d}  {row['parse']:3.1f} s  {row['ray']:4.1f} s  {row['build']:3.1f} s  "
                f"{row['build'] / row['parse']:7.2f}  {row['again']:5.1f} s  {row['again'] / row['build']:7.2f}  "
                f"{1000 * row['megabytes'] / size:10.1f}  {row['cpu']:8.1f} s  {row['hash'][:12]}",
                flush=True,
            )
    print(f"load average over the last minutes: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    for what, values in (("build", seconds), ("driver's CPU", cpu)):
        for (small, fast), (large, slow) in itertools.pairwise(zip(arguments.sizes, values, strict=True)):
            growth = math.log(slow / fast) / math.log(large / small)
            print(f"growth of the {what} from {small} to {large} archives: n^{growth:.2f} (1 is linear)")


def _start_workers(ray: Any, cpus: int) -> None:
    """Have every worker of Ray running, with what the build imports: that is the price of a session, not of a build."""

    @ray.remote
    def start() -> None:
        import ray.data

        import planner.dataset.build

        assert ray.data and planner.dataset.build
        time.sleep(2)

    ray.get([start.remote() for _ in range(cpus)])


def _measure(directory: Path, size: int, seed: int, recorded: bool) -> dict[str, Any]:
    root = directory / "repo"
    write_repo(root, size, seed, recorded)
    os.sync()  # else the operating system writes these files while we measure
    archives = root / ".cyntra" / "archives"
    parse_archives(sorted(archives.iterdir()))  # once unmeasured, so that all three find the files in the page cache
    # The floor is the least that it takes, which any other process may hide.
    parse = min(_timed(lambda: parse_archives(sorted(archives.iterdir())))[0] for _ in range(3))
    ray, _ = _timed(lambda: _parse_with_ray(sorted(archives.iterdir())))
    before, began = _anonymous_bytes(), time.process_time()
    with _PeakMemory() as peak:
        build, info = _timed(lambda: build_dataset(root, directory / "dataset"))
    cpu = time.process_time() - began
    cache, aside = directory / "cache", directory / "aside"
    aside.mkdir()
    new = sorted(archives.iterdir(), key=lambda path: path.name.split("-")[-1])[-NEW_RUNS:]
    for path in new:
        path.rename(aside / path.name)
    build_dataset(root, directory / "dataset", cache=cache)
    for path in new:
        (aside / path.name).rename(path)
    again, same = _timed(lambda: build_dataset(root, directory / "dataset", cache=cache))
    assert same.dataset_hash == info.dataset_hash
    return {
        "parse": parse,
        "ray": ray,
        "build": build,
        "again": again,
        "cpu": cpu,
        "megabytes": (peak.bytes - before) / 1e6,
        "hash": info.dataset_hash,
    }


class _PeakMemory:
    """The most anonymous memory of this process during a block: what is mapped from files can be had again."""

    def __init__(self) -> None:
        self.bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "_PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self.bytes = max(self.bytes, _anonymous_bytes())


def _anonymous_bytes() -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return 1024 * int(line.split()[1])


def parse_archives(directories: Sequence[Path]) -> int:
    """Read and parse the three files of every directory, and nothing else; returns how many there were."""
    parsed = 0
    for directory in directories:
        for name in ARTIFACTS:
            try:
                orjson.loads((directory / name).read_bytes())
            except FileNotFoundError:
                continue
            parsed += 1
    return parsed


def _parse_with_ray(directories: Sequence[Path]) -> int:
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    settings = ray.data.DataContext.get_current()
    settings.enable_progress_bars = False
    settings.op_resource_reservation_enabled = False
    paths = [str(path) for path in directories]
    chunks = [{"paths": paths[start : start + READ_CHUNK]} for start in range(0, len(paths), READ_CHUNK)]
    data = ray.data.from_items(chunks, override_num_blocks=len(chunks)).map_batches(_parse_chunk, batch_size=1)
    return sum(row["parsed"] for row in data.iter_rows())


def _parse_chunk(batch: dict[str, Any]) -> dict[str, Any]:
    return {"parsed": [parse_archives([Path(path) for path in batch["paths"][0]])]}


def _timed(function: Callable[[], Any]) -> tuple[float, Any]:
    time.sleep(PAUSE_S)
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
