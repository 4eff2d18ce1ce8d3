"""Fuzz one part for a while; the first finding ends it, and is written where it can join the corpus.

python -m tests.fuzz --seconds 60 decide|readers|ledger [--seed N]
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import decide, ledger, readers

PARTS = {"decide": decide.attempt, "readers": readers.attempt, "ledger": ledger.attempt}


def fuzz(part: str, seconds: float, seed: int, directory: Path) -> int:
    """Attempts made in that time; AssertionError, with the input in its text, at the first that finds something."""
    draw, done, deadline = random.Random(seed), 0, time.monotonic() + seconds
    while time.monotonic() < deadline:
        PARTS[part](draw, directory)
        done += 1
    return done


def main() -> None:
    """Run the command line; 1 after a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as directory:
        try:
            done = fuzz(options.part, options.seconds, options.seed, Path(directory))
        except AssertionError as finding:
            path = Path(f"fuzz-{options.part}-{options.seed}.txt").absolute()
            path.write_text(str(finding))
            sys.exit(f"found something: {path}: mend it, and add its input to tests/fuzz/corpus/{options.part}")
    print(f"{options.part}: {done} attempts, nothing found")


if __name__ == "__main__":
    main()
