"""Checks what is in a wheel: all that the program needs at run time, and nothing that only the checkout needs."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("planner", "bench", "tune", "cluster", "schemas")
UNWANTED = ("tests/", "benchmarks/", "docs/", ".ci/", "build/")


def main() -> None:
    """Exit with the list of what is missing or too much in the wheel that the first argument names."""
    names = set(zipfile.ZipFile(sys.argv[1]).namelist())
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    # What is in the packages' folders for people alone.
    wanted = {name for name in tracked.stdout.splitlines() if (ROOT / name).exists() and not name.endswith("README.md")}
    trouble = [f"missing: {name}" for name in sorted(wanted - names)]
    trouble += [f"too much: {name}" for name in sorted(names) if name.startswith(UNWANTED) or name.endswith(".pyc")]
    for ending in (".dist-info/licenses/LICENSE", ".dist-info/entry_points.txt"):
        if not any(name.endswith(ending) for name in names):
            trouble.append(f"missing: {ending}")
    for name in ("planner/py.typed", "planner/configs/arch/mlp_planner.yaml", "schemas/planner_input.v1.json"):
        if name not in names:
            trouble.append(f"missing: {name}")
    for folder in ("bench/testbeds/sandbox/library/", "bench/testbeds/sandbox/template/"):
        if not any(name.startswith(folder) and name.endswith(".txt") for name in names):
            trouble.append(f"missing: {folder}*.txt")
    if trouble:
        sys.exit("\n".join([f"error: {Path(sys.argv[1]).name}", *trouble]))
    print(f"{Path(sys.argv[1]).name}: {len(names)} files, as they should be")


if __name__ == "__main__":
    main()
