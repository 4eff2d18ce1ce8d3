"""Checkpoints: safetensors for numbers, JSON for everything else. Loading one executes no code but the model's class.

RUN/run.json                        settings, dataset, progress, which checkpoints are last and best
RUN/metrics.jsonl                   one line per epoch, keyed by epoch
RUN/lessons/                        of a pupil: what its teacher says, as a dataset
RUN/checkpoints/epoch-NNN/          model.safetensors, optimizer.safetensors, policy.json; with averaged weights also
                                    trained.safetensors
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import orjson
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from planner.actions import HEADS
from planner.artifacts.rule_settings import decisive_part
from planner.config import TrainConfig
from planner.contracts.dataset import DatasetInfo, FeatureInfo, TokenProfile
from planner.contracts.kernel import ActionSpaceDocument, ContextBuilderName
from planner.contracts.versions import CALIBRATION, POLICY, RUN, Format
from planner.errors import CheckpointError, ContractError
from planner.files import staged_directory, write_atomically
from planner.models.load import ModelSource, model_source
from planner.places import Place, place_of
from planner.provenance import tool_versions
from planner.scoring.reliability import ReliabilityBin

Model = TypeVar("Model", bound=BaseModel)
Selection = Literal["log_likelihood", "pass_log_likelihood", "trial_log_likelihood", "regret"]
"""What the best epoch of a run is best in, on validation."""


WEIGHTS = ("model.safetensors", "policy.json")
"""Of a checkpoint's files, those that another run can begin from."""
LESSONS = "lessons"
"""A pupil's dataset, in its run's directory: planner.training.lessons."""
FITTED = "fitted_policy"
"""In the config of a run that is fitted in one go (planner.runs.fitted): the policy's name."""


class PolicyDocument(BaseModel):
    """policy.json: everything besides the weights that is needed to load a policy."""

    model_config = ConfigDict(extra="allow")  # what a later program adds is kept

    schema_version: Literal["cyntra.planner_policy.v1"] = "cyntra.planner_policy.v1"
    class_path: str
    source: ModelSource | None = None
    """The code that the class was when the checkpoint was written; None in those of an earlier program."""
    model: dict[str, Any]
    n_similar: int
    action_space: ActionSpaceDocument
    kernel_config: dict[str, Any]
    minute_seconds: float
    token_profile: TokenProfile = "planner"
    context_builder: ContextBuilderName | None = None
    """Whose contexts it learned from; None: an earlier program mixed them."""
    vocabulary: list[str]
    context_features: list[FeatureInfo]
    run_features: list[FeatureInfo]
    tools: list[str] = []
    """Those that a trial head tells apart."""
    dataset_hash: str
    dataset_n_similar: int
    epoch: int
    tool_versions: dict[str, str]

    @classmethod
    def of(cls, config: TrainConfig, info: DatasetInfo, tools: Sequence[str] = ()) -> "PolicyDocument":
        """The document of a run's policy; its epoch is filled in when it is saved."""
        return cls.on(
            info,
            class_path=config.class_path,
            source=model_source(config.class_path),
            model=config.model,
            n_similar=config.n_similar,
            tools=list(tools),
            epoch=-1,
            tool_versions=tool_versions(),
        )

    @classmethod
    def on(cls, info: DatasetInfo, **policy: Any) -> "PolicyDocument":
        """The document of a ``policy`` that learned from the dataset of ``info``."""
        return cls(
            action_space=info.action_space,
            kernel_config=decisive_part(info.kernel_config),
            minute_seconds=info.minute_seconds,
            token_profile=info.token_profile,
            context_builder=info.context_builder,
            vocabulary=info.vocabulary,
            context_features=info.context_features,
            run_features=info.run_features,
            dataset_hash=info.dataset_hash,
            dataset_n_similar=info.n_similar,
            **policy,
        )


class CalibrationDocument(BaseModel):
    """calibration.json: temperatures and abstain threshold of a checkpoint, and what they were fitted on."""

    model_config = ConfigDict(extra="allow")  # what a later program adds is kept

    schema_version: Literal["cyntra.planner_calibration.v1"] = "cyntra.planner_calibration.v1"
    temperatures: dict[str, float]
    """Head -> temperature; a joint head is named joint."""
    temperatures_kept: bool = True
    """False: those that were fitted made the calibration error larger on cross-validation, so that all are 1."""
    threshold: float
    """Joint confidence below which a decision is left to the default; above 1 when nothing could be promised."""
    guaranteed: bool
    max_risk: float
    """Promised bound on the mean loss of accepted decisions: regret where several actions were executed, else the share
    that disagrees with the label."""
    confidence: float
    """Probability with which the promise holds."""
    accepted: int
    examples: int
    risk: float | None
    """Mean loss of the accepted validation decisions."""
    ece_before: float | None
    ece_cross_validated: float | None = None
    """With temperatures that were fitted without the example's issue; None in files of before this was measured."""
    ece_after: float | None
    reliability_before: list[ReliabilityBin] = []
    """What the calibration error was computed from; empty in files of before this was kept, as the next."""
    reliability_after: list[ReliabilityBin] = []
    dataset_hash: str


class PupilReport(BaseModel):
    """How a pupil does by its teacher's values, on code contexts that were not among its lessons."""

    teacher: str
    """The run that it was taught by."""
    split: str | None
    """Whose contexts these are: test, or where that is empty, val; None where both are."""
    contexts: int
    agreement: float | None = None
    """Share in which it takes its teacher's action, or one that this values less by a thousandth of a pass at most."""
    utility: float | None = None
    """Mean of what it takes."""
    utility_lost: float | None = None
    """Mean below what its teacher takes."""
    utility_lost_at_most: float | None = None
    untaught: int = 0
    """Contexts of whose issue with this tool hint no lesson was, a perturbed one neither."""
    utility_lost_untaught: float | None = None
    """Mean over these."""


class RunState(BaseModel):
    """run.json: what a run is made from and how far it came."""

    model_config = ConfigDict(extra="allow")  # what a later program adds is kept

    schema_version: Literal["cyntra.planner_run.v1"] = "cyntra.planner_run.v1"
    config: dict[str, Any]
    dataset: str
    dataset_hash: str
    init_from: str | None
    teacher: str | None = None
    """The run whose decisions it was taught; its dataset are the lessons then."""
    judged_on: str | None = None
    """The dataset whose contexts the lessons are of; None: ``dataset``."""
    pupil: PupilReport | None = None
    workers: int
    """Those of the last epoch; metrics.jsonl has them of every epoch."""
    epoch: int = -1
    """Last finished epoch, from 0; -1 before the first."""
    last: str | None = None
    best: str | None = None
    best_metric: float | None = None
    """The best checkpoint's validation metric, per example, that ``selected_by`` names."""
    selected_by: Selection = "log_likelihood"
    """log_likelihood: joint, of the label; pass_log_likelihood: of passes, where only the value head is trained;
    trial_log_likelihood: per trial, of pass and time, of a trial head; regret: utility lost against the best executed
    action. Regret is best when low, the others when high."""
    best_epoch: int = -1
    finished: bool = False
    note: str | None = None
    """What a reader of the result must know, for instance that validation was empty."""

    @property
    def own_dataset(self) -> Place:
        """What the run is judged, calibrated and checked on unless another dataset is named."""
        return place_of(self.judged_on or self.dataset)


def read_run(run: Path) -> RunState:
    """A run's state; CheckpointError when ``run`` is no run directory."""
    return _read(RunState, RUN, run / "run.json", "a training run; start one with `planner train`")


def write_run(run: Path, state: RunState) -> None:
    """Replace run.json in one step."""
    write_atomically(run / "run.json", orjson.dumps(state.model_dump(), option=orjson.OPT_INDENT_2))


def save_checkpoint(
    run: Path, policy: PolicyDocument, models: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
) -> str:
    """Write checkpoints/epoch-NNN whole or not at all; returns its path relative to the run.

    ``models`` maps the name of a file to the model whose weights it holds.
    """
    directory = run / "checkpoints" / f"epoch-{policy.epoch:03d}"
    with staged_directory(directory) as staging:
        for name, model in models.items():
            save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, staging / name)
        save_file(_optimizer_tensors(optimizer), staging / "optimizer.safetensors")
        (staging / "policy.json").write_bytes(orjson.dumps(policy.model_dump(), option=orjson.OPT_INDENT_2))
    return directory.relative_to(run).as_posix()


def prune_checkpoints(run: Path, keep: set[str]) -> None:
    """Remove every checkpoint that is not in ``keep`` (paths relative to the run)."""
    for path in (run / "checkpoints").iterdir():
        if path.relative_to(run).as_posix() not in keep:
            shutil.rmtree(path)


def checkpoint_path(path: Path) -> Path:
    """The checkpoint directory that ``path`` means: itself, or the best one of a run."""
    if (path / "policy.json").exists():
        return path
    state = read_run(path)
    if FITTED in state.config:
        raise CheckpointError(f"{path}: the policy {state.config[FITTED]!r} is fitted in one go: it has no checkpoint")
    if state.best is None:
        raise CheckpointError(f"{path}: the run has no checkpoint yet; finish it: the command that began it goes on")
    return path / state.best


def read_policy(checkpoint: Path) -> PolicyDocument:
    """policy.json of a checkpoint directory."""
    return _read(PolicyDocument, POLICY, checkpoint / "policy.json", "a checkpoint")


def read_calibration(checkpoint: Path) -> CalibrationDocument | None:
    """calibration.json of a checkpoint directory; None when it has not been calibrated."""
    path = checkpoint / "calibration.json"
    return _read(CalibrationDocument, CALIBRATION, path, "a calibration") if path.exists() else None


def write_calibration(checkpoint: Path, calibration: CalibrationDocument) -> None:
    """Put calibration.json beside a checkpoint's weights."""
    write_atomically(
        checkpoint / "calibration.json", orjson.dumps(calibration.model_dump(), option=orjson.OPT_INDENT_2)
    )


def load_weights(
    checkpoint: Path, model: nn.Module, file: str = "model.safetensors", *, may_lack: str | None = None
) -> None:
    """Put a checkpoint's weights into ``model``; CheckpointError when names or shapes differ.

    Weights whose names start with ``may_lack`` may be absent, and then stay as they are.
    """
    try:
        weights = load_file(checkpoint / file)
        if may_lack is not None:
            kept = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(may_lack)}
            weights = {**kept, **weights}
        model.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"{checkpoint}: these weights do not fit the model: {error}; use the settings and the base dataset "
            "that they were trained with"
        ) from None


def check_same_space(init_from: Path, info: DatasetInfo, tools: Sequence[str], *, reads_tokens: bool) -> None:
    """Weights mean the same only where heads and tokens list the same values: equal shapes are not enough."""
    policy = read_policy(checkpoint_path(init_from))
    theirs = policy.action_space
    if reads_tokens and policy.vocabulary != info.vocabulary:
        raise CheckpointError(
            f"{init_from}: its vocabulary is not the dataset's: start from a run on the same base dataset"
        )
    if policy.tools != list(tools):
        raise CheckpointError(
            f"{init_from}: it tells the tools {policy.tools} apart, the dataset {list(tools)}: start from a run with "
            "the same head on trials of the same tools"
        )
    for head in (f"{head}s" for head in HEADS):
        found, wanted = getattr(theirs, head), getattr(info.action_space, head)
        if found != wanted:
            raise CheckpointError(
                f"{init_from}: its {head} are {found}, the dataset's {wanted}: "
                "start from a run on the same action space"
            )


def load_optimizer(checkpoint: Path, optimizer: torch.optim.Optimizer) -> None:
    """Put a checkpoint's optimizer state into ``optimizer``."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    try:
        for name, tensor in load_file(checkpoint / "optimizer.safetensors").items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{checkpoint}: its optimizer state is broken: {error}; start a new run with --init-from this checkpoint"
        ) from None


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    state = optimizer.state_dict()["state"]
    return {f"{index}.{key}": tensor.contiguous() for index, entry in state.items() for key, tensor in entry.items()}


def _read(model: type[Model], versions: Format, path: Path, kind: str) -> Model:
    """A document of any version that can be read; keys that it does not name are kept."""
    try:
        return model.model_validate(versions.upgraded(orjson.loads(path.read_bytes()), str(path)))
    except OSError:
        raise CheckpointError(f"{path.parent}: no {path.name}, so this is not {kind}") from None
    except ContractError as error:
        raise CheckpointError(str(error)) from None
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise CheckpointError(f"{path}: broken: {str(error).splitlines()[0]}") from None
