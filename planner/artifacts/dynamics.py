"""The kernel's dynamics report, by which its controller widens or narrows speculation."""

from pathlib import Path
from typing import Any

import orjson

from planner.artifacts.files import open_regular
from planner.errors import ContractError

MAX_REPORT_BYTES = 64 * 2**20


def read_dynamics(kernel_dir: Path) -> dict[str, Any] | None:
    """The report in ``kernel_dir``; None when there is none that can be read, which to Cyntra is the same."""
    try:
        with open_regular(kernel_dir / "dynamics" / "dynamics_report.json", MAX_REPORT_BYTES) as file:
            report = orjson.loads(file.read())
    except (OSError, ContractError, orjson.JSONDecodeError):
        return None
    return report if isinstance(report, dict) else None
