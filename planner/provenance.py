"""What a result was made with."""

import platform
from importlib.metadata import PackageNotFoundError, version


def tool_versions() -> dict[str, str]:
    """The versions that produced a result."""
    versions = {"python": platform.python_version()}
    for package in ("cyntra-planner", "numpy", "orjson", "pyarrow", "ray", "torch"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
