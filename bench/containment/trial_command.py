"""A command run for nothing but to see whether it works here: how bubblewrap and pasta are tried."""

import os
import subprocess
from collections.abc import Sequence

LIMIT_S = 20.0


def what_goes_wrong(command: Sequence[str]) -> str | None:
    """What a command says when it fails, in one line; None when it ends well within LIMIT_S."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=LIMIT_S,
            env={"PATH": os.defpath},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    return " ".join(done.stderr.decode(errors="replace").split()) or f"it ended with {done.returncode}"
