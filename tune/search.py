"""Search for good training settings: Ray Tune runs the trials, Optuna chooses them, ASHA ends the poor ones early.

OUT/study.sqlite     the Optuna study, for optuna-dashboard
OUT/trials/NNN/      one training run per trial
OUT/trials.json      every trial with settings, best validation value, epochs and state, best first
OUT/importance.json  which settings matter, of a search with enough complete trials
OUT/best.yaml        the best settings, for `planner train --config`
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from planner.begun_work import held, remove
from planner.config import TrainConfig
from planner.dataset.storage import Dataset, load_dataset
from planner.errors import CheckpointError, ClusterError, DatasetError, TrainingError
from planner.places import Place
from planner.training.courier import Courier, courier
from planner.training.trackers import load_tracker
from tune.importance import write_importance
from tune.space import apply_settings, base_config
from tune.study import Progress, SearchStudy, StudySearcher, TrialRecord
from tune.trial import EPOCHS, GRACE_EPOCHS, METRIC, REDUCTION, run_trial

TRIAL_CPUS = 1
"""CPUs of a trial: training runs on one thread."""
WORKER_RETRIES = 2
"""How often a trial goes on from its last checkpoint after its worker died."""
LOCK = "search.lock"
RESULT_FILES = ("study.sqlite", "study.sqlite-journal", "trials", "trials.json", "importance.json", "best.yaml", "ray")
"""All that a search writes into its directory, besides the lock."""


@dataclass(frozen=True)
class SearchResult:
    """What a search found."""

    trials: list[TrialRecord]
    """Best first."""
    best: TrialRecord
    best_config: Path
    study: Path
    resumed: int
    """Trials that had ended in an earlier session."""

    def to_json(self) -> dict[str, Any]:
        """All of it by its names."""
        return {**asdict(self), "best_config": str(self.best_config), "study": str(self.study)}


def run_search(
    dataset: Place,
    out: Path,
    *,
    arch: str = "mlp_planner",
    trials: int = 8,
    epochs: int | None = None,
    seed: int = 0,
    fresh: bool = False,
    max_concurrent: int | None = None,
    progress: Progress = lambda state: None,
    track: Sequence[str] = (),
) -> SearchResult:
    """Search until ``trials`` trials have ended, and write the best settings. Ray must be connected.

    ``epochs`` per trial at most (default: the architecture's own); ``max_concurrent`` trials at the same time (default:
    as many as Ray has CPUs). A search in ``out`` goes on: trials that ended stay, those that were interrupted
    continue from their last checkpoint, new ones make up the number. With ``fresh`` it is removed first.
    ``track``: trackers of every trial's training, as MODULE:CLASS. Raises ConfigError, DatasetError,
    CheckpointError, TrainingError or ClusterError.
    """
    for path in track:
        load_tracker(path)
    config = base_config(arch, epochs, seed)
    opened = _usable_dataset(dataset)
    _check_out(out)
    with held(out / LOCK, f"{out}: a search is running there: wait for it, or give another --out"):
        if fresh:
            remove(out, RESULT_FILES)
        study = SearchStudy(
            out.resolve(),
            config,
            stored_similar=opened.info.n_similar,
            seed=seed,
            describes={"dataset_hash": opened.info.dataset_hash, **config.model_dump()},
        )
        resumed = study.ended()
        if resumed < trials:
            import ray

            with courier(ray, dataset, study.out) as carried:
                _run_trials(study, carried, trials, max_concurrent, progress, track)
        records = study.write_table()
        write_importance(study.study, out)
    best = records[0]
    if best.val_log_likelihood is None or best.state not in ("complete", "stopped"):
        raise TrainingError(f"{out}: every trial failed; the first: {best.reason}")
    _write_best(out / "best.yaml", config, best)
    return SearchResult(records, best, out / "best.yaml", out / "study.sqlite", resumed)


def _run_trials(
    study: SearchStudy,
    carried: Courier,
    trials: int,
    max_concurrent: int | None,
    progress: Progress,
    track: Sequence[str],
) -> None:
    """Run the missing trials with Ray Tune."""
    import ray
    from ray.tune import FailureConfig, RunConfig, TuneConfig, TuneError, Tuner, with_parameters, with_resources
    from ray.tune.schedulers import ASHAScheduler

    if ray.cluster_resources().get("CPU", 0) < TRIAL_CPUS:
        raise ClusterError(f"a trial needs {TRIAL_CPUS} CPU and Ray has none: start it with CPUs, or add a worker node")

    epochs = study.config.epochs
    tuner = Tuner(
        with_resources(with_parameters(run_trial, carried=carried), {"cpu": TRIAL_CPUS}),
        tune_config=TuneConfig(
            search_alg=StudySearcher(study, trials, progress, track),
            # Stopping at max_t is left to the training loop, which then closes its run properly.
            scheduler=ASHAScheduler(
                time_attr=EPOCHS,
                metric=METRIC,
                mode="max",
                max_t=epochs + 1,
                grace_period=min(GRACE_EPOCHS, epochs),
                reduction_factor=REDUCTION,
            ),
            num_samples=trials - study.ended(),
            max_concurrent_trials=max_concurrent,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=RunConfig(
            name=_session_name(study.out / "ray"),
            storage_path=str(study.out / "ray"),
            failure_config=FailureConfig(max_failures=WORKER_RETRIES),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except (ray.exceptions.RayError, TuneError) as error:
        raise ClusterError(f"the search broke off: {error}; the same command goes on from here") from error


def _usable_dataset(path: Place) -> Dataset:
    dataset = load_dataset(path)
    for name, purpose in (("train", "there is nothing to learn from"), ("val", "trials cannot be compared")):
        if not len(dataset.splits[name]):
            raise DatasetError(f"{path}: its {name} split is empty, so {purpose}; build a dataset from more runs")
    return dataset


def _check_out(out: Path) -> None:
    exists = (out / "study.sqlite").exists()
    if not exists and out.exists() and any(entry.name != LOCK for entry in out.iterdir()):
        raise CheckpointError(f"{out} holds other files than a search: give an empty or new directory as --out")


def _session_name(directory: Path) -> str:
    """A name Ray has not used in this search: it would take up its own state under an old one."""
    return f"session-{len(list(directory.glob('session-*')))}"


def _write_best(path: Path, config: TrainConfig, best: TrialRecord) -> None:
    """The settings that differ from trial to trial, and those that the result depends on besides."""
    chosen = apply_settings(config, best.settings).model_dump(include={"model", "epochs", "seed", "select_by"})
    flat = {name: value for name, value in best.settings.items() if "." not in name}
    header = (
        f"# Best of a `planner tune` search: trial {best.number}, validation log-likelihood "
        f"{best.val_log_likelihood:.4f} nats per example after {(best.best_epoch or 0) + 1} epochs ({best.state}).\n"
    )
    path.write_text(header + yaml.safe_dump(flat | chosen, sort_keys=False), "utf-8")
