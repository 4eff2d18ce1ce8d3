"""What a run writes about its epochs: metrics.jsonl and TensorBoard events."""

from pathlib import Path
from typing import Any

import orjson
from torch.utils.tensorboard import SummaryWriter


class RunLog:
    """metrics.jsonl and TensorBoard events of a run; only rank 0 writes."""

    def __init__(self, run: Path, rank: int) -> None:
        self._file = run / "metrics.jsonl"
        self._board = SummaryWriter(str(run / "tensorboard")) if rank == 0 else None

    def write(self, metrics: dict[str, Any]) -> None:
        """Append one epoch's metrics."""
        if self._board is None:
            return
        with self._file.open("ab") as file:
            file.write(orjson.dumps(metrics, option=orjson.OPT_APPEND_NEWLINE))
        for name, value in metrics.items():
            if name != "epoch":
                self._board.add_scalar(name, value, metrics["epoch"])
        self._board.flush()

    def close(self) -> None:
        """Finish the event file."""
        if self._board is not None:
            self._board.close()
