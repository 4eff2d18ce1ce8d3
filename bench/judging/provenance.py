"""What a trained run has learned from, so that nobody is judged by what they have seen."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from planner.dataset.storage import load_dataset
from planner.errors import CheckpointError, DatasetError, PathError
from planner.places import place_of
from planner.runs.checkpoint import read_run
from planner.scoring.utility import Metrics, recorded_metrics


@dataclass(frozen=True)
class Provenance:
    """The examples that a run, those from whose weights it started, and its teacher trained on or stopped by."""

    from_winners: bool = False
    """Whether the run itself, not only one that it started from, learned from a bench's winners."""
    started_from: Path | None = None
    """The run whose weights it started from."""
    example_ids: frozenset[str] = frozenset()
    issue_ids: frozenset[str] = frozenset()
    unknown: tuple[str, ...] = field(default=())
    """Why some of it is not known."""
    metrics: Metrics | None = None
    """The objective's by which the winners were judged that the run itself learned from; None: it learned from none."""


def provenance(path: Path) -> Provenance:
    """What the run (or checkpoint of a run) at ``path`` has learned from, as far as it is known."""
    run = path if (path / "run.json").exists() else path.parent.parent
    try:
        state = read_run(run)
    except CheckpointError:
        return Provenance(unknown=(f"{path} is a checkpoint without its run",))
    started_from = None if state.init_from is None else Path(state.init_from)
    earlier = _all_of([path for path in (started_from, state.teacher and Path(state.teacher)) if path])
    try:
        dataset = load_dataset(place_of(state.dataset))
    except (DatasetError, PathError) as error:
        return Provenance(
            False, started_from, earlier.example_ids, earlier.issue_ids, (*earlier.unknown, f"{run}: {error}")
        )
    unknown = earlier.unknown
    if dataset.info.dataset_hash != state.dataset_hash:
        unknown = (*unknown, f"{state.dataset} has changed since {run} was trained on it")
    from_winners = dataset.info.label_source == "bench_winners"
    tables = [dataset.splits[name].table for name in ("train", "val") if len(dataset.splits[name])]
    return Provenance(
        from_winners,
        started_from,
        earlier.example_ids.union(*(table["example_id"] for table in tables)),
        earlier.issue_ids.union(*(table["issue_id"] for table in tables)),
        unknown,
        recorded_metrics(dataset.info.objective) if from_winners else None,
    )


def _all_of(runs: Sequence[Path]) -> Provenance:
    """What all these runs have learned from, together."""
    parts = [provenance(run) for run in runs]
    return Provenance(
        example_ids=frozenset().union(*(part.example_ids for part in parts)),
        issue_ids=frozenset().union(*(part.issue_ids for part in parts)),
        unknown=tuple(reason for part in parts for reason in part.unknown),
    )
