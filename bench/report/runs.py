"""Trained runs as a page shows them: settings, learning curves, calibration. Read without torch, and leniently."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.report.sources import SetAside

SELECTED_BY = {
    "log_likelihood": "val_log_likelihood",
    "pass_log_likelihood": "val_pass_log_likelihood",
    "trial_log_likelihood": "val_trial_log_likelihood",
    "regret": "val_regret",
}
"""What the best epoch is best in -> its key in metrics.jsonl."""


@dataclass(frozen=True)
class Bin:
    """Decisions of like confidence."""

    confidence: float
    accuracy: float
    examples: int


@dataclass(frozen=True)
class Calibration:
    """calibration.json of the best checkpoint."""

    ece_before: float | None
    ece_after: float | None
    ece_cross_validated: float | None
    temperatures_kept: bool
    threshold: float
    guaranteed: bool
    accepted: int
    examples: int
    risk: float | None
    max_risk: float
    before: tuple[Bin, ...]
    after: tuple[Bin, ...]


@dataclass(frozen=True)
class Curve:
    """One value of every epoch that has it."""

    epochs: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class TrainedRun:
    """One run's record."""

    path: Path
    what: str
    """Its class, or the policy that is fitted in one go."""
    dataset: str
    dataset_hash: str
    seed: int | None
    finished: bool
    epochs: int
    best_epoch: int
    selected_by: str
    note: str | None
    loss: Curve
    validation: Curve
    calibration: Calibration | None
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The run directory's name."""
        return self.path.resolve().name


def read_run_record(run: Path) -> TrainedRun | SetAside:
    """What a run directory says of itself, or why that cannot be read."""
    try:
        document = orjson.loads((run / "run.json").read_bytes())
        config = document["config"]
        selected_by = document.get("selected_by") or "log_likelihood"
        lines = _lines(run / "metrics.jsonl")
        best = document.get("best")
        return TrainedRun(
            path=run,
            what=str(config.get("fitted_policy") or config.get("class_path") or "unknown"),
            dataset=str(document["dataset"]),
            dataset_hash=str(document["dataset_hash"]),
            seed=config.get("seed"),
            finished=bool(document.get("finished")),
            epochs=len(lines),
            best_epoch=int(document.get("best_epoch", -1)),
            selected_by=selected_by,
            note=document.get("note"),
            loss=_curve(lines, "train_loss"),
            validation=_curve(lines, SELECTED_BY.get(selected_by, "val_log_likelihood")),
            calibration=None if best is None else _calibration(run / best / "calibration.json"),
            settings=config,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return SetAside(str(run), f"its record cannot be read: {error!r:.200}")


def _lines(path: Path) -> list[dict[str, Any]]:
    """One document per epoch; a last line that was cut by a crash is left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(orjson.loads(line))
        except ValueError:
            continue
    return found


def _curve(lines: list[dict[str, Any]], key: str) -> Curve:
    pairs = [(int(line["epoch"]), float(line[key])) for line in lines if line.get(key) is not None]
    return Curve(tuple(epoch for epoch, _ in pairs), tuple(value for _, value in pairs))


def _calibration(path: Path) -> Calibration | None:
    if not path.exists():
        return None
    found = orjson.loads(path.read_bytes())
    return Calibration(
        ece_before=found.get("ece_before"),
        ece_after=found.get("ece_after"),
        ece_cross_validated=found.get("ece_cross_validated"),
        temperatures_kept=found.get("temperatures_kept", True),
        threshold=found["threshold"],
        guaranteed=found["guaranteed"],
        accepted=found["accepted"],
        examples=found["examples"],
        risk=found.get("risk"),
        max_risk=found["max_risk"],
        before=_bins(found.get("reliability_before")),
        after=_bins(found.get("reliability_after")),
    )


def _bins(rows: list[dict[str, Any]] | None) -> tuple[Bin, ...]:
    return tuple(Bin(row["confidence"], row["accuracy"], row["examples"]) for row in rows or [])
