"""What `planner dataset build` takes on a few archives beside merely starting and stopping Ray, whole processes both.

    python -m benchmarks.small_commands

By turns, each repetition on a repo and with a cache of its own: CPU time with that of all processes that were started,
detached ones included, and wall time. Ray is started as it comes, with its dashboard and a worker per core.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.archives import write_repo
from benchmarks.bench import PR_SET_CHILD_SUBREAPER, children_cpu, reap_all

RAY = "import ray; ray.init(address='local'); ray.shutdown()"
"""Never a Ray that happens to run on this machine."""


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.small_commands",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--archives", type=int, default=40)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    planner = str(Path(sys.executable).with_name("planner"))
    kinds = {"ray": "Ray's start and stop", "build": f"dataset build, {options.archives} runs"}
    taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for number in range(1 + options.repetitions):
        with tempfile.TemporaryDirectory(prefix="planner-benchmark-") as name:
            repo = Path(name) / "repo"
            write_repo(repo, options.archives)
            commands = {"ray": [sys.executable, "-c", RAY], "build": [planner, "dataset", "build", str(repo)]}
            figures = {kind: seconds(command, Path(name) / "cache") for kind, command in commands.items()}
        for kind in kinds if number else ():  # the first repetition brings files into memory
            taken[kind].append(figures[kind])
    print(f"{options.repetitions} of each, by turns       CPU s least/median  wall s least/median")
    rows = {label: summary(taken[kind]) for kind, label in kinds.items()}
    rows["build / Ray"] = [build / ray for ray, build in zip(*rows.values(), strict=True)]
    for label, (cpu, middle_cpu, wall, middle_wall) in rows.items():
        print(f"{label:28}  {cpu:9.2f} / {middle_cpu:5.2f}  {wall:11.2f} / {middle_wall:5.2f}")
    print(f"load average over the last minutes: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


def summary(taken: list[tuple[float, float]]) -> list[float]:
    """Least and median of CPU time, then of wall time."""
    return [what(column) for column in zip(*taken, strict=True) for what in (min, median)]


def seconds(command: list[str], cache: Path) -> tuple[float, float]:
    """CPU time of a process and all that it starts, and wall time until it ends."""
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    before, began = children_cpu(), time.monotonic()
    subprocess.run(
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**environment, "XDG_CACHE_HOME": str(cache)},
    )
    wall = time.monotonic() - began
    reap_all()
    return children_cpu() - before, wall


if __name__ == "__main__":
    main()
