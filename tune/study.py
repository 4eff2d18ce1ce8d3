"""The search's memory: an Optuna study in a SQLite file, and the Ray Tune searcher that asks it and tells it.

Every trial belongs to a numbered run directory. A study that was killed is repaired from those directories, which are
the only place where results are read from.
"""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import optuna
import orjson
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search import Searcher
from sqlalchemy.exc import SQLAlchemyError

from planner.begun_work import ANEW, differences
from planner.config import TrainConfig
from planner.errors import CheckpointError
from planner.runs.checkpoint import RunState, read_run
from tune.space import Settings, apply_settings, space_of, starting_point
from tune.trial import EPOCHS, METRIC, REASON

STUDY_NAME = "planner"
METRIC_NAME = "validation log-likelihood"
RUN, SETTINGS, SEARCH, DIRECTORY = "run", "settings", "search", "directory"
BUSY_TIMEOUT_S = 30.0
"""How long another program may hold the study's file."""
RANDOM_TRIALS = 5
"""Trials drawn at random before TPE models the study; Optuna's own 10 would leave a short search all random."""

State = Literal["complete", "stopped", "failed", "unfinished"]
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "unfinished",
    TrialState.WAITING: "unfinished",
}


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a search."""

    number: int
    state: State
    """complete: trained to its end; stopped: ended early by ASHA, its value is that of a shorter training."""
    settings: Settings
    val_log_likelihood: float | None
    """Best over its epochs, in nats per example; higher is better."""
    best_epoch: int | None
    """From 0."""
    epochs: int
    """Epochs trained."""
    run: str
    """Directory, relative to the search's."""
    reason: str | None
    """Why it failed."""


@dataclass(frozen=True)
class SearchProgress:
    """How far a search is."""

    ended: int
    total: int
    best: float | None
    """Best validation log-likelihood so far, in nats per example."""


Progress = Callable[[SearchProgress], None]
"""Called at the start, after every epoch of every trial, and when a trial ends."""


class SearchStudy:
    """The study in ``out/study.sqlite`` and the run directories in ``out/trials``."""

    def __init__(self, out: Path, config: TrainConfig, *, stored_similar: int, seed: int, describes: dict[str, Any]):
        """Create or open the study; CheckpointError when it belongs to a search of other things than ``describes``."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        self.out, self.config, self.stored_similar = out, config, stored_similar
        self.study = _open(out / "study.sqlite")
        known = self.study.user_attrs.get(SEARCH)
        if known is None:
            start = starting_point(config, stored_similar)
            if start is not None:
                self.study.enqueue_trial(start, user_attrs={RUN: 0}, skip_if_exists=True)
            self.study.set_user_attr(SEARCH, describes)
        elif known != describes:
            found = "; ".join(differences(known, describes))
            raise CheckpointError(f"{out}: a search with other settings stands there: {found}: {ANEW}")
        self._describe()
        self._repair()
        # The sampler does not keep its state: seeded alike, a resumed search would draw its first trials again.
        self.study.sampler = _sampler(seed + len(self.study.trials))

    def _describe(self) -> None:
        """Say in the study itself what it is about, for who opens its file with another program."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.set_metric_names([METRIC_NAME])
        said = {"metric": f"{METRIC_NAME}: nats per example, higher is better", "policy": self.config.class_path}
        for name, value in said.items():
            if self.study.user_attrs.get(name) != value:
                self.study.set_user_attr(name, value)

    def run_directory(self, number: int) -> Path:
        """Where trial ``number`` trains."""
        return self.out / "trials" / f"{number:03d}"

    def ask(self) -> tuple[optuna.Trial, int, TrainConfig]:
        """The next trial with its number and settings: an interrupted one, the starting point, or a new draw."""
        trial = self.study.ask()
        settings = space_of(self.config)(trial, self.stored_similar)
        number = trial.user_attrs.get(RUN)
        if number is None:
            taken = {entry.user_attrs.get(RUN) for entry in self.study.trials}
            number = next(n for n in range(len(taken) + 1) if n not in taken)
            trial.set_user_attr(RUN, number)
        trial.set_user_attr(SETTINGS, settings)
        trial.set_user_attr(DIRECTORY, self.run_directory(number).relative_to(self.out).as_posix())
        return trial, number, apply_settings(self.config, settings)

    def end(self, trial: optuna.Trial, reason: str | None) -> None:
        """Close a trial by what its run directory says: trained to the end, or stopped; failed if there is a reason."""
        state = self._run_state(trial.user_attrs)
        if state is not None:
            trial.set_user_attr("epochs", state.epoch + 1)
            trial.set_user_attr("best epoch, from 0", state.best_epoch)
            trial.set_user_attr(f"best {METRIC_NAME}", state.best_metric)
        if reason is not None:
            trial.set_user_attr(REASON, reason)
            self.study.tell(trial, state=TrialState.FAIL)
        elif state is not None and state.finished:
            self.study.tell(trial, state.best_metric)
        else:
            self.study.tell(trial, state=TrialState.PRUNED)

    def ended(self) -> int:
        """Trials that need not run again."""
        return sum(record.state != "unfinished" for record in self.records())

    def records(self) -> list[TrialRecord]:
        """All trials, best first: complete ones, then stopped, then failed and unfinished ones."""
        records = [self._record(number, entry) for number, entry in self._newest_entries().items()]
        order = ("complete", "stopped", "failed", "unfinished")
        return sorted(
            records,
            key=lambda record: (
                order.index(record.state),
                -(record.val_log_likelihood if record.val_log_likelihood is not None else float("-inf")),
                record.number,
            ),
        )

    def write_table(self) -> list[TrialRecord]:
        """Replace ``out/trials.json``; returns its records."""
        records = self.records()
        staging = self.out / ".trials.json"
        staging.write_bytes(orjson.dumps([asdict(record) for record in records], option=orjson.OPT_INDENT_2))
        staging.replace(self.out / "trials.json")
        return records

    def _repair(self) -> None:
        """Settle what a killed search left running: done when its run is, otherwise it waits to go on in its run."""
        for entry in self.study.get_trials(states=(TrialState.RUNNING,)):
            state = self._run_state(entry.user_attrs)
            if state is not None and state.finished:
                self.study.tell(entry.number, state.best_metric)
            else:
                self.study.tell(entry.number, state=TrialState.FAIL)
        for number, entry in self._newest_entries().items():
            if _is_interrupted(entry):
                self.study.enqueue_trial(entry.params, user_attrs={RUN: number})

    def _newest_entries(self) -> dict[int, FrozenTrial]:
        """The study's newest trial of each run; a run that was interrupted has several."""
        return {entry.user_attrs[RUN]: entry for entry in self.study.trials if RUN in entry.user_attrs}

    def _run_state(self, user_attrs: Mapping[str, Any]) -> RunState | None:
        """What a trial's run directory says; None when it has none that can be read."""
        try:
            return read_run(self.run_directory(user_attrs[RUN]))
        except (KeyError, CheckpointError):
            return None

    def _record(self, number: int, entry: FrozenTrial) -> TrialRecord:
        state = self._run_state(entry.user_attrs)
        return TrialRecord(
            number=number,
            state="unfinished" if _is_interrupted(entry) else _STATES[entry.state],
            settings=entry.user_attrs.get(SETTINGS, {}),
            val_log_likelihood=state.best_metric if state else None,
            best_epoch=state.best_epoch if state and state.best else None,
            epochs=state.epoch + 1 if state else 0,
            run=self.run_directory(number).relative_to(self.out).as_posix(),
            reason=entry.user_attrs.get(REASON),
        )


class StudySearcher(Searcher):
    """Ray Tune's view of the study. Ray's own OptunaSearch tells Optuna that trials stopped by ASHA are complete."""

    def __init__(self, study: SearchStudy, total: int, progress: Progress, track: Sequence[str] = ()) -> None:
        super().__init__(METRIC, "max")
        self._study, self._report, self._track = study, progress, list(track)
        self._running: dict[str, optuna.Trial] = {}
        records = study.records()
        self._progress = SearchProgress(
            ended=study.ended(),
            total=total,
            best=max((r.val_log_likelihood for r in records if r.val_log_likelihood is not None), default=None),
        )
        progress(self._progress)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The argument of the trial function: where to train, on what, with which settings."""
        trial, number, config = self._study.ask()
        self._running[trial_id] = trial
        run = self._study.run_directory(number)
        return {"run": str(run), "config": config.model_dump(), "track": self._track}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """One more epoch of a trial."""
        if EPOCHS in result:
            value = result[METRIC]
            self._running[trial_id].report(value, result[EPOCHS])
            best = self._progress.best
            self._advance(best=value if best is None else max(best, value))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial returned, was stopped, or lost its worker too often."""
        reason = "its worker died" if error else (result or {}).get(REASON)
        self._study.end(self._running.pop(trial_id), reason)
        self._study.write_table()
        self._advance(ended=self._progress.ended + 1)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study's file holds everything that a resumed search needs."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see save."""

    def _advance(self, **changes: Any) -> None:
        self._progress = replace(self._progress, **changes)
        self._report(self._progress)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _is_interrupted(entry: FrozenTrial) -> bool:
    """Whether a trial was marked as failed only because its search was killed."""
    return entry.state == TrialState.FAIL and REASON not in entry.user_attrs


def _open(path: Path) -> optuna.Study:
    """The study in a file; CheckpointError when it is damaged, of a newer Optuna, or locked for longer than we wait."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            storage = optuna.storages.RDBStorage(
                f"sqlite:///{path}", engine_kwargs={"connect_args": {"timeout": BUSY_TIMEOUT_S}}
            )
            study = optuna.create_study(
                study_name=STUDY_NAME, storage=storage, direction="maximize", load_if_exists=True
            )
            study.get_trials()  # reads every row, so that damage shows now
            return study
        except (RuntimeError, ValueError, KeyError, SQLAlchemyError, optuna.exceptions.OptunaError) as error:
            cause = error.__cause__ or error
            reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
            raise CheckpointError(
                f"{path}: cannot be used as a study: {reason}: if another program holds it, end that; if it is of a "
                "newer Optuna, install that one; else search anew with another --out"
            ) from None


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    """TPE that keeps away from points which are being tried at the same time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS, constant_liar=True)
