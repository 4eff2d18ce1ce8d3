"""`planner bench --fresh`: a ledger set aside, because what it holds was dear; a new one begins in its place."""

from datetime import UTC, datetime
from pathlib import Path

from bench.ledger import Ledger

EARLIER = "earlier"
"""Directory beside the ledger that keeps what was set aside."""


def set_aside(path: Path, *, take_over: bool = False) -> Path | None:
    """Move the ledger ``path`` away and return where it is kept; None where there was none.

    BenchError when a live bench owns it.
    """
    if not path.exists():
        return None
    with Ledger.open(path, take_over=take_over):
        pass
    kept = path.parent / EARLIER / f"{path.stem}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}{path.suffix}"
    kept.parent.mkdir(exist_ok=True)
    for end in ("-wal", "-shm", ""):
        if (file := path.with_name(path.name + end)).exists():
            file.rename(kept.with_name(kept.name + end))
    return kept
