"""Settings of a training run: one typed value, from an architecture's YAML, a user's YAML, and dotted overrides."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from planner.dimensions import DIMENSIONS
from planner.errors import ConfigError
from planner.model_settings import check_settings

Positive = Annotated[float, Field(gt=0)]
Whole = Annotated[int, Field(ge=1)]


class TrainConfig(BaseModel):
    """Everything that determines a training run besides its dataset."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    class_path: str
    """The model's class, as module@Class."""
    model: dict[str, Any] = {}
    """The model's own settings, checked by its class."""
    n_similar: Annotated[int, Field(ge=0)] = 16
    """Similar runs the policy sees, at most as many as the dataset stores."""
    lr: Positive = 1e-3
    """Peak learning rate."""
    optimizer: Literal["adamw", "adam_atan2", "muon"] = "adamw"
    """muon: hidden matrices by Muon, everything else (embeddings, heads, vectors) by its Adam."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Decoupled weight decay."""
    batch_size: Whole = 64
    """Examples per step, over all workers together."""
    epochs: Whole = 60
    """Passes over train, at most."""
    patience: Whole = 10
    """Epochs without a better validation metric (see select_by) before training stops."""
    warmup_steps: Annotated[int, Field(ge=0)] = 10
    """Steps of linear warm-up; a cosine down to a tenth of lr follows."""
    grad_clip: Positive = 1.0
    """Largest gradient norm."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay per step of the moving average of weights that is validated and saved; 0 = the trained weights are."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """bf16: matrix products in bf16, on GPUs and CPUs that have units for it; auto: where these are, else fp32."""
    compile: bool = False
    """Compile the transformer block with torch.compile; pays off after some minutes of training."""
    head_weights: Annotated[list[float], Field(min_length=len(DIMENSIONS), max_length=len(DIMENSIONS))] = [
        1.0 for _ in DIMENSIONS
    ]
    """Weight of each head's cross-entropy: swarm, candidates, minutes, iterations; not for a joint head."""
    value_weights: Literal["equal", "inverse", "effective"] = "equal"
    """Weight of a head's values by how often train shows them: equal; by inverse count; by effective number."""
    max_value_weight: Positive = 10.0
    """Largest weight of a value, where 1 is the mean over train's examples."""
    labels: Literal["hard", "soft"] = "hard"
    """soft: where an example's actions have been compared, its label is a distribution over them, by utility."""
    label_temperature: Positive = 0.1
    """Utility by which an action falls behind for its share of a soft label to fall by e."""
    cost_sensitive: bool = False
    """Weigh an example by the utility lost without its label, where its actions have been compared."""
    weight_by_confidence: bool = False
    """Weigh an example by how sure its label is (label_confidence, over its mean over train): a winner that ties with
    others counts for less than one that alone passed."""
    policy_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the policy's loss; 0 = train the value head alone."""
    value_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the value head's loss, in a model that has one (model.value_head)."""
    bootstrap: bool = False
    """Train on as many examples drawn with replacement, by seed: the runs of several seeds are a bagged ensemble."""
    select_by: Literal["auto", "log_likelihood", "regret"] = "auto"
    """What the best epoch is best in on validation; auto: a policy's regret where at least 30 examples have one,
    otherwise log-likelihood. Without a policy (policy_weight 0), log-likelihood is that of passes."""
    seed: int = 0
    """Seeds the weights, the data order and dropout."""


FITTED_ARCHITECTURES = {
    "structural": "structural",
    "trial_forest": "trial forest",
    "both": "structural and trial forest",
}
"""What ``--arch`` calls policies that are fitted to trials in one go, without a YAML: planner.policies.trial_policy."""

PUPIL_ARCH = "urm_planner"
"""What --teacher teaches, unless the user says."""
PUPIL_SETTINGS = ("labels=soft", "label_temperature=0.005")
"""Settings of a pupil, unless the user has others: a softmax of the teacher's utilities is its label."""


def arch_names() -> list[str]:
    """The architectures that ship with the planner."""
    return sorted(f.name.removesuffix(".yaml") for f in (files("planner.configs") / "arch").iterdir())


def load_config(
    arch: str, config_file: Path | None = None, overrides: Sequence[str] = (), *, defaults: Sequence[str] = ()
) -> TrainConfig:
    """The settings of ``arch`` (a name, or the path of a YAML file), then ``defaults``, then those of ``config_file``,
    then ``overrides``.

    An override is ``key=value`` with dots for nesting and a YAML value, for instance ``model.hidden=64``. ConfigError
    names the setting that does not exist or has a wrong value.
    """
    settings = _read_yaml(_arch_text(arch), arch)
    for default in defaults:
        key, _, value = default.partition("=")
        _merge(settings, _nest(key.split("."), parse_value(value)))
    if config_file is not None:
        try:
            text = config_file.read_text("utf-8")
        except OSError as error:
            raise ConfigError(f"{config_file}: cannot be read: {error.strerror}") from None
        _merge(settings, _read_yaml(text, str(config_file)))
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key:
            raise ConfigError(f"--set {override}: write it as key=value, for instance lr=1e-3")
        _merge(settings, _nest(key.split("."), parse_value(value)))
    try:
        config = TrainConfig.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        known = ", ".join(TrainConfig.model_fields)
        raise ConfigError(f"setting {name}: {first['msg']}, found {first['input']!r}; settings are {known}") from None
    check_settings(config.class_path, config.model)
    return config


def parse_value(text: str) -> Any:
    """A YAML value; numbers such as 1e-3, which YAML 1.1 takes for text, are numbers here."""
    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):
        return text


def _arch_text(arch: str) -> str:
    path = Path(arch)
    if path.suffix in (".yaml", ".yml") and path.exists():
        return path.read_text("utf-8")
    if arch not in arch_names():
        names = ", ".join([*arch_names(), *FITTED_ARCHITECTURES])
        raise ConfigError(f"--arch {arch}: no such architecture; choose one of {names}, or a YAML file")
    return (files("planner.configs") / "arch" / f"{arch}.yaml").read_text("utf-8")


def _read_yaml(text: str, source: str) -> dict[str, Any]:
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: not YAML: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{source}: a mapping of settings was expected")
    return document


def _nest(keys: Sequence[str], value: Any) -> dict[str, Any]:
    return {keys[0]: value if len(keys) == 1 else _nest(keys[1:], value)}


def _merge(base: dict[str, Any], over: dict[str, Any]) -> None:
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value
