"""`planner compare`: every policy on one dataset, side by side; the neural ones trained with several seeds.

OUT/runs/ARCH-SEED/     training runs; finished ones are not trained again
OUT/comparison.json     all numbers
OUT/comparison.md       the table
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from planner.begun_work import remove
from planner.config import arch_names, load_config
from planner.dataset.storage import Dataset, load_dataset
from planner.errors import ConfigError
from planner.evaluation.comparison_rows import Contender, RiskTarget, Row, contender, judge, trained_contender
from planner.evaluation.decisions import decide_by_rule, decide_by_values
from planner.evaluation.tables import markdown
from planner.places import Place
from planner.policies.registry import baselines
from planner.policy_names import HEURISTIC, VALUE_ARCH, VALUE_READINGS
from planner.runs.value import ValueEnsemble
from planner.training.many import Progress, train_many
from planner.training.trackers import load_tracker

VALUE_SETTINGS = ("model.value_head=true", "policy_weight=0", "bootstrap=true")
MEMBERS = 5
"""Runs in the ensemble."""
RESULT_FILES = ("runs", "comparison.json", "comparison.md")
"""All that a comparison writes into its directory."""


@dataclass(frozen=True)
class Comparison:
    """What `planner compare` found, as one value: tables, JSON and pages read the same."""

    dataset: str
    dataset_hash: str
    seeds: int
    overrides: tuple[str, ...]
    max_risk: float
    confidence: float
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON."""
        return {**asdict(self), "overrides": list(self.overrides), "rows": [row.to_json() for row in self.rows]}


def policy_names(dataset: Dataset) -> list[str]:
    """Every policy that can be compared on ``dataset``, as tables call it."""
    readings = VALUE_READINGS if dataset.splits["train"].outcomes.comparable.any() else ()
    return [HEURISTIC, *baselines("compare", dataset), *readings, *arch_names()]


def compare(
    dataset_path: Place,
    out: Path,
    *,
    policies: Sequence[str] | None = None,
    seeds: int = 3,
    overrides: Sequence[str] = (),
    promise: RiskTarget = RiskTarget(),
    fresh: bool = False,
    progress: Progress = lambda stage, done, total: None,
    track: Sequence[str] = (),
) -> Comparison:
    """Fit or train each policy (default: all) and judge it on validation and test, on seen and unseen issues.

    Ray must be connected. Runs in ``out`` that are finished are not trained again, unless ``fresh``. ``overrides`` are
    settings for every neural policy, as key=value. ``track``: further trackers of each training, as MODULE:CLASS.
    ConfigError for a policy that does not exist or needs what the dataset lacks.
    """
    for path in track:
        load_tracker(path)
    dataset = load_dataset(dataset_path)
    known = policy_names(dataset)
    chosen = known if policies is None else _chosen(policies, known)
    out.mkdir(parents=True, exist_ok=True)
    if fresh:
        remove(out, RESULT_FILES)
    plans = {
        name: {
            out.resolve() / "runs" / f"{name}-{seed}": load_config(name, None, [*overrides, f"seed={seed}"])
            for seed in range(seeds)
        }
        for name in chosen
        if name in arch_names()
    }
    if set(chosen) & set(VALUE_READINGS):
        ensemble = {
            out.resolve() / "runs" / f"value-{seed}": load_config(VALUE_ARCH, None, [*VALUE_SETTINGS, f"seed={seed}"])
            for seed in range(MEMBERS)
        }
        plans |= dict.fromkeys(set(chosen) & set(VALUE_READINGS), ensemble)
    runs = {run: config for plan in plans.values() for run, config in plan.items()}
    train_many(dataset_path, runs, progress, track=track)
    rows: list[Row] = []
    for done, name in enumerate(chosen):
        progress("judge", done, len(chosen))
        rows += judge(_contender(name, list(plans.get(name, {})), dataset, promise), dataset, promise)
    progress("judge", len(chosen), len(chosen))
    report = Comparison(
        dataset=str(dataset_path),
        dataset_hash=dataset.info.dataset_hash,
        seeds=seeds,
        overrides=tuple(overrides),
        max_risk=promise.max_risk,
        confidence=promise.confidence,
        rows=tuple(rows),
    )
    (out / "comparison.json").write_bytes(orjson.dumps(report.to_json(), option=orjson.OPT_INDENT_2))
    (out / "comparison.md").write_text(markdown(rows), "utf-8")
    return report


def _chosen(policies: Sequence[str], known: Sequence[str]) -> list[str]:
    """The policies' names as tables have them; a shell is better served by underscores than by spaces."""
    by_key = {_key(name): name for name in known}
    unknown = sorted({_key(policy) for policy in policies} - set(by_key))
    if unknown:
        raise ConfigError(f"--policies {', '.join(unknown)}: not here; choose from {', '.join(by_key)}, or all")
    return [by_key[_key(policy)] for policy in policies]


def _key(name: str) -> str:
    return name.replace(" ", "_")


def _contender(name: str, runs: Sequence[Path], dataset: Dataset, promise: RiskTarget) -> Contender:
    if name == HEURISTIC:
        return Contender(name, [lambda split: decide_by_rule(dataset, split)])
    if name in VALUE_READINGS:
        ensemble, safe = ValueEnsemble(runs), VALUE_READINGS[name]
        return Contender(name, [lambda split: decide_by_values(ensemble, dataset, split, safe=safe)])
    if runs:
        return trained_contender(name, runs, dataset, promise)
    return contender(name, [baselines()[name].fit(dataset)])
