"""From a Cyntra repo's artifacts to a decision. What may be imported from here is public; docs/reference/python.md.

A name is loaded when it is first asked for, with what it needs: ``import planner`` loads no numpy, torch or Ray, and
deciding loads no torch and no Ray.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner.artifacts.record_decision import record as record_decision
    from planner.artifacts.repo import Repo
    from planner.bundle import Bundle, BundleError, load_bundle
    from planner.caps import Caps
    from planner.config import TrainConfig, load_config
    from planner.context import ContextBuilder
    from planner.dataset.build import build_dataset
    from planner.dataset.storage import Dataset, load_dataset
    from planner.decision import Decision, decide
    from planner.errors import (
        ActionError,
        ArtifactError,
        BenchError,
        CheckpointError,
        ClusterError,
        ConfigError,
        ContractError,
        DatasetError,
        PlannerError,
        TrainingError,
        UsageError,
    )
    from planner.evaluation.calibrate import calibrate_run
    from planner.evaluation.evaluate import evaluate_run
    from planner.export.bundle import export_bundle
    from planner.models.load import get_model_source_path, load_model_class
    from planner.training.loop import start_run, train

__version__ = "0.1.0"

__all__ = [
    "ActionError",
    "ArtifactError",
    "BenchError",
    "Bundle",
    "BundleError",
    "Caps",
    "CheckpointError",
    "ClusterError",
    "ConfigError",
    "ContextBuilder",
    "ContractError",
    "Dataset",
    "DatasetError",
    "Decision",
    "PlannerError",
    "Repo",
    "TrainConfig",
    "TrainingError",
    "UsageError",
    "build_dataset",
    "calibrate_run",
    "decide",
    "evaluate_run",
    "export_bundle",
    "get_model_source_path",
    "load_bundle",
    "load_config",
    "load_dataset",
    "load_model_class",
    "record_decision",
    "start_run",
    "train",
]

_HOMES = {
    "planner.artifacts.repo": ("Repo",),
    "planner.bundle": ("Bundle", "BundleError", "load_bundle"),
    "planner.caps": ("Caps",),
    "planner.config": ("TrainConfig", "load_config"),
    "planner.context": ("ContextBuilder",),
    "planner.dataset.build": ("build_dataset",),
    "planner.dataset.storage": ("Dataset", "load_dataset"),
    "planner.decision": ("Decision", "decide"),
    "planner.evaluation.calibrate": ("calibrate_run",),
    "planner.evaluation.evaluate": ("evaluate_run",),
    "planner.export.bundle": ("export_bundle",),
    "planner.models.load": ("get_model_source_path", "load_model_class"),
    "planner.training.loop": ("start_run", "train"),
}
"""Module -> public names that it defines; record_decision has another name there, and errors are in planner.errors."""


def __getattr__(name: str) -> Any:
    """Load a public name on its first use."""
    if name not in __all__:
        raise AttributeError(f"module 'planner' has no attribute {name!r}; public names are in planner.__all__")
    if name == "record_decision":
        return import_module("planner.artifacts.record_decision").record
    home = next((module for module, names in _HOMES.items() if name in names), "planner.errors")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
