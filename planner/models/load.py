"""From ``module@Class`` to a model: its class, the source that defines it, and the model made from settings."""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from planner.errors import ConfigError
from planner.model_settings import validated
from planner.models.base import ModelSpec, NeuralPolicy


class ModelSource(BaseModel):
    """The file that defines a model's class."""

    path: str
    """From its top package on, for instance planner/models/mlp.py: the same wherever the package is installed."""
    sha256: str
    """Of the file's bytes, in hexadecimal."""


def load_model_class(path: str, prefix: str | None = None) -> type[NeuralPolicy]:
    """The class ``module@Class``; the module is looked for in the package ``prefix``, if one is given.

    ConfigError says whether the module is missing or broken, the class is missing, or is no NeuralPolicy.
    """
    module_name, class_name = _parts(path, prefix)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # importing runs the module, which is the user's own
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        missing = absent is not None and f"{module_name}.".startswith(f"{absent}.")
        reason = f"no module {absent}" if missing else f"{module_name} cannot be imported: {error!r}"
        raise ConfigError(f"class_path {path}: {reason}; write module@Class, the module as Python imports it") from None
    found = getattr(module, class_name, None)
    if found is None:
        known = [name for name, value in vars(module).items() if _is_policy(value) and value.__module__ == module_name]
        having = f"; its policies are {', '.join(known)}" if known else ""
        raise ConfigError(f"class_path {path}: {module_name} has no class {class_name}{having}")
    if not _is_policy(found):
        raise ConfigError(f"class_path {path}: {class_name} is no NeuralPolicy: derive it from planner.models.base")
    return found


def get_model_source_path(path: str, prefix: str | None = None) -> Path:
    """The file that defines the class ``module@Class``; errors as in :func:`load_model_class`."""
    file = inspect.getsourcefile(load_model_class(path, prefix))
    if file is None:
        raise ConfigError(f"class_path {path}: its source is no file")
    return Path(file).resolve()


def model_source(path: str) -> ModelSource:
    """Which file defines the class ``module@Class`` today, and what is in it; ConfigError."""
    file = get_model_source_path(path)
    package = load_model_class(path).__module__.partition(".")[0]
    roots = [Path(place).resolve().parent for place in getattr(sys.modules[package], "__path__", [])]
    root = next((root for root in roots if file.is_relative_to(root)), file.parent)
    return ModelSource(path=file.relative_to(root).as_posix(), sha256=hashlib.sha256(file.read_bytes()).hexdigest())


def source_change(path: str, recorded: ModelSource | None) -> str | None:
    """What has changed of the code of ``module@Class`` since it was ``recorded``; None: nothing, as far as is known."""
    if recorded is None:
        return None
    today = model_source(path)
    if today == recorded:
        return None
    then, now = (f"{source.path} (sha256 {source.sha256[:12]})" for source in (recorded, today))
    return f"trained with {then}, today's source is {now}: what it predicts may differ"


def build_model(class_path: str, settings: dict[str, Any], spec: ModelSpec) -> NeuralPolicy:
    """The model ``module@Class`` with its settings; ConfigError when there is no such class or setting."""
    model: Any = load_model_class(class_path)
    return model(checked_settings(class_path, settings), spec)


def settings_of(class_path: str) -> type[BaseModel]:
    """The settings that the model ``module@Class`` has, with their defaults; ConfigError when there is none."""
    return load_model_class(class_path).Settings


def checked_settings(class_path: str, settings: dict[str, Any]) -> BaseModel:
    """``settings`` with the model's defaults for what they leave out; ConfigError names the first that is wrong."""
    return validated(settings_of(class_path), class_path, settings)


def _parts(path: str, prefix: str | None) -> tuple[str, str]:
    module_name, separator, class_name = path.partition("@")
    if not (separator and class_name.isidentifier() and all(part.isidentifier() for part in module_name.split("."))):
        raise ConfigError(f"class_path {path}: write module@Class, for instance planner.models.mlp@FeatureMLP")
    return (f"{prefix.removesuffix('.')}.{module_name}" if prefix else module_name), class_name


def _is_policy(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, NeuralPolicy)
