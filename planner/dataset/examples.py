"""Run records to examples: each run's context as of its decision, and the action it executed as the label.

All contexts of a set are of one builder, whatever the runs recorded: a context that the other one recorded is built
anew, of what was recorded of issue, universe and machine. A run whose plan nobody recorded stays history: it may inform
later contexts, it is never a label.
"""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from planner.actions import Action, ActionSpace, executed_label
from planner.artifacts.beads import world_of
from planner.artifacts.events import StartFailure
from planner.artifacts.recorded_context import PackedContext, parsed_runs
from planner.artifacts.records import RunRecord
from planner.artifacts.universe import NO_UNIVERSE, Universe
from planner.context import Past, issue_of_run, planner_input, query_of, signed
from planner.contracts.document import canonical_json
from planner.contracts.kernel import ContextBuilderName
from planner.dataset.outcomes import ActionOutcome
from planner.encoding.profiles import token_segments
from planner.past_runs import Runs


@dataclass(slots=True)
class Example:
    """A context with its label and what came of it. Times are ms since the epoch, UTC; cost is US dollars."""

    example_id: str
    space: ActionSpace
    """Its context's own."""
    text: bytes | memoryview
    """Its context, a planner_input.v1, as canonical JSON: those of large repos would not fit in memory as objects."""
    label: Action
    decided_ms: int
    issue_id: str
    job_type: str
    domain: str
    status: str
    duration_ms: int
    cost_usd: float | None
    compared: tuple[ActionOutcome, ...] = ()
    """What came of every action that was tried on this context; empty when only the label was executed."""
    label_confidence: float = 1.0
    """How sure it is that the label is the best of them; an executed plan is what it is."""
    decided_by: str | None = None
    """What sets a winner apart from the others: passes, time_bound or unknown; None: the label is no winner."""

    @property
    def executed(self) -> tuple[ActionOutcome, ...]:
        """What came of every executed action."""
        # A run's own artifacts do not hold the time of a speculation's losers, so its utility is not known.
        own = ActionOutcome(
            self.label, self.status == "success", self.duration_ms, None, self.status == "timeout", None
        )
        return self.compared or (own,)

    @classmethod
    def of(cls, context: dict[str, Any], **fields: Any) -> "Example":
        """An example of this context; ``fields`` are the others."""
        space = ActionSpace.from_document(context["action_space"], "$.action_space")
        return cls(space=space, text=canonical_json(context), **fields)

    @property
    def context(self) -> dict[str, Any]:
        """The planner_input.v1, parsed anew."""
        return orjson.loads(self.text)


@dataclass
class ExampleSet:
    """Examples in order of (decided_ms, example_id), and an account of everything that became none."""

    examples: list[Example] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)
    """Each one's context, parsed; a past run that is in several is one and the same object."""
    contexts: Counter[str] = field(
        default_factory=lambda: Counter(recorded=0, rebuilt=0, neighbours_withdrawn=0, checked=0, same_tokens=0)
    )
    """How many contexts are as the run recorded them, how many were built by us, how many neighbours were withdrawn as
    too new; and of how many recorded ones we built our own beside, and how often that had the same tokens."""
    unlabelled: Counter[str] = field(default_factory=Counter)
    """Reason -> runs that are history only."""


@dataclass(frozen=True)
class Sources:
    """What the examples of a repo follow from, see :class:`ExampleMaker`."""

    runs: Runs
    issues: Mapping[str, dict[str, Any]]
    universes: Mapping[str, Universe]
    builder: ContextBuilderName
    start_failures: Sequence[StartFailure] = ()

    @cached_property
    def checked(self) -> NDArray[np.bool_]:
        """Whether the recorded context of each run is set beside our own."""
        (recorded,) = (~self.runs.recorded_by(None)).nonzero()
        checked: NDArray[np.bool_] = np.zeros(len(self.runs), dtype=bool)
        checked[recorded[:FIRST_CHECKED]] = checked[recorded[FIRST_CHECKED::CHECKED_STEP]] = True
        return checked


FIRST_CHECKED, CHECKED_STEP = 250, 64
"""Of the recorded contexts the first ones, and then one of so many, are set beside our own."""


def make_examples(
    runs: Sequence[RunRecord],
    issues: Mapping[str, dict[str, Any]],
    universes: Mapping[str, Universe],
    builder: ContextBuilderName = "planner",
    start_failures: Sequence[StartFailure] = (),
) -> ExampleSet:
    """Every labelled run of a repo as an example, its context as ``builder`` builds it."""
    packed = Runs.of(runs)
    return ExampleMaker(Sources(packed, issues, universes, builder, start_failures)).make(range(len(packed)))


class ExampleMaker:
    """Makes the examples of a repo's runs, one span of them after another."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._parsed: dict[bytes, dict[str, Any]] = {}
        """Runs in histories so far, by their text."""
        past = Past(sources.runs, sources.start_failures)
        self._rebuild = _Rebuild(past, sources.issues, sources.universes, self._parsed)

    @cached_property
    def _known_ms(self) -> dict[str, int]:
        return dict(zip(self._sources.runs.run_ids, self._sources.runs.known_ms.tolist(), strict=True))

    @property
    def remembered(self) -> int:
        """How many past runs it keeps parsed."""
        return len(self._parsed)

    def forget(self) -> None:
        """Keep none of them any longer."""
        self._parsed.clear()

    def make(self, span: range) -> ExampleSet:
        """The examples of the runs at ``span``. Calls must come in order of time."""
        result = ExampleSet()
        for number in span:
            self._add(self._sources.runs[number], bool(self._sources.checked[number]), result)
        return result

    def _add(self, run: RunRecord, checked: bool, result: ExampleSet) -> None:
        builder, recorded = self._sources.builder, run.planner_input
        if checked:
            result.contexts["checked"] += 1
            result.contexts["same_tokens"] += self._rebuild.agrees(run)
        if run.executed_plan is None:
            result.unlabelled["executed plan unknown"] += 1
            return
        kept = recorded is not None and recorded.builder == builder
        if recorded is not None and kept:
            context, document = self._known_part(recorded, run.decided_ms, result.contexts), None
        else:
            rebuilt = self._rebuild(run, builder)
            if rebuilt is None:
                result.unlabelled["issue unknown"] += 1
                return
            context, document = rebuilt
        label, reason = executed_label(run.executed_plan, context.space, context.job_type)
        if label is None:
            result.unlabelled[reason] += 1
            return
        result.contexts["recorded" if kept else "rebuilt"] += 1
        result.documents.append(document if document is not None else context.parsed(self._parsed))
        result.examples.append(_example(run, context, label))

    def _known_part(self, recorded: PackedContext, at_ms: int, counts: Counter[str]) -> PackedContext:
        """The recorded context without neighbours that, by their artifacts, had not ended at decision time."""
        known = [self._known_ms.get(past.run_id, past.started_ms) <= at_ms for past in recorded.runs]
        if all(known):
            return recorded
        counts["neighbours_withdrawn"] += known.count(False)
        return replace(recorded, runs=list(itertools.compress(recorded.runs, known)))


def _example(run: RunRecord, context: PackedContext, label: Action) -> Example:
    summary = run.summary
    return Example(
        example_id=run.run_id,
        space=context.space,
        text=context.text,
        label=label,
        decided_ms=run.decided_ms,
        issue_id=context.issue_id,
        job_type=context.job_type,
        domain=summary["domain"],
        status=summary["outcome"]["status"],
        duration_ms=summary["runtime"]["duration_ms"],
        cost_usd=summary.get("cost_usd_est"),
    )


class _Rebuild:
    """Contexts as they were when runs were decided, built of the artifacts. Calls must come in order of time."""

    def __init__(
        self,
        past: Past,
        issues: Mapping[str, dict[str, Any]],
        universes: Mapping[str, Universe],
        parsed: dict[bytes, dict[str, Any]],
    ) -> None:
        """``parsed`` are summaries of runs by their text; what is parsed here is added."""
        self._past = past
        self._parsed = parsed
        self._issues = issues
        self._universes = universes

    def __call__(self, run: RunRecord, builder: ContextBuilderName) -> tuple[PackedContext, dict[str, Any]] | None:
        """The context at ``run.decided_ms``, packed and parsed; None for a code run of an unknown issue."""
        document = self._of_record(run, builder) if run.planner_input is not None else self._of_tracker(run, builder)
        if document is None:
            return None
        issue, job_type = document["issue"], document["job_type"]
        objective_id = document["universe_defaults"]["objective_id"]
        world_id = run.world_id or world_of(issue)
        similar_runs = self._past.similar_runs(
            query_of(issue, job_type, run.decided_ms, world_id, objective_id), builder
        )
        document["history"] = {"last_n_similar_runs": parsed_runs(similar_runs, self._parsed)}
        return PackedContext.of(document, similar_runs), document

    def agrees(self, run: RunRecord) -> bool:
        """Whether the context that the run recorded has the tokens of the one that we build in its builder's way."""
        recorded = run.planner_input
        assert recorded is not None
        rebuilt = self(run, recorded.builder)
        assert rebuilt is not None
        return token_segments(orjson.loads(recorded.text), recorded.builder) == token_segments(
            rebuilt[1], recorded.builder
        )

    def _of_record(self, run: RunRecord, builder: ContextBuilderName) -> dict[str, Any]:
        """Issue, universe and machine as the run recorded them; who looks at the past is ``builder``."""
        assert run.planner_input is not None
        document = run.planner_input.facts
        issue = document["issue"]
        if run.words is not None:
            issue |= run.words
        if builder == "planner":
            issue["dk_attempts"] = self._past.attempts(issue["issue_id"], run.decided_ms)
        return {**document, "issue": signed(issue, builder)}

    def _of_tracker(self, run: RunRecord, builder: ContextBuilderName) -> dict[str, Any] | None:
        """As far as tracker and universe say today, without what changes with time; None for an unknown issue."""
        summary = run.summary
        if run.world_id is not None and run.issue_id is None:
            issue = {"id": f"world:{run.world_id}", "title": run.world_id, "tags": summary["tags"]}
        elif run.issue_id is not None and run.issue_id in self._issues:
            issue = self._issues[run.issue_id]
        else:
            return None
        return planner_input(
            issue=issue_of_run(issue, run, self._past.attempts(run.issue_id, run.decided_ms)),
            universe=self._universe(run.universe_id),
            job_type=summary["job_type"],
            similar_runs=[],
            created_ms=run.decided_ms,
            objective_id=run.objective_id,
            builder=builder,
        )

    def _universe(self, universe_id: str | None) -> Universe:
        """The universe that the run named, its directory there or not; else the only one, if there is just one."""
        if universe_id is None:
            return next(iter(self._universes.values())) if len(self._universes) == 1 else NO_UNIVERSE
        return self._universes.get(universe_id) or replace(NO_UNIVERSE, universe_id=universe_id)
