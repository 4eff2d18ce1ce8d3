"""Run records to examples: each run's context as of its decision, and the action it executed as the label.

A run whose plan or context nobody recorded stays history: it may inform later contexts, it is never a label.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from planner.actions import Action, ActionSpace, executed_label
from planner.artifacts.beads import issue_context
from planner.artifacts.recorded_context import PackedContext
from planner.artifacts.records import RunRecord
from planner.artifacts.universe import NO_UNIVERSE, Universe
from planner.context import N_SIMILAR, planner_input
from planner.dataset.outcomes import ActionOutcome
from planner.history import HistoryIndex, Query


@dataclass(slots=True)
class Example:
    """A context with its label and what came of it. Times are ms since the epoch, UTC; cost is US dollars."""

    example_id: str
    packed: PackedContext
    """Its context: those of large repos would not fit in memory as objects."""
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
        return cls(packed=PackedContext.of(context), **fields)

    @property
    def space(self) -> ActionSpace:
        """The context's own action space."""
        return self.packed.space

    @property
    def context(self) -> dict[str, Any]:
        """The planner_input.v1, parsed anew."""
        return orjson.loads(self.packed.text)


@dataclass
class ExampleSet:
    """Examples in order of (decided_ms, example_id), and an account of everything that became none."""

    examples: list[Example] = field(default_factory=list)
    contexts: Counter[str] = field(default_factory=Counter)
    """How many contexts were recorded by the run, rebuilt by us, and how many neighbours were withdrawn as too new."""
    unlabelled: Counter[str] = field(default_factory=Counter)
    """Reason -> runs that are history only."""
    made: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Position of an example -> its context, parsed, wherever that is not the one that its run recorded."""


def make_examples(
    runs: Sequence[RunRecord], issues: dict[str, dict[str, Any]], universes: dict[str, Universe]
) -> ExampleSet:
    """Every labelled run of a repo as an example."""
    result = ExampleSet(contexts=Counter(recorded=0, rebuilt=0, neighbours_withdrawn=0))
    history = HistoryIndex(runs)
    ended = {run.run_id: run.ended_ms for run in runs}
    for run in sorted(runs, key=lambda run: (run.decided_ms, run.run_id)):
        if run.executed_plan is None:
            result.unlabelled["executed plan unknown"] += 1
            continue
        if run.planner_input is not None:
            context, document = _known_part(run.planner_input, ended, run.decided_ms, result.contexts)
        else:
            rebuilt = _rebuild(run, issues, universes, history)
            if rebuilt is None:
                result.unlabelled["issue unknown"] += 1
                continue
            context, document = rebuilt
        label, reason = executed_label(run.executed_plan, context.space, context.job_type)
        if label is None:
            result.unlabelled[reason] += 1
            continue
        result.contexts["recorded" if run.planner_input is not None else "rebuilt"] += 1
        if document is not None:
            result.made[len(result.examples)] = document
        result.examples.append(_example(run, context, label))
    return result


def _example(run: RunRecord, context: PackedContext, label: Action) -> Example:
    summary = run.summary
    return Example(
        example_id=run.run_id,
        packed=context,
        label=label,
        decided_ms=run.decided_ms,
        issue_id=context.issue_id,
        job_type=context.job_type,
        domain=summary["domain"],
        status=summary["outcome"]["status"],
        duration_ms=summary["runtime"]["duration_ms"],
        cost_usd=summary.get("cost_usd_est"),
    )


def _known_part(
    recorded: PackedContext, ended: dict[str, int], at_ms: int, counts: Counter[str]
) -> tuple[PackedContext, dict[str, Any] | None]:
    """The recorded context without neighbours that, by their artifacts, had not ended at decision time.

    Packed, and parsed when any had to go.
    """
    known = [ended.get(run_id, started_ms) <= at_ms for run_id, started_ms, _ in recorded.runs]
    if all(known):
        return recorded, None
    counts["neighbours_withdrawn"] += known.count(False)
    context = replace(recorded, runs=list(itertools.compress(recorded.runs, known)))
    return context, orjson.loads(context.text)


def _rebuild(
    run: RunRecord,
    issues: dict[str, dict[str, Any]],
    universes: dict[str, Universe],
    history: HistoryIndex,
) -> tuple[PackedContext, dict[str, Any]] | None:
    """The context as it was at ``run.decided_ms``, packed and parsed; None for a code run of an unknown issue."""
    universe = universes.get(run.universe_id or "")
    if universe is None:
        universe = next(iter(universes.values())) if len(universes) == 1 else NO_UNIVERSE
    summary = run.summary
    if run.world_id is not None and run.issue_id is None:
        issue = {"id": f"world:{run.world_id}", "title": run.world_id, "tags": summary["tags"]}
    elif run.issue_id in issues:
        issue = issues[run.issue_id]
    else:
        return None
    attempts = history.attempts(run.issue_id, run.decided_ms)
    part = issue_context(issue, attempts)
    query = Query(
        run.decided_ms,
        summary["job_type"],
        summary["domain"],
        frozenset(part["tags"]),
        run.issue_id,
        run.world_id,
        run.objective_id,
    )
    similar_runs = history.similar_runs(query, N_SIMILAR)
    context = planner_input(
        issue=part,
        universe=universe,
        job_type=summary["job_type"],
        similar_runs=similar_runs,
        created_ms=run.decided_ms,
        objective_id=run.objective_id,
    )
    # Each run's text is made once and not for every context that it is in.
    return PackedContext.of(context, [similar.packed for similar in similar_runs]), context
