"""What a report is made of: every record that was named, told apart by what it holds.

What lies beside these and cannot be read is set aside, with its reason.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import orjson

from planner.errors import BenchError, UsageError
from planner.evaluation.regret_report import RegretReport

PLANNER_DIR = Path(".cyntra/planner")
"""Where commands leave their records in a repo."""
LEDGER, RESULTS = Path("bench/ledger.sqlite"), Path("results.json")
"""In PLANNER_DIR and in a quickstart's directory."""
STUDY_FILES = ("comparison.json", "ablation.json", "trials.json")


@dataclass(frozen=True)
class SetAside:
    """A record that is not in the report."""

    path: str
    reason: str


@dataclass(frozen=True)
class Judged:
    """A report of `planner evaluate --bench`, and the file that holds it."""

    path: Path
    report: RegretReport


@dataclass(frozen=True)
class Study:
    """A result of compare, ablate or tune, as JSON."""

    path: Path
    kind: str
    document: Any


@dataclass
class Sources:
    """The records of one report, each once, in the order in which they were named."""

    ledger: Path | None = None
    judged: Judged | None = None
    """The newest of the ledger."""
    runs: list[Path] = field(default_factory=list)
    studies: list[Study] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)


def find_sources(named: Sequence[Path], runs: Sequence[Path]) -> Sources:
    """Everything that ``named`` and ``runs`` lead to; without any, what this repo has under .cyntra/planner.

    UsageError for a path that does not exist or is no record of ours, and for two ledgers; BenchError when there is
    nothing at all.
    """
    sources = Sources()
    for path in named or ([] if runs else [PLANNER_DIR]):
        if not path.exists():
            raise _missing(path)
        _add(sources, path)
    for run in runs:
        if not (run / "run.json").is_file():
            raise UsageError(f"{run}: no trained run there: name a directory that `planner train` made")
        _add_run(sources, run)
    _follow_judged(sources)
    if sources.ledger is None and sources.judged is None and not sources.runs and not sources.studies:
        raise BenchError(
            f"{named[0] if named else PLANNER_DIR}: holds no record to report on: run `planner bench` first"
        )
    return sources


def _missing(path: Path) -> UsageError:
    if path == PLANNER_DIR:
        return UsageError(f"{path}: not here: run `planner report` in a repo, or name a ledger, a run or results")
    return UsageError(f"{path}: no such file or directory")


def _add(sources: Sources, path: Path) -> None:
    """One path that was named."""
    if path.is_file():
        if path.suffix == ".json":
            _add_results(sources, path, strictly=True)
        else:
            _add_ledger(sources, path)
        return
    if (path / "run.json").is_file():
        _add_run(sources, path)
        return
    if (path / LEDGER).is_file():
        _add_ledger(sources, path / LEDGER)
    for file in (path / RESULTS, *(path / name for name in STUDY_FILES)):
        if file.is_file():
            _add_results(sources, file, strictly=False)
    for name, folder in zip(STUDY_FILES, ("compare", "ablate", "tune"), strict=True):
        if (path / folder / name).is_file():
            _add_results(sources, path / folder / name, strictly=False)
    # The runs of a study are in its figure: one by one they would say nothing.
    if not any((path / name).is_file() for name in STUDY_FILES):
        for run in _by_age(path.glob("runs/*/run.json")):
            _add_run(sources, run.parent)


def _by_age(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path))


def _add_ledger(sources: Sources, path: Path) -> None:
    if sources.ledger is not None and sources.ledger.resolve() != path.resolve():
        raise UsageError(f"{path}: a report has one ledger, and {sources.ledger} is named already: make one for each")
    sources.ledger = path


def _add_run(sources: Sources, run: Path) -> None:
    if any(run.resolve() == known.resolve() for known in sources.runs):
        return
    sources.runs.append(run)
    if (run / "regret.json").is_file():
        _add_results(sources, run / "regret.json", strictly=False)


def _add_results(sources: Sources, path: Path, *, strictly: bool) -> None:
    """A JSON file; ``strictly``: it was named itself, so that it is an error when it is none of ours."""
    try:
        document = orjson.loads(path.read_bytes())
        kind = _kind_of(document)
        if kind == "regret":
            _add_judged(sources, Judged(path, RegretReport.from_json(document)))
        elif kind is not None:
            sources.studies.append(Study(path, kind, document))
        else:
            raise ValueError("its keys are of no result that is known here")
    except (OSError, ValueError, TypeError, msgspec.MsgspecError) as error:
        if strictly:
            raise UsageError(
                f"{path}: cannot be reported on: {error}: name what evaluate --bench, compare, ablate, tune or "
                "quickstart wrote"
            ) from None
        sources.set_aside.append(SetAside(str(path), str(error)))


def _kind_of(document: Any) -> str | None:
    """Which command wrote it; None for none of ours."""
    if isinstance(document, list):
        return "tune" if document and all(isinstance(row, dict) and "settings" in row for row in document) else None
    if not isinstance(document, dict):
        return None
    if {"ledger", "policies", "held_out_cases"} <= document.keys():
        return "regret"
    if {"rows", "dataset_hash", "seeds"} <= document.keys():
        return "ablate" if "base" in document else "compare"
    return None


def _add_judged(sources: Sources, judged: Judged) -> None:
    """Keep the newer one."""
    known = sources.judged
    if known is not None and known.path.resolve() == judged.path.resolve():
        return
    newest = max(filter(None, (known, judged)), key=lambda one: one.path.stat().st_mtime_ns)
    for one in filter(None, (known, judged)):
        if one is not newest:
            sources.set_aside.append(SetAside(str(one.path), f"{newest.path} was judged later: only that is shown"))
    sources.judged = newest


def _follow_judged(sources: Sources) -> None:
    """Take the ledger that results were judged on, where no other is named; leave out results of another one."""
    judged = sources.judged
    if judged is None:
        return
    if sources.ledger is None:
        places = (Path(judged.report.ledger), judged.path.parent / LEDGER)
        sources.ledger = next((path for path in places if path.is_file()), None)
        if sources.ledger is None:
            sources.set_aside.append(SetAside(judged.report.ledger, "the ledger of the results is not there"))
    elif not _is_on(judged, sources.ledger):
        sources.judged = None
        sources.set_aside.append(SetAside(str(judged.path), f"was judged on another ledger, {judged.report.ledger}"))


def _is_on(judged: Judged, ledger: Path) -> bool:
    """Whether it was judged on that ledger; a quickstart's stays beside its own, wherever both are moved."""
    said, real = Path(judged.report.ledger), ledger.resolve()
    if said.resolve() == real or (judged.path.parent / LEDGER).resolve() == real:
        return True
    # Relative to where the command was given, which is not recorded.
    return not said.is_absolute() and real.parts[-len(said.parts) :] == said.parts
