"""What a repo has of Cyntra's and of ours, what of it is older than what it was made from, and what comes next.

Reads names, times and small JSON files only: neither torch nor Ray.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.ledger import Ledger
from planner.errors import BenchError
from planner.own_places import BUNDLE, DATASET, RUNS
from planner.run_directory import RUN_LOCK, is_held, run_document

PLANNER_DIR = DATASET.parent
LEDGER = PLANNER_DIR / "bench" / "ledger.sqlite"
WINNERS = DATASET.with_name("winners")
STUDIES = ("compare", "ablate", "tune")
REBUILD_SHARE = 0.1
"""So many new runs, beside those in the dataset, make it worth building again."""


@dataclass(frozen=True)
class RunsState:
    """What Cyntra has recorded."""

    archives: int
    world_runs: int
    newest_s: float | None
    """Seconds since the epoch."""


@dataclass(frozen=True)
class DatasetState:
    """A dataset as its dataset.json has it."""

    path: str
    dataset_hash: str
    examples: dict[str, int]
    built_s: float
    new_runs: int | None
    """Runs of Cyntra since it was built; None for one that is not built from these."""


@dataclass(frozen=True)
class TrainedState:
    """A trained run."""

    path: str
    policy: str
    dataset: str
    written_s: float
    epochs: int
    state: str
    """finished, stopped, or training: a living command is at it."""
    stale: str | None
    """What has changed since it was trained."""
    judged: bool
    """Whether results on a bench stand beside it."""


@dataclass(frozen=True)
class LedgerState:
    """A bench's ledger; ``trouble`` is why it cannot be read."""

    path: str
    cases: int
    finished: int
    planned: int
    faults: int
    written_s: float
    trouble: str | None = None


@dataclass(frozen=True)
class BundleState:
    """A bundle."""

    path: str
    checkpoint_id: str
    exported_s: float
    stale: str | None


@dataclass(frozen=True)
class RepoState:
    """All of it."""

    repo: str
    is_cyntra_repo: bool
    runs: RunsState
    datasets: tuple[DatasetState, ...]
    trained: tuple[TrainedState, ...]
    """The newest first."""
    ledger: LedgerState | None
    bundle: BundleState | None
    studies: tuple[str, ...]
    next_command: str
    why: str

    def to_json(self) -> dict[str, Any]:
        """All of it by its names."""
        return asdict(self)


def read_state(repo: Path) -> RepoState:
    """The state of the repo at ``repo``; never an error: what cannot be read is named in the state."""
    runs = _runs(repo)
    datasets = tuple(
        found for path in (DATASET, WINNERS) if (found := _dataset(repo / path, repo, path == DATASET)) is not None
    )
    hashes = {str((repo / found.path).resolve()): found.dataset_hash for found in datasets}
    trained = tuple(sorted(_trained(repo, hashes), key=lambda run: -run.written_s))
    ledger, bundle = _ledger(repo / LEDGER, repo), _bundle(repo, trained)
    studies = tuple(name for name in STUDIES if (repo / PLANNER_DIR / name).is_dir())
    is_repo = (repo / ".cyntra").is_dir()
    command, why = _next(repo, is_repo, runs, datasets, trained, ledger, bundle)
    return RepoState(str(repo), is_repo, runs, datasets, trained, ledger, bundle, studies, command, why)


def age(seconds: float, now: float | None = None) -> str:
    """How long ago that was, in the largest unit that gives at least 1."""
    passed = max(0.0, (time.time() if now is None else now) - seconds)
    for name, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if passed >= length:
            n = int(passed // length)
            return f"{n} {name}{'s' if n > 1 else ''} ago"
    return "just now"


def _runs(repo: Path) -> RunsState:
    archives, world_runs = (_entries(repo / ".cyntra" / name) for name in ("archives", "runs"))
    times = [path.stat().st_mtime for path in (*archives, *world_runs)]
    return RunsState(len(archives), len(world_runs), max(times, default=None))


def _entries(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.is_dir()] if directory.is_dir() else []


def _dataset(path: Path, repo: Path, of_runs: bool) -> DatasetState | None:
    document = _json(path / "dataset.json")
    if document is None:
        return None
    built = (path / "dataset.json").stat().st_mtime
    entries = (*_entries(repo / ".cyntra/archives"), *_entries(repo / ".cyntra/runs")) if of_runs else ()
    return DatasetState(
        path=_shown(path, repo),
        dataset_hash=str(document.get("dataset_hash")),
        examples={name: split.get("examples", 0) for name, split in (document.get("splits") or {}).items()},
        built_s=built,
        new_runs=sum(entry.stat().st_mtime > built for entry in entries) if of_runs else None,
    )


def _trained(repo: Path, hashes: dict[str, str]) -> list[TrainedState]:
    found = []
    judged = _judged(repo)
    for path in (repo / RUNS).glob("*/run.json"):
        document = run_document(path.parent)
        if document is None:
            continue
        dataset = str(document.get("judged_on") or document.get("dataset"))
        busy = is_held(path.parent / RUN_LOCK)
        config = document.get("config") or {}
        found.append(
            TrainedState(
                path=_shown(path.parent, repo),
                policy=str(config.get("fitted_policy") or str(config.get("class_path")).rpartition("@")[2]),
                dataset=_shown(Path(dataset), repo),
                written_s=path.stat().st_mtime,
                epochs=int(document.get("epoch", -1)) + 1,
                state="finished" if document.get("finished") else "training" if busy else "stopped",
                stale=_older(dataset, document, hashes),
                judged=path.parent.name in judged,
            )
        )
    return found


def _judged(repo: Path) -> set[str]:
    """Names of the runs with results on a bench; those of several judged together lie in the first one's directory."""
    results = [_json(path) or {} for path in (repo / RUNS).glob("*/regret.json")]
    return {str(policy.get("policy")) for document in results for policy in document.get("policies") or []}


def _older(dataset: str, document: dict[str, Any], hashes: dict[str, str]) -> str | None:
    """Why a run is not that of the dataset as it stands; lessons of a pupil have a hash of their own."""
    if document.get("judged_on") is not None:
        return None
    now = hashes.get(str(Path(dataset).resolve()))
    if now is not None and now != document.get("dataset_hash"):
        return "its dataset was built again since"
    return None


def _ledger(path: Path, repo: Path) -> LedgerState | None:
    if not path.exists():
        return None
    written = max(one.stat().st_mtime for one in path.parent.glob(f"{path.name}*"))
    shown = _shown(path, repo)
    try:
        with Ledger.read(path) as ledger:
            counts, cases = ledger.progress(), len(ledger.cases())
    except BenchError as error:
        return LedgerState(shown, 0, 0, 0, 0, written, str(error))
    return LedgerState(shown, cases, counts.finished, counts.planned + counts.started, counts.faults, written)


def _bundle(repo: Path, trained: Sequence[TrainedState]) -> BundleState | None:
    document = _json(repo / BUNDLE / "metadata.json")
    if document is None:
        return None
    exported = (repo / BUNDLE / "metadata.json").stat().st_mtime
    newer = next((run for run in trained if run.state == "finished" and run.written_s > exported), None)
    stale = None if newer is None else f"{newer.path} was trained since"
    return BundleState(_shown(repo / BUNDLE, repo), str(document.get("checkpoint_id")), exported, stale)


def _next(
    repo: Path,
    is_repo: bool,
    runs: RunsState,
    datasets: Sequence[DatasetState],
    trained: Sequence[TrainedState],
    ledger: LedgerState | None,
    bundle: BundleState | None,
) -> tuple[str, str]:
    """The next sensible command, and why."""
    where = "" if repo == Path() else f" {repo}"
    by_path = {found.path: found for found in datasets}
    dataset, winners = by_path.get(str(DATASET)), by_path.get(str(WINNERS))
    finished = [run for run in trained if run.state == "finished"]
    stopped = next((run for run in trained if run.state == "stopped"), None)
    if not is_repo:
        return (
            "planner quickstart",
            "no .cyntra here: give the root of a Cyntra repo, or see the whole loop on a sandbox",
        )
    if not runs.archives and not runs.world_runs:
        return "cyntra run", "Cyntra has recorded no run here yet"
    if dataset is None:
        return f"planner dataset build{where}", "there are runs, and no dataset of them yet"
    if stopped is not None:
        return (
            f"planner train {stopped.dataset}",
            f"{stopped.path} stopped after {stopped.epochs} epochs; give it its options",
        )
    if dataset.new_runs and dataset.new_runs > REBUILD_SHARE * sum(dataset.examples.values()):
        return f"planner dataset build{where}", f"{dataset.new_runs} runs came since the dataset was built"
    if not finished:
        return "planner train --arch structural", "nothing is trained yet; this is fitted to single launches in seconds"
    if ledger is None:
        return f"planner bench{where} --dry-run", "no issue was benched yet: what it would take"
    if ledger.trouble is not None:
        return f"planner bench{where} --ledger NEW", ledger.trouble
    if ledger.planned:
        return f"planner bench{where}", f"{ledger.planned} planned executions have no outcome yet"
    if winners is None or winners.built_s < ledger.written_s - 1:
        return f"planner relabel {LEDGER}", "the bench has outcomes that no dataset holds"
    if not any(run.written_s > winners.built_s for run in finished):
        return f"planner train {WINNERS}", "nothing was trained on the bench's winners"
    newest = finished[0]
    if not newest.judged:
        return f"planner evaluate {newest.path} --bench {LEDGER}", "the newest run was not judged on the bench"
    if bundle is None or bundle.stale:
        return f"planner export {newest.path}", "there is no bundle of the newest run"
    return "planner report", "all is there: this puts it on one page"


def _json(path: Path) -> dict[str, Any] | None:
    try:
        document = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return document if isinstance(document, dict) else None


def _shown(path: Path, repo: Path) -> str:
    """A path below the repo as it is named there, another as it is."""
    full, root = path.absolute(), repo.absolute()
    return str(full.relative_to(root)) if full.is_relative_to(root) else str(path)
