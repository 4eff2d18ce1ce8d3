"""How a command speaks: what --json, --quiet, --verbose and --wide ask of it."""

from dataclasses import dataclass


@dataclass
class Manner:
    """The options that every command has; results go to stdout, progress and notes to stderr."""

    as_json: bool = False
    """One JSON document on stdout instead of tables and sentences."""
    quiet: bool = False
    """No progress and no notes."""
    verbose: bool = False
    """Errors with their tracebacks, and what Ray says."""
    wide: bool = False
    """Tables with all their columns."""

    def take(self, chosen: dict[str, bool]) -> None:
        """Be what a command line chose, and nothing of what an earlier one did."""
        for name in ("as_json", "quiet", "verbose", "wide"):
            setattr(self, name, chosen.get(name, False))


MANNER = Manner()
"""That of the command that runs; a process runs one."""
