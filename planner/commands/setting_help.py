"""The keys of ``--set``, as the help of `planner train`, `compare` and `ablate` lists them."""

from importlib.resources import files

import yaml
from pydantic.fields import FieldInfo

from planner.config import TrainConfig, arch_names

TITLE = "Settings of --set"
MODEL_TITLE = "Settings of the model, as shipped"


def setting_sections() -> dict[str, list[tuple[str, str]]]:
    """Every setting with its sentence and default, and those of each shipped architecture's model."""
    rows = [
        (name, _sentence(field))
        for name, field in TrainConfig.model_fields.items()
        if name not in ("class_path", "model")
    ]
    return {TITLE: rows, MODEL_TITLE: [(arch, _model_settings(arch)) for arch in arch_names()]}


def _sentence(field: FieldInfo) -> str:
    text = " ".join((field.description or "").split())
    kind = getattr(field.annotation, "__args__", None) if "Literal" in str(field.annotation) else None
    choices = f" One of {', '.join(map(str, kind))}." if kind else ""
    return f"{text}{choices}  [default: {field.get_default(call_default_factory=True)}]"


def _model_settings(arch: str) -> str:
    document = yaml.safe_load((files("planner.configs") / "arch" / f"{arch}.yaml").read_text("utf-8"))
    return ", ".join(f"model.{key}={value}" for key, value in (document.get("model") or {}).items())
