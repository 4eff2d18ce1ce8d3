"""Two ways to find out whether a candidate passes a gate: the gate itself, and a quick check in this process."""

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

GATE_LIMIT_SECONDS = 10.0
CANDIDATE_SECONDS = "0.25"


def gate_environment() -> dict[str, str]:
    """The environment for gates: no bytecode is left behind, and a check that hangs gives up soon."""
    return {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "CHECK_SECONDS": CANDIDATE_SECONDS}


def run_gate(command: str, directory: Path) -> tuple[bool, str]:
    """Run a gate's shell command; (passed, what it printed)."""
    try:
        done = subprocess.run(
            command,
            shell=True,
            cwd=directory,
            env=gate_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GATE_LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return False, ""
    return done.returncode == 0, done.stdout + done.stderr


class FunctionEvaluator:
    """Runs the gate's script in this process against the module with the function that changed compiled anew."""

    def __init__(self, directory: Path, file: str, function: str, command: str) -> None:
        script = re.search(r"(\S+\.py)\b", command)
        if script is None:
            raise ValueError(f"the gate {command!r} runs no Python script")
        path = directory / script.group(1)
        self._module_name = file.removesuffix(".py").replace("/", ".")
        self._file = directory / file
        self._script = compile(path.read_text(encoding="utf-8"), str(path), "exec")
        os.environ["CHECK_SECONDS"] = CANDIDATE_SECONDS
        sys.path[:0] = [str(path.parent), str(directory)]
        text = self._file.read_text(encoding="utf-8")
        self._module = ModuleType(self._module_name)
        exec(compile(text, str(self._file), "exec"), self._module.__dict__)
        code = self._module.__dict__[function].__code__
        # An edit never changes the number of lines, so the function keeps its place.
        self._first = code.co_firstlineno - 1

    def passes(self, source: str) -> bool:
        """Whether the script ends well with the changed function in the module."""
        return _ends_well(lambda: self._run(source))

    def _run(self, source: str) -> None:
        exec(compile(self._function_text(source), str(self._file), "exec"), self._module.__dict__)
        sys.modules[self._module_name] = self._module
        exec(self._script, {"__name__": "__main__"})

    def _function_text(self, source: str) -> str:
        lines = source.split("\n")
        end = self._first + 1
        while end < len(lines) and (not lines[end] or lines[end][0] in " )"):
            end += 1
        return "\n".join(lines[self._first : end])


def _ends_well(work: Callable[[], None]) -> bool:
    """Whether candidate code returns or exits with 0; whatever else it raises is its own bug."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            work()
        except SystemExit as stop:
            return stop.code in (None, 0)
        except KeyboardInterrupt:
            raise
        except BaseException:
            # An alarm of the check may arrive a moment too late to be caught there.
            return False
    return True
