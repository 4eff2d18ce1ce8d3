"""What a result was made with."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def tool_versions(*others: str) -> dict[str, str]:
    """The versions that produced a result, also of ``others``; of packages that are not here, none."""
    versions = {"python": platform.python_version()}
    for package in ("cyntra-planner", "numpy", "orjson", "pyarrow", "ray", "torch", *others):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def own_commit() -> str | None:
    """The commit of the planner's own source; None when it does not lie in a git repository."""
    here = Path(__file__).parent
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
