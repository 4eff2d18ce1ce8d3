"""Runs of policies that are fitted in one go, without epochs and weights: a run is what it was fitted on, and is fitted
again when it is loaded, to the same result. `planner train --arch structural` makes one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.begun_work import ANEW, differences
from planner.config import FITTED_ARCHITECTURES
from planner.contracts.dataset import DatasetInfo
from planner.dataset.storage import load_dataset
from planner.encoding.inputs import Inputs, inputs_of_contexts
from planner.errors import CheckpointError
from planner.places import Place, place_of, recorded
from planner.policies.trial_policy import TrialPolicy
from planner.run_directory import remove_run
from planner.runs.checkpoint import FITTED, CalibrationDocument, PolicyDocument, RunState, read_run, write_run
from planner.runs.learned import LearnedPolicy

Array: TypeAlias = NDArray[np.float64]


LEARNED = ("train", "val")
"""The splits that a run learns from."""


class RunPolicy(Protocol):
    """What a run decides with, whatever kind it is."""

    @property
    def name(self) -> str: ...

    @property
    def space(self) -> ActionSpace: ...

    @property
    def document(self) -> PolicyDocument:
        """What it was trained on, and how it reads contexts."""
        ...

    @property
    def calibration(self) -> CalibrationDocument | None: ...

    def head_log_probs(self, inputs: Inputs) -> list[Array]:
        """Log-probabilities of four heads, or of the tuples of a joint one."""
        ...

    def log_probs_of(self, contexts: Sequence[Mapping[str, Any]]) -> list[Array]:
        """The same for planner_input.v1 documents."""
        ...


class FittedPolicy:
    """A run's policy, fitted on the run's dataset as that is now; see RunPolicy."""

    calibration: CalibrationDocument | None = None
    source_change: str | None = None
    outputs: tuple[str, ...] = ("joint",)

    def __init__(self, policy: TrialPolicy, info: DatasetInfo) -> None:
        self.name, self.policy, self.space = policy.name, policy, policy.space
        self.document = PolicyDocument.on(
            info,
            class_path=f"planner.policies.trial_policy@{policy.name}",
            model={},
            n_similar=info.n_similar,
            epoch=0,
            tool_versions=info.tool_versions,
        )

    @classmethod
    def load(cls, run: Path) -> "FittedPolicy":
        """The policy of a run; CheckpointError when its dataset is another one than the run was made from."""
        state = read_run(run)
        dataset = load_dataset(place_of(state.dataset))
        if dataset.info.dataset_hash != state.dataset_hash:
            raise CheckpointError(
                f"{state.dataset}: has changed since {run} was made from it: run `planner train` on it again"
            )
        return cls(TrialPolicy.fit(state.config[FITTED], dataset, LEARNED), dataset.info)

    def head_log_probs(self, inputs: Inputs) -> list[Array]:
        """Log-probabilities over ``space.tuples``, (n, n_tuples)."""
        found = np.full((len(inputs), len(self.space.tuples)), -np.inf)
        for job_type in np.unique(inputs.job_types).tolist():
            rows = np.flatnonzero(inputs.job_types == job_type)
            columns = self.space.tuple_rows(self.space.valid_indices(job_type))
            found[np.ix_(rows, columns)] = self.policy.score(inputs.take(rows), job_type)
        return [found]

    def log_probs_of(self, contexts: Sequence[Mapping[str, Any]]) -> list[Array]:
        """The same for planner_input.v1 documents."""
        document = self.document
        return self.head_log_probs(
            inputs_of_contexts(
                contexts, self.space, document.vocabulary, document.dataset_n_similar, document.token_profile
            )
        )


def load_run_policy(run: Path) -> LearnedPolicy | FittedPolicy:
    """The policy of a run (or checkpoint), neural or fitted in one go."""
    return FittedPolicy.load(run) if is_fitted(run) else LearnedPolicy(run)


def is_fitted(run: Path) -> bool:
    """Whether ``run`` holds a policy that is fitted in one go."""
    return (run / "run.json").exists() and FITTED in read_run(run).config


def fit_run(run: Path, arch: str, dataset_path: Place, *, fresh: bool = False) -> FittedPolicy:
    """Make the run of a policy of FITTED_ARCHITECTURES, fitted; one of the same settings that stands there is kept.

    CheckpointError when ``run`` holds another run, unless ``fresh`` says that it goes, or other files.
    """
    dataset = load_dataset(dataset_path)
    name = FITTED_ARCHITECTURES[arch]
    state = RunState(
        config={FITTED: name},
        dataset=recorded(dataset_path),
        dataset_hash=dataset.info.dataset_hash,
        init_from=None,
        workers=0,
        epoch=0,
        finished=True,
    )
    if (run / "run.json").exists() and not fresh:
        kept = read_run(run)
        found = [
            *differences(kept.config, state.config),
            *differences({"dataset_hash": kept.dataset_hash}, {"dataset_hash": state.dataset_hash}),
        ]
        if found:
            raise CheckpointError(f"{run}: a run with other settings stands there: {'; '.join(found)}: {ANEW}")
    elif run.exists() and not (run / "run.json").exists() and any(run.iterdir()):
        raise CheckpointError(f"{run}: holds other files already: give an empty or new directory as --out")
    # Fitted before anything is written: what cannot be fitted leaves no run behind.
    fitted = FittedPolicy(TrialPolicy.fit(name, dataset, LEARNED), dataset.info)
    if fresh:
        remove_run(run)
    run.mkdir(parents=True, exist_ok=True)
    write_run(run, state)
    return fitted
