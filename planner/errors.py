"""Every error that a user of the planner can meet.

PlannerError
├── ContractError      a document does not follow its schema
├── ArtifactError      a Cyntra repo lacks what the command needs
├── ActionError        an action or a rule lies outside the action space
├── DatasetError       a dataset directory is missing, broken or of another kind
├── UsageError         the command line asks for something that there is not
├── ConfigError        a setting does not exist or has a wrong value
├── CheckpointError    a checkpoint cannot be loaded
├── TrainingError      training went wrong in a way that going on would hide
├── PathError          a path cannot be written
├── ExportError        a bundle cannot be made, or does not decide as its policy does
├── BenchError         the bench cannot start or go on
│   └── NothingToJudgeError   there are no outcomes to judge by (also a DatasetError)
├── ClusterError       Ray cannot be reached or lacks a resource
└── Interrupted        Ctrl-C ended a command

Messages say what was found, where, and what to do about it. The command line prints them without a traceback.
"""

NOTHING_TO_JUDGE_EXIT_CODE = 3
"""Of a command that had nothing to judge; of `run` and `evolve`, that a cap paused."""
INTERRUPTED_EXIT_CODE = 130
"""Of a command that Ctrl-C ended: what a shell has for SIGINT."""


class PlannerError(Exception):
    """Base of all errors that are reported to the user instead of shown as a traceback."""

    exit_code = 1
    """What a command ends with that meets it."""


class ContractError(PlannerError):
    """A document does not follow its schema."""

    def __init__(self, source: str, path: str, reason: str) -> None:
        self.source = source
        self.path = path
        self.reason = reason
        super().__init__(f"{source}: {path}: {reason}")

    def __reduce__(self) -> tuple[type["ContractError"], tuple[str, str, str]]:
        return type(self), (self.source, self.path, self.reason)


class ArtifactError(PlannerError):
    """A Cyntra repo lacks what the command needs."""


class ActionError(PlannerError):
    """An action or a validity rule lies outside the action space."""


class DatasetError(PlannerError):
    """A dataset directory is missing, broken or of another kind."""


class UsageError(PlannerError):
    """The command line asks for something that there is not."""

    exit_code = 2


class ConfigError(PlannerError):
    """A setting does not exist or has a wrong value."""

    exit_code = 2


class CheckpointError(PlannerError):
    """A checkpoint cannot be loaded."""


class ExportError(PlannerError):
    """A bundle cannot be made, or does not decide as its policy does; it was not written."""


class TrainingError(PlannerError):
    """Training went wrong in a way that going on would hide."""


class PathError(PlannerError):
    """A path cannot be written."""


class BenchError(PlannerError):
    """The bench cannot start or go on."""


class NothingToJudgeError(BenchError, DatasetError):
    """What was asked for is in order, but there are no outcomes to judge by."""

    exit_code = NOTHING_TO_JUDGE_EXIT_CODE


class ClusterError(PlannerError):
    """Ray cannot be reached or lacks a resource."""


class Interrupted(PlannerError):
    """Ctrl-C ended a command; the message says how it goes on."""

    exit_code = INTERRUPTED_EXIT_CODE
