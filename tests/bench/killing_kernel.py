"""A kernel that kills the `planner run` which started it: ``killing_kernel.py before|after KERNEL...``.

Before the kernel does its work, or after it has done it. The journal says who started it.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path


def kill_starter() -> None:
    """SIGKILL, as the machine does it, of the command whose decision was journalled last; nobody comes back."""
    lines = Path(".cyntra/planner/run/journal.jsonl").read_text().splitlines()
    os.kill(json.loads(lines[-1])["pid"], signal.SIGKILL)
    signal.pause()


if __name__ == "__main__":
    if sys.argv[1] == "before":
        kill_starter()
    subprocess.call(sys.argv[2:])
    kill_starter()
