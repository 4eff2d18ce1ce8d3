"""One thing that is tried on this machine, and what was found."""

import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from planner.errors import PlannerError

PROBE_LIMIT_S = 10.0
"""How long a probe may take."""


@dataclass(frozen=True)
class Check:
    """One thing that was tried. ``ok`` None = for information only; ``remedy`` is empty when nothing is to be done."""

    name: str
    ok: bool | None
    finding: str
    remedy: str = ""

    @property
    def line(self) -> str:
        """The check as one line of text."""
        mark = {True: "ok  ", False: "FAIL", None: "note"}[self.ok]
        text = " ".join(f"{mark}  {self.name}: {self.finding}".split("\n"))
        return f"{text} -> {self.remedy}" if self.remedy and self.ok is not True else text


def attempt(name: str, remedy: str, probe: Callable[[], str]) -> Check:
    """A check that is passed unless ``probe`` raises; what it returns is the finding."""
    try:
        return Check(name, True, probe())
    except subprocess.TimeoutExpired:
        return Check(name, False, f"no answer within {PROBE_LIMIT_S:.0f} s", remedy)
    except subprocess.CalledProcessError as error:
        return Check(name, False, str(error.stderr or error).strip(), remedy)
    except (PlannerError, OSError, sqlite3.Error) as error:
        return Check(name, False, str(error), remedy)
