"""A kernel that kills the `planner run` which started it, before it does its work or after: ``killing_kernel.py MOMENT``.

The rest of the command line is the sandbox's kernel's. The journal says who started it.
"""

import json
import os
import signal
import sys
from pathlib import Path

from bench.testbeds.sandbox.kernel import main


def kill_starter() -> None:
    """SIGKILL, as the machine does it, of the command whose decision was journalled last."""
    lines = Path(".cyntra/planner/run/journal.jsonl").read_text().splitlines()
    os.kill(json.loads(lines[-1])["pid"], signal.SIGKILL)


if __name__ == "__main__":
    moment, *arguments = sys.argv[1:]
    if moment == "before":
        kill_starter()
        signal.pause()
    code = main(arguments)
    kill_starter()
    signal.pause()
    sys.exit(code)
