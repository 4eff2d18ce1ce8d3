"""`planner bundle check`: a bundle in the environment that will load it, which may be another than ours."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from planner import bundle_probe
from planner.contracts.versions import BUNDLE
from planner.errors import UsageError

PATIENCE_S = 120.0
KERNEL_COMMAND = "cyntra"


@dataclass(frozen=True)
class BundleCheck:
    """One line of the result."""

    ok: bool | None
    """None for what is only said."""
    text: str


def check_bundle(bundle: Path, python: Path | None = None) -> list[BundleCheck]:
    """Load ``bundle`` by ``python``: an interpreter, a virtual environment, or None for that of ``cyntra`` on PATH.

    UsageError when there is no such Python, or no bundle.
    """
    try:
        metadata = BUNDLE.upgraded(orjson.loads((bundle / "metadata.json").read_bytes()), str(bundle / "metadata.json"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{bundle}: not a bundle: {error}: name a directory that `planner export` wrote") from None
    interpreter = _interpreter(python)
    found = _probe(interpreter, bundle)
    checks = [BundleCheck(None, f"{interpreter}: Python {found['python']}")]
    needed = ["numpy"] if metadata["reads"] == "trials" else ["numpy", "onnxruntime"]
    packages = found["packages"]
    for name in needed:
        trouble = packages[name].get("error")
        checks.append(
            BundleCheck(False, f"{name} cannot be imported ({trouble}): {interpreter} -m pip install {name}")
            if trouble
            else BundleCheck(True, f"{name} {packages[name]['version']}{_written_with(metadata, name)}")
        )
    if metadata["reads"] != "trials" and all(check.ok is not False for check in checks):
        trouble = found["model"]
        checks.append(BundleCheck(trouble is None, f"planner.onnx: {trouble or 'loads and answers'}"))
    return [*checks, *_loaders(metadata, packages, found)]


def _loaders(metadata: dict[str, Any], packages: dict[str, Any], found: dict[str, Any]) -> list[BundleCheck]:
    """Who is to load it there: Cyntra's own planner, or ours."""
    for_kernel = metadata["token_profile"] == "kernel" and metadata["reads"] != "trials"
    name, noun = ("cyntra", "Cyntra") if for_kernel else ("planner", "the planner")
    if "version" not in packages[name]:
        checks = [BundleCheck(False, f"{noun} is not installed there, and this bundle is for it")]
    else:
        trouble, version = found["kernel" if for_kernel else "planner"], packages[name]["version"]
        checks = [BundleCheck(trouble is None, f"{noun} {version}: {trouble or 'loads it'}")]
    if for_kernel:
        text = (
            "Cyntra follows it only within the swarm and budgets of its own rule; `planner run` forces decisions whole"
        )
    else:
        text = "served by `planner run` and `planner decide`; Cyntra's own planner does not load it"
    return [*checks, BundleCheck(None, text)]


def _written_with(metadata: dict[str, Any], name: str) -> str:
    version = (metadata.get("exported_with") or {}).get(name)
    return f" (exported with {version})" if version else ""


def _interpreter(python: Path | None) -> Path:
    if python is None:
        kernel = shutil.which(KERNEL_COMMAND)
        if kernel is None:
            raise UsageError(f"{KERNEL_COMMAND} is not on PATH: name the Python that is to load it with --python")
        with Path(kernel).open("rb") as script:
            first = script.readline().decode(errors="replace").strip()
        words = first.removeprefix("#!").split()
        if not first.startswith("#!") or "python" not in first or len(words) != 1:
            raise UsageError(f"{kernel}: its first line names no Python: name the one it runs in with --python")
        return _interpreter(Path(words[0]))
    place = python / "bin" / "python" if python.is_dir() else python
    # Not resolved: a virtual environment is known by the link in it.
    if not place.is_file():
        raise UsageError(f"{python}: no such Python: name an interpreter or a virtual environment")
    return place.absolute()


def _probe(interpreter: Path, bundle: Path) -> dict[str, Any]:
    command = [str(interpreter), str(Path(bundle_probe.__file__).absolute()), str(bundle.absolute())]
    try:
        # Elsewhere: what lies in the current directory is not what is installed there.
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=tempfile.gettempdir(), errors="replace"
        )
        return dict(orjson.loads(done.stdout.splitlines()[-1]))
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{interpreter}: cannot be run: {error}") from None
    except (IndexError, ValueError):
        said = " ".join(done.stderr.split())[-300:]
        raise UsageError(f"{interpreter}: is no Python that works: {said or 'it printed nothing'}") from None
