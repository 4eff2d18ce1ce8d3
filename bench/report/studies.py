"""Results of compare, ablate and tune as a page shows them."""

from dataclasses import dataclass
from typing import Any

import orjson

from bench.report.sources import SetAside, Study

MAX_TRIALS = 60


@dataclass(frozen=True)
class Variant:
    """One policy of a comparison, or one setting of an ablation, on the test split where there is one."""

    group: str
    """The axis that is varied; empty in a comparison."""
    label: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class VariantStudy:
    """A comparison or an ablation by one metric."""

    kind: str
    path: str
    metric: str
    better: str
    dataset_hash: str
    seeds: int
    split: str
    rows: tuple[Variant, ...]


@dataclass(frozen=True)
class Trial:
    """One trial of a search."""

    number: int
    state: str
    value: float | None
    """Validation log-likelihood, nats per example."""
    epochs: int
    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Search:
    """A search for settings, best trial first."""

    path: str
    trials: tuple[Trial, ...]
    importance: tuple[tuple[str, float], ...] = ()
    """Setting -> share of what trials' values vary by, largest first; empty where the search does not say."""
    importance_trials: int = 0
    """How many trials that rests on."""


def read_study(study: Study) -> VariantStudy | Search | SetAside:
    """The study, or why it cannot be read."""
    try:
        return _search(study) if study.kind == "tune" else _variants(study)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return SetAside(str(study.path), f"cannot be read as a result of {study.kind}: {error!r:.200}")


def _variants(study: Study) -> VariantStudy:
    rows = [row for row in study.document["rows"] if row["issues"] == "all"]
    split = "test" if any(row["split"] == "test" for row in rows) else "val"
    rows = [row for row in rows if row["split"] == split]
    # Regret where the dataset knows it, else how often the executed plan is matched.
    by_regret = any(row.get("regret") is not None for row in rows)
    key, better = ("regret", "lower") if by_regret else ("exact_match", "higher")
    known = [row for row in rows if row.get(key) is not None]
    return VariantStudy(
        kind=study.kind,
        path=str(study.path),
        metric="regret" if by_regret else "exact match",
        better=better,
        dataset_hash=str(study.document["dataset_hash"]),
        seeds=int(study.document["seeds"]),
        split=split,
        rows=tuple(
            Variant(
                group=str(row.get("axis") or ""),
                label=str(row["policy"]),
                value=float(row[key]),
                low=float(row.get(f"{key}_low", row[key])),
                high=float(row.get(f"{key}_high", row[key])),
            )
            for row in known
        ),
    )


def _search(study: Study) -> Search:
    beside = study.path.with_name("importance.json")
    known: dict[str, Any] = orjson.loads(beside.read_bytes()) if beside.is_file() else {"trials": 0, "importance": {}}
    shares = {str(name): float(share) for name, share in known["importance"].items()}
    return Search(
        importance=tuple(sorted(shares.items(), key=lambda pair: -pair[1])),
        importance_trials=int(known["trials"]),
        path=str(study.path),
        trials=tuple(
            Trial(
                number=int(row["number"]),
                state=str(row["state"]),
                value=row["val_log_likelihood"],
                epochs=int(row["epochs"]),
                settings=tuple(
                    (name, f"{value:.3g}" if isinstance(value, float) else str(value))
                    for name, value in row["settings"].items()
                ),
            )
            for row in study.document[:MAX_TRIALS]
        ),
    )
