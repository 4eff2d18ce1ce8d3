"""A trained run's directory as a command meets it before torch is loaded: its files, its state, who is at it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from planner.begun_work import held, is_held, remove

RUN_LOCK = "train.lock"
"""Held by the command that trains the run."""
RUN_FILES = (
    "run.json",
    "metrics.jsonl",
    "checkpoints",
    "lessons",
    "ray",
    "tensorboard",
    "evaluation.json",
    "regret.json",
    "seconds.json",
)
"""All that commands write into a run's directory, besides the lock."""


def run_document(run: Path) -> dict[str, Any] | None:
    """run.json as it stands; None where there is none that can be read."""
    try:
        document = orjson.loads((run / "run.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return document if isinstance(document, dict) else None


def remove_run(run: Path) -> None:
    """Remove the run in a directory, and nothing else that lies there."""
    if (run / "run.json").exists():
        remove(run, RUN_FILES)


def unfinished(runs: Path, stem: str, settings: Mapping[str, Any]) -> Path | None:
    """The newest run called ``stem``-N that stopped before its end, has these settings, and that nobody trains."""
    found = []
    for path in runs.glob(f"{stem}-*/run.json"):
        run, state = path.parent, run_document(path.parent)
        if state is None or state.get("finished") or is_held(run / RUN_LOCK):
            continue
        if run.name.removeprefix(f"{stem}-").isdigit() and all(state.get(key) == settings[key] for key in settings):
            found.append(run)
    return max(found, key=lambda run: (run / "run.json").stat().st_mtime_ns, default=None)


@contextmanager
def trained_by_us(run: Path) -> Iterator[None]:
    """Keep other commands from training the run; CheckpointError when one does."""
    with held(run / RUN_LOCK, f"{run}: another command is training it: wait for that, or give another --out"):
        yield
