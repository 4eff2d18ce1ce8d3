"""A stand-in kernel that is kept for one run after another: to start it takes as much computing as a quick run itself.

The process is ``python -m bench.testbeds.sandbox.kept_kernel``. It reads lines of JSON, each the arguments of one
command line, and answers each with a line ``[exit code, what went to stderr]``. The end of its input is its own.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence

from bench.testbeds.sandbox import kernel


class KeptKernel:
    """The process, from the side of whoever gives it runs, one at a time."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.testbeds.sandbox.kept_kernel"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def run(self, arguments: Sequence[str]) -> tuple[int, str]:
        """The exit code of one command line, and what it wrote to stderr."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(list(arguments)).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = b""
        if not answer:
            return self._process.wait(), "the kernel was killed"
        code, errors = json.loads(answer)
        return code, errors

    def close(self) -> None:
        """Let it end."""
        self._process.communicate()


def main() -> None:
    """Run one command line after another."""
    # Neither is for the kernel and its tools, which must not take a command or answer one.
    commands, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    for line in commands:
        answers.write(json.dumps(_run(json.loads(line))).encode() + b"\n")
        answers.flush()


def _run(arguments: Sequence[str]) -> tuple[int, str]:
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        try:
            code = kernel.main(list(arguments))
        except SystemExit as stop:
            code = int(stop.code or 0)
        except Exception:
            # As from a process of its own: the next run is none the worse.
            traceback.print_exc()
            code = 1
    return code, errors.getvalue()


if __name__ == "__main__":
    main()
