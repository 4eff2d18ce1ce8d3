"""What a reader makes of one run: its summary, its times, its plan; and the table of what could not be read."""

import os
import stat
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from planner.artifacts.recorded_context import PackedContext
from planner.artifacts.versions import UnknownKeys
from planner.errors import ContractError

MAX_FILE_BYTES = 32 * 1024 * 1024
"""A larger JSON file is set aside unread: no artifact of Cyntra comes near it."""


@dataclass(slots=True)
class RunRecord:
    """One run of Cyntra. Times are ms since the epoch, UTC.

    ``executed_plan`` is None when no artifact records what ran: such a run is history, never a label.
    """

    run_id: str
    kind: Literal["archive", "evolution", "world_run"]
    summary_text: bytes
    """Its run_summary.v1 as canonical JSON: as objects, those of a large repo take several times the memory."""
    status: str
    """That of its outcome."""
    issue_id: str | None
    started_ms: int
    ended_ms: int
    decided_ms: int
    executed_plan: dict[str, Any] | None
    planner_input: PackedContext | None
    """What the run recorded."""
    world_id: str | None = None
    objective_id: str | None = None
    universe_id: str | None = None
    toolchain: str | None = None
    """The agent tool of an archive, in a speculation the chosen candidate's."""
    agent_ms: int | None = None
    """How long that tool worked, without the gates; None where nobody recorded it."""
    score: float | None = None
    """The overall score of an evolution's selected candidate."""
    archived_ms: int = 0
    """When an archive was complete, by the event log where that says so: the kernel knows it from then on."""
    kernel_summary_text: bytes | None = None
    """The run_summary.v1 that the kernel itself makes of an archive, likewise; None where it makes none."""
    words: dict[str, list[str]] | None = None
    """Those of the issue's text as the run's manifest has it, see words_of; None without a manifest."""

    @property
    def summary(self) -> dict[str, Any]:
        """The run_summary.v1, parsed anew."""
        return orjson.loads(self.summary_text)

    @property
    def kernel_summary(self) -> dict[str, Any] | None:
        """The kernel's run_summary.v1, parsed anew."""
        return None if self.kernel_summary_text is None else orjson.loads(self.kernel_summary_text)

    @property
    def known_ms(self) -> int:
        """From when on a context may show the run: it has ended, and its archive is complete."""
        return max(self.ended_ms, self.archived_ms)

    @property
    def passed(self) -> bool:
        """Whether the run's gates passed."""
        return self.status == "success"


@dataclass(slots=True)
class Quarantine:
    """Files that could not be used as they stand: ``{path, reason, consequence}`` each, paths relative to the repo."""

    root: Path
    entries: list[dict[str, str]] = field(default_factory=list)
    unknown_keys: UnknownKeys = field(default_factory=UnknownKeys)
    """Keys that no contract names, in documents that were read all the same."""

    def dropped(self, path: Path, reason: str) -> None:
        """The run or line at ``path`` is lost to the planner."""
        self._add(path, reason, "dropped")

    def repaired(self, path: Path, reason: str) -> None:
        """The file at ``path`` was ignored and the run read from its other files."""
        self._add(path, reason, "repaired")

    def read_json(self, path: str | Path, parse: Callable[[bytes], Any] = orjson.loads) -> dict[str, Any] | None:
        """The JSON object in ``path``; None when it is absent, or unreadable (then noted as repaired)."""
        try:
            return load_json_object(path, parse)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ContractError) as error:
            self.repaired(Path(path), str(error.reason if isinstance(error, ContractError) else error.strerror))
            return None

    def _add(self, path: Path, reason: str, consequence: str) -> None:
        relative = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.as_posix()
        printable = relative.encode("utf-8", "backslashreplace").decode()  # a name may hold any bytes
        self.entries.append({"path": printable, "reason": reason, "consequence": consequence})


def list_entries(directory: Path, quarantine: Quarantine) -> list[Path]:
    """The entries of ``directory`` in name order; one whose name is not UTF-8 is dropped, no document can name it.

    So is a link: archives are written by agents, and a link may lead to any file of the user.
    """
    entries = []
    if directory.is_symlink():
        quarantine.dropped(directory, "a symbolic link: what it leads to is not read")
        return []
    # A listing says which entries are links; asking for each path would take as long as reading some.
    with os.scandir(directory) if directory.is_dir() else nullcontext(()) as listing:
        found = sorted(listing, key=lambda entry: entry.name)
    for entry in found:
        path = directory / entry.name
        try:
            entry.name.encode()
        except UnicodeEncodeError:
            quarantine.dropped(path, "its name is not UTF-8")
            continue
        if entry.is_symlink():
            quarantine.dropped(path, "a symbolic link: what it leads to is not read")
            continue
        entries.append(path)
    return entries


def load_json_object(path: str | Path, parse: Callable[[bytes], Any] = orjson.loads) -> dict[str, Any]:
    """The JSON object in ``path``; ContractError when it is too large, empty, no JSON or no object.

    ``parse`` raises JSONDecodeError for what is no JSON.
    """
    # A pipe or device in a file's place must not block the reader.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ContractError(str(path), "$", "not a regular file")
        if found.st_size > MAX_FILE_BYTES:
            raise ContractError(str(path), "$", f"larger than {MAX_FILE_BYTES // 2**20} MiB")
        data = os.read(descriptor, found.st_size)
    finally:
        os.close(descriptor)
    if not data:
        raise ContractError(str(path), "$", "empty file")
    try:
        document = parse(data)
    except orjson.JSONDecodeError as error:
        raise ContractError(str(path), "$", f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise ContractError(str(path), "$", f"a JSON object was expected, found {type(document).__name__}")
    return document
