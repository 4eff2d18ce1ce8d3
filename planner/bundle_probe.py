"""Run by the Python that is to load a bundle: which versions are there, and whether it loads and answers.

``python bundle_probe.py BUNDLE`` prints one JSON object. Needs nothing but the standard library to say what is missing.
"""

import importlib
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

PACKAGES = {"numpy": "numpy", "onnxruntime": "onnxruntime", "cyntra": "cyntra", "planner": "cyntra-planner"}
"""Module -> what holds it."""


def versions() -> dict[str, dict[str, str]]:
    """Module -> {"version"}, or {"error"} where it cannot be imported."""
    found = {}
    for module, distribution in PACKAGES.items():
        try:
            imported = importlib.import_module(module)
        except Exception as error:  # a broken package raises what it likes
            found[module] = {"error": f"{type(error).__name__}: {error}"}
            continue
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            version = str(getattr(imported, "__version__", "of unknown version"))
        found[module] = {"version": version}
    return found


def run_model(path: Path) -> str | None:
    """Why the model cannot be loaded or run by onnxruntime here; None when it answers."""
    try:
        import numpy
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        feeds: dict[str, Any] = {}
        free = (1, 8, 8)  # the batch, and whatever else has no fixed size
        for needed in session.get_inputs():
            shape = [size if isinstance(size, int) else free[place] for place, size in enumerate(needed.shape)]
            feeds[needed.name] = numpy.ones(shape, dtype="int64" if "int64" in needed.type else "float32")
        outputs = session.run(None, feeds)
        if not all(numpy.isfinite(output).all() for output in outputs):
            return "its answer is not finite"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def load_as_kernel(bundle: Path) -> str | None:
    """Why Cyntra's own planner cannot load the bundle here; None when it does."""
    try:
        from cyntra.planner.inference import OnnxPlanner  # type: ignore[import-not-found] # only the kernel has it

        OnnxPlanner(bundle)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def load_as_planner(bundle: Path) -> str | None:
    """Why the planner cannot load the bundle here; None when it does."""
    try:
        loaded = importlib.import_module("planner.bundle").load_bundle(bundle)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return str(loaded) if isinstance(loaded, Exception) else None


def main(bundle: Path) -> None:
    """Print what was found."""
    # Python puts the directory of a script first on its path, and ours has modules with everyday names.
    sys.path.pop(0)
    found: dict[str, Any] = {"python": sys.version.split()[0], "packages": versions()}
    packages = found["packages"]
    model = bundle / "planner.onnx"
    found["model"] = run_model(model) if model.exists() else None
    found["kernel"] = load_as_kernel(bundle) if "version" in packages["cyntra"] else None
    found["planner"] = load_as_planner(bundle) if "version" in packages["planner"] else None
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
