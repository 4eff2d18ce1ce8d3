"""Building one planner_input.v1: an issue, its universe, and the similar runs that had ended by then.

There are two builders, one for each way of serving: the planner's own, and the kernel's, which builds what kernel
0.1.0 itself would show a policy (docs/kernel-contract.md, section 7).
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import orjson

from planner.actions import Action, ActionSpace, executed_label
from planner.artifacts.archives import DOMAIN_OF_JOB_TYPE
from planner.artifacts.beads import issue_context, job_type_of, world_of
from planner.artifacts.events import StartFailure
from planner.artifacts.recorded_context import PackedRun
from planner.artifacts.records import RunRecord
from planner.artifacts.repo import Repo
from planner.artifacts.toolchains import find_toolchains
from planner.artifacts.universe import Universe
from planner.contracts.document import ms_to_timestamp
from planner.contracts.kernel import ContextBuilderName
from planner.errors import ArtifactError
from planner.history import KERNELS, HistoryIndex, Query
from planner.past_runs import Runs

N_SIMILAR = 16
"""Similar runs stored in a context; smaller numbers are views on it."""
KERNEL_SIMILAR = 8
"""Similar runs in a context of the kernel."""


def planner_input(
    *,
    issue: dict[str, Any],
    universe: Universe,
    job_type: str,
    similar_runs: Sequence[dict[str, Any]],
    created_ms: int,
    objective_id: str | None = None,
    system_state: dict[str, Any] | None = None,
    builder: ContextBuilderName = "planner",
) -> dict[str, Any]:
    """One planner_input.v1. ``issue`` is its issue part, ``similar_runs`` are summaries; ``objective_id`` overrides the
    universe's default."""
    return {
        "schema_version": "cyntra.planner_input.v1",
        "created_at": ms_to_timestamp(created_ms),
        "universe_id": universe.universe_id,
        "job_type": job_type,
        "universe_defaults": {
            "swarm_id": universe.default_swarm_id,
            "objective_id": objective_id or universe.default_objective_id,
        },
        "issue": signed(issue, builder),
        "history": {"last_n_similar_runs": list(similar_runs)},
        "action_space": universe.action_space.to_document(),
        "system_state": system_state,
    }


def signed(issue: dict[str, Any], builder: ContextBuilderName) -> dict[str, Any]:
    """A context's issue part as ``builder`` gives it: the planner says that it is its own, and has more words."""
    if builder == "planner":
        return {**issue, "context_builder": "planner"}
    return {key: value for key, value in issue.items() if key not in ("context_builder", "words")}


class Past:
    """A repo's runs, as each of the builders looks back on them. Calls must come in order of time."""

    def __init__(self, runs: Runs, start_failures: Sequence[StartFailure] = ()) -> None:
        self._runs = runs
        self._start_failures = start_failures

    @cached_property
    def _ours(self) -> HistoryIndex:
        return HistoryIndex(self._runs.history("planner"), start_failures=self._start_failures)

    @cached_property
    def _kernels(self) -> HistoryIndex:
        return HistoryIndex(self._runs.history("kernel"), KERNELS)

    def attempts(self, issue_id: str | None, at_ms: int) -> int:
        """How many attempts at the issue had ended without passing by ``at_ms``."""
        return self._ours.attempts(issue_id, at_ms)

    def similar_runs(self, query: Query, builder: ContextBuilderName) -> list[PackedRun]:
        """The runs that ``builder`` puts into a context, in its order; each one's summary is the builder's own."""
        if builder == "planner":
            return [self._runs.packed(run, builder) for run in self._ours.similar_runs(query, N_SIMILAR)]
        found = [self._runs.packed(run, builder) for run in self._kernels.similar_runs(query, KERNEL_SIMILAR)]
        return sorted(found, key=lambda run: (-run.started_ms, run.run_id))


def issue_of_run(issue: dict[str, Any], run: RunRecord, attempts: int) -> dict[str, Any]:
    """The issue part of a run that recorded no context: of the tracker's issue, with the text that the run was given.

    After a failure the kernel writes hints into the tracker's description, which no earlier run may know.
    """
    part = issue_context(issue, attempts)
    return part if run.words is None else {**part, **run.words, "tags": run.summary["tags"]}


class ContextBuilder:
    """Contexts for a repo's issues as of now. Calls must come in order of ``created_ms``."""

    def __init__(self, repo: Repo, builder: ContextBuilderName = "planner") -> None:
        self.repo = repo
        self.builder: ContextBuilderName = builder
        self.universe = repo.universe
        self._past = Past(Runs.of(repo.runs), repo.start_failures)
        self._executed: defaultdict[str | None, list[RunRecord]] = defaultdict(list)
        """Issue id -> its runs with a known plan."""
        for run in repo.runs:
            if run.executed_plan:
                self._executed[run.issue_id].append(run)

    def now(self, issue_id: str) -> dict[str, Any]:
        """The context of one issue at this moment, with the tools that are there; ArtifactError as :meth:`build`."""
        now_ms = round(time.time() * 1000)
        tools = [tool.name for tool in find_toolchains(self.repo.config, self.repo.root)]
        return self.build(issue_id, created_ms=now_ms, system_state=system_state(tools, now_ms))

    def build(self, issue_id: str, *, created_ms: int, system_state: dict[str, Any] | None = None) -> dict[str, Any]:
        """The context of one issue at ``created_ms``; ArtifactError when there is no such issue."""
        issue = self.repo.issues.get(issue_id)
        if issue is None:
            raise ArtifactError(f"{self.repo.root}: no issue {issue_id!r} in .beads/issues.jsonl")
        part = issue_context(issue, self._past.attempts(issue_id, created_ms))
        job_type, objective_id = job_type_of(issue), self.universe.default_objective_id
        query = query_of(part, job_type, created_ms, world_of(issue), objective_id)
        return planner_input(
            issue=part,
            universe=self.universe,
            job_type=job_type,
            similar_runs=[orjson.loads(run.text) for run in self._past.similar_runs(query, self.builder)],
            created_ms=created_ms,
            system_state=system_state,
            builder=self.builder,
        )

    def last_action(self, issue_id: str, at_ms: int, space: ActionSpace) -> Action | None:
        """What the issue's last run that had ended by ``at_ms`` executed, where that is a valid action; else None."""
        runs = [run for run in self._executed.get(issue_id, ()) if run.ended_ms <= at_ms]
        last = max(runs, key=lambda run: (run.ended_ms, run.run_id), default=None)
        if last is None or last.executed_plan is None:
            return None
        return executed_label(last.executed_plan, space, last.summary["job_type"])[0]


def system_state(toolchains: Sequence[str], created_ms: int) -> dict[str, Any]:
    """The machine as an execution will meet it: alone in its clone, so the only workcell is its own."""
    return {
        "active_workcells_bin": "1_2",
        "queue_depth_bin": None,
        "available_toolchains": list(toolchains),
        "toolchain_health": None,
        "hour_bucket": f"{datetime.fromtimestamp(created_ms / 1000, UTC).hour:02d}",
        "budget_remaining_bin": None,
    }


def query_of(issue: dict[str, Any], job_type: str, at_ms: int, world_id: str | None, objective_id: str | None) -> Query:
    """What runs are similar to the job of a context's issue part."""
    domain = DOMAIN_OF_JOB_TYPE.get(job_type, "code")
    return Query(at_ms, job_type, domain, frozenset(issue["tags"]), issue["issue_id"], world_id, objective_id)
