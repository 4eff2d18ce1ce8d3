"""How long the whole loop takes on the sandbox: `planner quickstart` in an empty directory, as its own process.

python -m benchmarks.quickstart
python -m benchmarks.quickstart --issues 14 --k 2   a small loop
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quickstart",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments, more = parser.parse_known_args()  # what is left is the command's own
    planner = str(Path(sys.executable).with_name("planner"))
    with tempfile.TemporaryDirectory(prefix="planner-benchmark-") as name:
        directory = Path(name) / "loop"
        began = time.monotonic()
        command = [planner, "quickstart", str(directory), "--seed", str(arguments.seed), *more]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall = time.monotonic() - began
        report = orjson.loads((directory / "results.json").read_bytes())
    print(f"seed {arguments.seed}: {wall:.0f} s, judged on {report['held_out_cases']} held-out cases")
    print(f"load average over the last minutes: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
