"""Writes constraints.txt: the newest versions that install together, with the date of the day (`make constraints`).

pip resolves everything that the extras ask for in one go and installs nothing. torch is named first, at its pinned
build: an answer that would bring CUDA packages is refused.
"""

import datetime
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "constraints.txt"
MORE = ("cloudpickle", "py-spy")
"""Not asked for by name: cloudpickle is inside Ray and is met by pickles of the bench's executors; py-spy looks at a
hanging process."""
CUDA = ("nvidia-", "cuda-", "triton")


def main() -> None:
    """Resolve and write; ends with an error, and the old file untouched, when the answer has CUDA packages in it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    torch = next(line for line in project["optional-dependencies"]["train"] if line.startswith("torch=="))
    versions = resolve([torch, f"{ROOT}[dev,docs]", *MORE])
    versions.pop(project["name"], None)
    unwanted = sorted(name for name in versions if name.startswith(CUDA))
    if unwanted:
        sys.exit(f"error: {torch} would bring {', '.join(unwanted)}: name a release that has a CPU build on your index")
    today = datetime.datetime.now(datetime.UTC).date()
    head = f"# Written on {today} by `make constraints`: versions that install together. Used by the Makefile.\n"
    lines = [f"{name}=={version.partition('+')[0]}\n" for name, version in sorted(versions.items())]
    TARGET.write_text(head + "".join(lines), "utf-8")
    print(f"{TARGET.name}: {len(lines)} packages")


def resolve(requirements: list[str]) -> dict[str, str]:
    """Name -> version of all packages that pip would install into an empty environment."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        done = subprocess.run([*command, "--report", str(report), *requirements])
        if done.returncode:
            sys.exit(f"error: pip found no versions that fit together (exit code {done.returncode})")
        found = json.loads(report.read_text("utf-8"))["install"]
    return {entry["metadata"]["name"].lower(): entry["metadata"]["version"] for entry in found}


if __name__ == "__main__":
    main()
