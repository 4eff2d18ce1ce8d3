"""What became of a command's decisions, counted."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Report:
    """What became of a command's decisions."""

    as_decided: int = 0
    by_itself: Counter[str] = field(default_factory=Counter)
    """Reason -> runs that were the kernel's own."""
    not_as_decided: int = 0
    without_run: int = 0
    interrupted: int = 0
    left_open: int = 0
    """Decisions of an earlier command that died, which could only be marked; they are not this command's."""
    not_run: dict[str, str] = field(default_factory=dict)
    """Issue that was asked for -> why it was not run."""
    paused_by: str | None = None

    @property
    def runs(self) -> int:
        """The runs that the kernel archived."""
        return self.as_decided + self.by_itself.total() + self.not_as_decided

    @property
    def is_complete(self) -> bool:
        """Whether everything that was asked for was done and recorded."""
        failures = self.not_as_decided + self.without_run + self.interrupted
        return failures == 0 and not self.not_run and self.paused_by is None

    def to_json(self) -> dict[str, Any]:
        """The account by its names."""
        return {**asdict(self), "by_itself": dict(self.by_itself), "runs": self.runs, "is_complete": self.is_complete}

    def lines(self) -> list[str]:
        """The account, a line each."""
        found = [f"{self.runs} runs: {self.as_decided} as decided, {self.by_itself.total()} by the kernel itself"]
        found += [f"  {reason}: {n}" for reason, n in self.by_itself.most_common()]
        for n, what in (
            (self.not_as_decided, "not as decided"),
            (self.without_run, "dispatched without a run"),
            (self.interrupted, "interrupted"),
            (len(self.not_run), "asked for and not run"),
            (self.left_open, "of an earlier command marked as interrupted"),
        ):
            found += [f"{n} {what}"] if n else []
        return found
