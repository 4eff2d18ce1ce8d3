"""`planner ablate`: one setting varied at a time, every variant trained with several seeds, one table.

OUT/runs/HASH/          training runs, named by their settings: variants that are equal share one, finished ones stay
OUT/ablation.json, .csv, .md

The number of similar runs and the tokens of each are views on the one dataset, which stores 16 of them at full length.
"""

import csv
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from planner.begun_work import remove
from planner.config import TrainConfig, load_config
from planner.contracts.document import canonical_json
from planner.dataset.storage import Dataset, Split, load_dataset
from planner.errors import ConfigError
from planner.evaluation.comparison_rows import Contender, RiskTarget, Row, judge, trained_contender
from planner.evaluation.decisions import Decisions, decide_by_score, decide_head_by_head
from planner.evaluation.tables import markdown
from planner.models.load import checked_settings, settings_of
from planner.places import Place
from planner.runs.learned import LearnedPolicy
from planner.training.many import Progress, train_many
from planner.training.trackers import load_tracker
from tune.space import Settings, apply_settings

NEIGHBOURS = (0, 1, 4, 8, 16)
TOKENS_PER_RUN = (32, 48, 64)
LOOPS = (1, 2, 4, 8)
"""M; the windows K of each are 1, half of it, and all."""

AXES: dict[str, Sequence[Settings]] = {
    "n_similar": [{"n_similar": n} for n in NEIGHBOURS],
    "tokens_per_run": [{"model.tokens_per_run": n} for n in TOKENS_PER_RUN],
    "loops": [
        {"model.loops": loops, "model.backprop_loops": window}
        for loops in LOOPS
        for window in sorted({1, max(1, loops // 2), loops})
    ],
    "mlp": [
        {"model.mlp": "swiglu"},
        {"model.mlp": "convswiglu"},
        {"model.mlp": "convswiglu", "model.train_taps": False},
    ],
    "action_head": [{"model.action_head": "four"}, {"model.action_head": "joint"}],
}
RESULT_FILES = ("runs", "ablation.json", "ablation.csv", "ablation.md")
"""All that an ablation writes into its directory."""
DECODING = "decoding"
"""The axis that needs no training of its own: joint against head-by-head decoding of the base settings."""


@dataclass(frozen=True)
class Variant:
    """One way to set the varied settings; ``runs`` are its seeds."""

    axis: str
    label: str
    config: TrainConfig
    runs: tuple[Path, ...]


@dataclass(frozen=True)
class Ablation:
    """What `planner ablate` found, as one value: tables, JSON and pages read the same."""

    dataset: str
    dataset_hash: str
    base: TrainConfig
    """The settings that all variants start from."""
    seeds: int
    max_risk: float
    confidence: float
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON."""
        return {**vars(self), "base": self.base.model_dump(), "rows": [row.to_json() for row in self.rows]}


def ablate(
    dataset_path: Place,
    out: Path,
    *,
    arch: str = "urm_planner",
    axes: Sequence[str] | None = None,
    seeds: int = 3,
    overrides: Sequence[str] = (),
    promise: RiskTarget = RiskTarget(),
    fresh: bool = False,
    progress: Progress = lambda stage, done, total: None,
    track: Sequence[str] = (),
) -> Ablation:
    """Train and judge every variant of ``arch`` along ``axes`` (default: all that it has). Ray must be connected.

    ``overrides`` change the settings that all variants start from. Runs in ``out`` that are finished are not trained
    again, unless ``fresh``. ``track``: further trackers of each training, as MODULE:CLASS. ConfigError for an axis the
    architecture lacks.
    """
    for path in track:
        load_tracker(path)
    dataset = load_dataset(dataset_path)
    base = load_config(arch, None, overrides)
    chosen = _axes_of(base, axes)
    variants = [
        variant for axis in chosen for variant in _variants(axis, base, dataset.info.n_similar, out.resolve(), seeds)
    ]
    out.mkdir(parents=True, exist_ok=True)
    if fresh:
        remove(out, RESULT_FILES)
    train_many(
        dataset_path,
        {run: _seeded(variant.config, seed) for variant in variants for seed, run in enumerate(variant.runs)},
        progress,
        track=track,
    )
    rows: list[Row] = []
    for done, variant in enumerate(variants):
        progress("judge", done, len(variants))
        judged = judge(_contender(variant, dataset, promise), dataset, promise)
        rows += [replace(row, axis=variant.axis) for row in judged]
    progress("judge", len(variants), len(variants))
    report = Ablation(
        dataset=str(dataset_path),
        dataset_hash=dataset.info.dataset_hash,
        base=base,
        seeds=seeds,
        max_risk=promise.max_risk,
        confidence=promise.confidence,
        rows=tuple(rows),
    )
    document = report.to_json()
    (out / "ablation.json").write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    (out / "ablation.md").write_text(markdown(rows), "utf-8")
    with (out / "ablation.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(document["rows"][0]))
        writer.writeheader()
        writer.writerows(document["rows"])
    return report


def _axes_of(base: TrainConfig, wanted: Sequence[str] | None) -> list[str]:
    """The axes that the architecture has; ConfigError for a wanted one that it lacks."""
    known = set(settings_of(base.class_path).model_fields)
    having = [
        axis
        for axis, variants in AXES.items()
        if all(name.removeprefix("model.") in known for name in variants[0] if name.startswith("model."))
    ]
    having.append(DECODING)
    unknown = sorted(set(wanted or ()) - set(having))
    if unknown:
        raise ConfigError(f"--axes {', '.join(unknown)}: {base.class_path} has none; choose from {', '.join(having)}")
    return having if wanted is None else list(wanted)


def _variants(axis: str, base: TrainConfig, stored_similar: int, out: Path, seeds: int) -> list[Variant]:
    if axis == DECODING:
        return [_variant(axis, how, base, out, seeds) for how in DECODERS]
    return [
        _variant(
            axis, " ".join(f"{name.rpartition('.')[2]}={value}" for name, value in settings.items()), config, out, seeds
        )
        for settings in AXES[axis]
        if (config := apply_settings(base, settings)).n_similar <= stored_similar
    ]


def _variant(axis: str, label: str, config: TrainConfig, out: Path, seeds: int) -> Variant:
    runs = tuple(out / "runs" / _fingerprint(_seeded(config, seed)) for seed in range(seeds))
    return Variant(axis, label, config, runs)


def _seeded(config: TrainConfig, seed: int) -> TrainConfig:
    return config.model_copy(update={"seed": seed})


def _fingerprint(config: TrainConfig) -> str:
    """Equal for equal settings, whatever of them is spelled out and whatever is a default of the model's."""
    complete = checked_settings(config.class_path, config.model).model_dump()
    return hashlib.sha256(canonical_json({**config.model_dump(), "model": complete})).hexdigest()[:16]


DECODERS: dict[str, Callable[[LearnedPolicy, Split], Decisions]] = {
    "joint": decide_by_score,
    "head by head": decide_head_by_head,
}


def _contender(variant: Variant, dataset: Dataset, promise: RiskTarget) -> Contender:
    trained = trained_contender(variant.label, variant.runs, dataset, promise)
    if variant.axis != DECODING:
        return trained
    decoders = [partial(DECODERS[variant.label], LearnedPolicy(run)) for run in variant.runs]
    return Contender(variant.label, decoders, trained.parameters, trained.train_seconds)
