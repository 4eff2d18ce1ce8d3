"""`planner decide`: planner_input documents from a stream, or an issue of a repo; decisions to a stream."""

import sys
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from planner.artifacts.repo import Repo
from planner.artifacts.toolchains import find_toolchains
from planner.artifacts.versions import said_of
from planner.bundle import Bundle, BundleError, load_bundle
from planner.caps import Caps
from planner.context import ContextBuilder
from planner.decision import Mode, decide
from planner.errors import PathError
from planner.places import Place, fetched
from planner.policies.heuristic import HeuristicPolicy, RulePlan
from planner.standard_output import interrupted_afterwards

MAX_REPORTED = 100
"""Unknown keys that are named; a caller that makes up keys for ever does not fill a log."""


def decide_stream(
    bundle_path: Place,
    source: BinaryIO,
    sink: BinaryIO,
    mode: str,
    caps: tuple[int | None, int | None, int | None],
    lines: bool,
) -> None:
    """Answer one document, or with ``lines`` one JSON line for every line until the source ends.

    An answer is ``{"planner_action": ..., "executed_plan": ...}``. What is not JSON is answered with a fallback too, so
    that answers and questions stay in step; blank lines are no questions. ``{"ping": X}`` is answered with
    ``{"ping": X, "bundle": ...}``. An answer that Ctrl-C meets is written whole, and once. A bundle that was replaced
    is loaded before the next answer. Each key that no contract names is reported on stderr when it first comes.
    """
    served = _Served(bundle_path)
    reported: set[str] = set()
    for text in source if lines else [source.read()]:
        if lines and not text.strip():
            continue
        question = _parse(text)
        if lines and isinstance(question, dict) and question.keys() == {"ping"}:
            _write(sink, {"ping": question["ping"], "bundle": served.state})
            continue
        decision = decide(question, served.bundle, mode=cast(Mode, mode), caps=Caps(*caps))
        _write(sink, decision.answer)
        for key in sorted(decision.unknown_keys.keys() - reported)[: MAX_REPORTED - len(reported)]:
            print(said_of(key), file=sys.stderr, flush=True)
            reported.add(key)


def decide_issue(
    bundle_path: Place,
    repo: Repo,
    issue_id: str,
    sink: BinaryIO,
    mode: str,
    caps: tuple[int | None, int | None, int | None],
) -> None:
    """Decide now for an issue of ``repo``, in a context of the bundle's own builder; ArtifactError without that issue.

    The answer has the context too, as ``planner_input``, for whoever records the decision. Of a bundle for the kernel's
    own planner the executed plan is what the kernel would run: what it does not follow is said here, not only there.
    """
    bundle = _bundle_at(bundle_path)
    builder = (bundle.context_builder if isinstance(bundle, Bundle) else None) or "planner"
    context = ContextBuilder(repo, builder).now(issue_id)
    decision = decide(
        context,
        bundle,
        mode=cast(Mode, mode),
        caps=Caps(*caps),
        kernel_config=repo.config,
        rule_plan=_rule_plan(repo, issue_id),
    )
    _write(sink, {"planner_input": context, **decision.answer})


class _Served:
    """The bundle at a place, loaded again when another stands there; one at a URI stays as it was at the start."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._mark = self._mark_now()
        self._bundle = _bundle_at(place)

    @property
    def bundle(self) -> Bundle | BundleError:
        """The bundle as it stands now. One that cannot be loaded any more does not replace one that could."""
        mark = self._mark_now()
        if mark != self._mark:
            self._mark = mark
            found = _bundle_at(self._place)
            if isinstance(found, Bundle) or isinstance(self._bundle, BundleError):
                self._bundle = found
            else:
                print(f"{self._place}: kept as it was: what replaced it cannot be loaded: {found}", file=sys.stderr)
        return self._bundle

    @property
    def state(self) -> dict[str, Any]:
        """What a ping is answered with."""
        bundle = self.bundle
        if isinstance(bundle, Bundle):
            return {"loaded": True, "checkpoint_id": bundle.checkpoint_id}
        return {"loaded": False, "reason": str(bundle)}

    def _mark_now(self) -> tuple[int, int, int] | None:
        """Changes with the bundle: export puts a whole new directory in its place, whose metadata is written last."""
        if not isinstance(self._place, Path):
            return None
        try:
            found = (self._place / "metadata.json").stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def _bundle_at(place: Place) -> Bundle | BundleError:
    """A URI that cannot be read is no more reason to give no answer than a directory that cannot."""
    try:
        return load_bundle(fetched(place, "metadata.json"))
    except PathError as error:
        return BundleError(str(error))


def _rule_plan(repo: Repo, issue_id: str) -> RulePlan | None:
    """What the kernel runs for the issue by itself; None for one that it passes over."""
    issues, neighbourhoods = repo.tracked
    if issue_id not in issues:
        return None
    tools = [tool.name for tool in find_toolchains(repo.config, repo.root)]
    rule = HeuristicPolicy.of_repo(repo)
    return rule.plan(issues[issue_id], tools, neighbourhoods.is_on_critical_path(issue_id))


def _write(sink: BinaryIO, answer: Any) -> None:
    line = orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE)
    with interrupted_afterwards():
        sink.write(line)
        sink.flush()


def _parse(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text.decode(errors="replace")
