"""Recorded planner_inputs, parsed and kept as little as will do: most of each is runs that others hold as well."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson

from planner.actions import ActionSpace
from planner.artifacts.versions import UnknownKeys, check
from planner.contracts.document import canonical_json
from planner.contracts.kernel import ContextBuilderName, PlannerInput, context_builder
from planner.errors import ContractError


class PackedRun(NamedTuple):
    """A past run in a context's history."""

    run_id: str
    started_ms: int
    text: bytes
    """run_summary.v1 as canonical JSON."""


@dataclasses.dataclass(slots=True)
class PackedContext:
    """A planner_input.v1 as text, with what is asked of it meanwhile: a repo has thousands, and parsed again each takes
    its time and ten times the memory. One run's text is there once, whatever number of contexts hold it.
    """

    before: bytes
    """Canonical JSON up to the runs of its history."""
    runs: Sequence[PackedRun]
    after: bytes
    job_type: str
    issue_id: str
    space: ActionSpace
    builder: ContextBuilderName

    @property
    def facts(self) -> dict[str, Any]:
        """The context without the runs of its history, parsed."""
        return orjson.loads(self.before + self.after)

    @property
    def text(self) -> bytes:
        """The whole as canonical JSON."""
        return b"".join(self.pieces())

    def parsed(self, known: dict[bytes, dict[str, Any]]) -> dict[str, Any]:
        """The whole, parsed; a run whose text is in ``known`` is the object there, and others are added to it."""
        document = self.facts
        return {**document, "history": {**document["history"], "last_n_similar_runs": parsed_runs(self.runs, known)}}

    def pieces(self) -> list[bytes]:
        """What :attr:`text` consists of, in order."""
        pieces = [self.before]
        for run in self.runs:
            pieces += (run.text, b",")
        if self.runs:
            pieces.pop()
        pieces.append(self.after)
        return pieces

    @classmethod
    def of(cls, document: dict[str, Any], runs: Sequence[PackedRun] | None = None) -> "PackedContext":
        """Pack a valid document; ActionError for an unsound action space, TypeError for what JSON cannot hold.

        ``runs`` are those of its history, where they are packed already.
        """
        if runs is None:
            runs = [pack_run(run) for run in document["history"]["last_n_similar_runs"]]
        before, after = _around_runs(document)
        return cls(
            before,
            runs,
            after,
            document["job_type"],
            document["issue"]["issue_id"],
            ActionSpace.from_document(document["action_space"], "$.action_space"),
            context_builder(document),
        )


def _around_runs(document: dict[str, Any]) -> tuple[bytes, bytes]:
    """The canonical JSON of a document before and after the runs of its history."""
    before, after = _beside(document, "history")
    within_before, within_after = _beside(document["history"], "last_n_similar_runs")
    start = b'{%s"history":{%s"last_n_similar_runs":[' % (before, within_before)
    return start, b"]%s}%s}" % (within_after, after)


def _beside(mapping: dict[str, Any], key: str) -> tuple[bytes, bytes]:
    """The members of ``mapping`` that canonical JSON has before and after ``key``, with the commas next to it."""
    before = canonical_json({name: value for name, value in mapping.items() if name < key})[1:-1]
    after = canonical_json({name: value for name, value in mapping.items() if name > key})[1:-1]
    return before + b"," if before else before, b"," + after if after else after


def parsed_runs(runs: Iterable[PackedRun], known: dict[bytes, dict[str, Any]]) -> list[dict[str, Any]]:
    """The summaries of ``runs``; one whose text is in ``known`` is the object there, and others are added to it."""
    found = []
    for run in runs:
        summary = known.get(run.text)
        if summary is None:
            summary = known[run.text] = orjson.loads(run.text)
        found.append(summary)
    return found


def pack_run(summary: dict[str, Any]) -> PackedRun:
    """Pack a valid run_summary.v1; TypeError for what JSON cannot hold."""
    return PackedRun(summary["run_id"], summary["started_ms"], canonical_json(summary))


class _PlannerSection(msgspec.Struct):
    planner_input: dict[str, msgspec.Raw] | None = None
    executed_plan: Any = None


class _Manifest(msgspec.Struct):
    issue: Any = None
    job_type: Any = None
    toolchain: Any = None
    speculate_mode: Any = None
    control: Any = None
    planner: _PlannerSection | None = None


class _Rollout(msgspec.Struct):
    schema_version: Any = None
    issue_id: Any = None
    job_type: Any = None
    outcomes: Any = None
    scores: Any = None
    generated_at: Any = None


_RAW_OBJECT, _RAW_LIST = msgspec.json.Decoder(dict[str, msgspec.Raw]), msgspec.json.Decoder(list[msgspec.Raw])
_MANIFEST, _ROLLOUT = msgspec.json.Decoder(_Manifest), msgspec.json.Decoder(_Rollout)
_UNEXPECTED = (msgspec.MsgspecError, ValueError, RecursionError)
"""What the decoders raise for other than they were made for, and that may still be JSON."""


def _decode(decoder: msgspec.json.Decoder[Any], data: bytes) -> Any:
    if not data.isascii():
        data.decode()  # the decoder does not look at the bytes of a text that nobody wants
    return decoder.decode(data)


def parse_rollout(data: bytes) -> Any:
    """A rollout.json without its planner section; whatever else ``data`` is, as ``orjson.loads`` gives it."""
    try:
        return msgspec.structs.asdict(_decode(_ROLLOUT, data))
    except _UNEXPECTED:
        return orjson.loads(data)


class KnownRuns:
    """The runs in the histories of planner_inputs: one run is in many of them, and need be looked at only once.

    What tells runs apart is their whole text, so two that differ in anything, be it 1 from 1.0, are two.
    """

    def __init__(self) -> None:
        self._by_text: dict[bytes, Any] = {}
        self._packed: dict[int, PackedRun] = {}
        """By the id of the run."""
        self._valid: list[dict[str, Any]] = []
        """The runs in ``_packed``, kept, for an object's id is its own only as long as it lives."""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._by_text)

    def parse_manifest(self, data: bytes) -> Any:
        """What is wanted of a manifest.json; whatever else ``data`` is, as ``orjson.loads`` gives it.

        A run in a history that is written as it was in an earlier manifest becomes the same object as there.
        """
        try:
            manifest = msgspec.structs.asdict(_decode(_MANIFEST, data))
            if manifest["planner"] is not None:
                manifest["planner"] = planner = msgspec.structs.asdict(manifest["planner"])
                if planner["planner_input"] is not None:
                    planner["planner_input"] = {
                        key: self._parse_history(raw) if key == "history" else orjson.loads(bytes(raw))
                        for key, raw in planner["planner_input"].items()
                    }
        except _UNEXPECTED:
            return orjson.loads(data)
        return manifest

    def _parse_history(self, text: msgspec.Raw) -> dict[str, Any]:
        return {
            key: [self._parse(bytes(run)) for run in _RAW_LIST.decode(raw)]
            if key == "last_n_similar_runs"
            else orjson.loads(bytes(raw))
            for key, raw in _RAW_OBJECT.decode(text).items()
        }

    def _parse(self, text: bytes) -> Any:
        run = self._by_text.get(text)
        if run is None:
            run = self._by_text[text] = orjson.loads(text)
        return run

    def pack(
        self, planner_input: dict[str, Any], source: str, unknown_keys: UnknownKeys | None = None
    ) -> PackedContext:
        """Validate and pack a planner_input of the current version, for instance of :meth:`parse_manifest`.

        Keys that no contract names are kept, and noted in ``unknown_keys``. Raises ContractError as contracts.validate
        does, and what PackedContext.of raises.
        """
        unknown_keys = UnknownKeys() if unknown_keys is None else unknown_keys
        history = planner_input.get("history")
        runs = history.get("last_n_similar_runs") if isinstance(history, dict) else None
        if not isinstance(history, dict) or not isinstance(runs, list):
            check(PlannerInput, planner_input, source, unknown_keys)
            return PackedContext.of(planner_input)
        packed = [self._packed.get(id(run)) for run in runs]
        unknown = [run for run, known in zip(runs, packed, strict=True) if known is None]
        try:
            part = {**planner_input, "history": {**history, "last_n_similar_runs": unknown}}
            check(PlannerInput, part, source, unknown_keys)
        except ContractError:
            check(PlannerInput, planner_input, source, unknown_keys)  # for the place of the defect among all runs
            raise
        runs = [known or self._pack(run) for known, run in zip(packed, runs, strict=True)]
        return PackedContext.of(planner_input, runs)

    def _pack(self, run: dict[str, Any]) -> PackedRun:
        self._packed[id(run)] = packed = pack_run(run)
        self._valid.append(run)
        return packed
