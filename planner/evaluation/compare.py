"""`planner compare`: every policy on one dataset, side by side; the neural ones trained with several seeds.

OUT/runs/ARCH-SEED/     training runs; finished ones are not trained again
OUT/comparison.json     all numbers
OUT/comparison.md       the table
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from planner.config import arch_names, load_config
from planner.dataset.storage import Dataset, Split, load_dataset
from planner.errors import ConfigError
from planner.evaluation.bootstrap import mean_interval
from planner.evaluation.decisions import Decisions, decide_by_rule, decide_by_score, labels_of
from planner.evaluation.metrics import Logged, metrics
from planner.models.frequency import PerGroup, SingleBest
from planner.models.learned import LearnedPolicy
from planner.models.neighbours import NearestNeighbours
from planner.models.policy import Policy
from planner.models.trees import BoostedTrees
from planner.training.checkpoint import read_run
from planner.training.loop import start_run, train

FITTED: dict[str, Callable[[Dataset], Policy]] = {
    "single_best": SingleBest,
    "per_group": PerGroup,
    "nearest_neighbours": NearestNeighbours,
    "boosted_trees": BoostedTrees,
}
HEURISTIC = "heuristic"
SHOWN = ("exact_match", "log_likelihood", "ece", "entropy_swarm", "entropy_candidates", "top1_share")

Progress = Callable[[str, int, int], None]


def policy_names() -> list[str]:
    """Every policy that can be compared."""
    return [HEURISTIC, *FITTED, *arch_names()]


def compare(
    dataset_path: Path,
    out: Path,
    *,
    policies: Sequence[str],
    seeds: int = 3,
    overrides: Sequence[str] = (),
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, Any]:
    """Fit or train each policy and judge it on validation and test, on seen and unseen issues. Ray must be connected.

    ``overrides`` are settings for every neural policy, as key=value. ConfigError for an unknown policy.
    """
    unknown = sorted(set(policies) - set(policy_names()))
    if unknown:
        raise ConfigError(f"--policies {', '.join(unknown)}: unknown; choose from {', '.join(policy_names())}, or all")
    dataset = load_dataset(dataset_path)
    out.mkdir(parents=True, exist_ok=True)
    neural = [name for name in policies if name in arch_names()]
    runs = _train_all(dataset_path, out / "runs", neural, seeds, overrides, progress)
    rows = []
    for done, name in enumerate(policies):
        progress("judge", done, len(policies))
        rows += _judge(name, runs.get(name, []), dataset)
    progress("judge", len(policies), len(policies))
    report = {
        "dataset": str(dataset_path),
        "dataset_hash": dataset.info.dataset_hash,
        "seeds": seeds,
        "overrides": list(overrides),
        "rows": rows,
    }
    (out / "comparison.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    (out / "comparison.md").write_text(markdown(report), "utf-8")
    return report


def markdown(report: dict[str, Any]) -> str:
    """The table of a report, one row per policy, split and group."""
    header = ("policy", "split", "issues", "n", *SHOWN, "exact 95 %", "parameters", "train s")
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in report["rows"]]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    values = ["-" if row[name] is None else f"{row[name]:.3f}" for name in SHOWN]
    seconds = "-" if row["train_seconds"] is None else f"{row['train_seconds']:.0f}"
    interval = f"{row['exact_match_low']:.3f} to {row['exact_match_high']:.3f}"
    return [
        row["policy"],
        row["split"],
        row["issues"],
        str(row["examples"]),
        *values,
        interval,
        "-" if row["parameters"] is None else str(row["parameters"]),
        seconds,
    ]


def _train_all(
    dataset: Path, directory: Path, archs: Sequence[str], seeds: int, overrides: Sequence[str], progress: Progress
) -> dict[str, list[Path]]:
    """Train what is not trained yet, one CPU each, in parallel; architecture -> its runs by seed."""
    import ray

    runs = {arch: [directory / f"{arch}-{seed}" for seed in range(seeds)] for arch in archs}
    remote = ray.remote(num_cpus=1, max_retries=0)(_train_one)
    waiting = [
        remote.remote(arch, seed, [*overrides, f"seed={seed}"], str(dataset.resolve()), str(run.resolve()))
        for arch, paths in runs.items()
        for seed, run in enumerate(paths)
    ]
    total = len(waiting)
    while waiting:
        progress("train", total - len(waiting), total)
        finished, waiting = ray.wait(waiting)
        ray.get(finished)
    if total:
        progress("train", total, total)
    return runs


def _train_one(arch: str, seed: int, overrides: list[str], dataset: str, run: str) -> None:
    path = Path(run)
    resume = (path / "run.json").exists()
    if resume and read_run(path).finished:
        return
    config = load_config(arch, None, overrides)
    start_run(path, config, Path(dataset), init_from=None, workers=1, resume=resume)
    started = time.monotonic()
    train(path)
    # A run that was interrupted does not know all of its time.
    if not resume:
        (path / "seconds.json").write_bytes(orjson.dumps(time.monotonic() - started))


def _judge(name: str, runs: Sequence[Path], dataset: Dataset) -> list[dict[str, Any]]:
    """One row per split and group; a policy with several seeds gives the mean of each metric over them."""
    learned = [LearnedPolicy(run) for run in runs]
    fitted: list[Policy] = [FITTED[name](dataset)] if name in FITTED else list(learned)
    parameters = sum(p.numel() for p in learned[0].model.parameters()) if learned else None
    seconds = [orjson.loads((run / "seconds.json").read_bytes()) for run in runs if (run / "seconds.json").exists()]
    rows = []
    for split_name in ("val", "test"):
        split = dataset.splits[split_name]
        if not len(split):
            continue
        rule = decide_by_rule(dataset, split)
        decided = [rule] if name == HEURISTIC else [decide_by_score(policy, split) for policy in fitted]
        for issues, selected in _issue_groups(split).items():
            rows.append(
                {
                    "policy": name,
                    "split": split_name,
                    "issues": issues,
                    "parameters": parameters,
                    "train_seconds": float(np.mean(seconds)) if seconds else None,
                    **_mean_metrics(decided, rule, split, dataset, selected),
                }
            )
    return rows


def _mean_metrics(
    decided: Sequence[Decisions], rule: Decisions, split: Split, dataset: Dataset, rows: NDArray[np.intp]
) -> dict[str, Any]:
    labels = labels_of(split)
    logged = Logged(labels, np.asarray(split.passed), np.asarray(split.duration_ms), dataset.info.minute_seconds)
    each = [metrics(decisions, logged, rows, abstain_below=0.0, default=rule) for decisions in decided]
    result: dict[str, Any] = {}
    for key in each[0]:
        values = [one[key] for one in each if one[key] is not None]
        result[key] = float(np.mean([float(v) for v in values if v is not None])) if values else None
    result["examples"] = len(rows)
    # The interval is over examples; an example's match is its mean over the seeds.
    matches = np.mean([[d.actions[i] == labels[i] for i in rows] for d in decided], axis=0)
    result["exact_match"], result["exact_match_low"], result["exact_match_high"] = mean_interval(matches)
    return result


def _issue_groups(split: Split) -> dict[str, NDArray[np.intp]]:
    seen = np.asarray(split.seen)
    groups = {"all": np.arange(len(split)), "seen": np.flatnonzero(seen), "unseen": np.flatnonzero(~seen)}
    return {name: rows for name, rows in groups.items() if len(rows)}
