"""Where the `planner` command begins, also as `python -m planner`: Ctrl-C is heeded before all else is imported."""

import os
import signal
from types import FrameType

from planner.errors import INTERRUPTED_EXIT_CODE


def _leave(number: int, frame: FrameType | None) -> None:
    # Nothing has begun: an exception here would surface in the middle of somebody's import.
    os._exit(INTERRUPTED_EXIT_CODE)


# A command in the background of a script has Ctrl-C ignored, and keeps that.
_HEEDED = signal.getsignal(signal.SIGINT) is signal.default_int_handler
if _HEEDED:
    signal.signal(signal.SIGINT, _leave)


def main() -> None:
    """Import the command line and run it, which answers Ctrl-C by itself from then on."""
    try:
        from planner.cli import main as run

        if _HEEDED:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        os._exit(INTERRUPTED_EXIT_CODE)


if __name__ == "__main__":
    main()
