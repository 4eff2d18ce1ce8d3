"""Building one planner_input.v1: an issue, its universe, and the similar runs that had ended by then."""

from collections.abc import Sequence
from typing import Any

from planner.actions import Action, ActionSpace, executed_label
from planner.artifacts.archives import DOMAIN_OF_JOB_TYPE
from planner.artifacts.beads import issue_context, job_type_of, world_of
from planner.artifacts.records import RunRecord
from planner.artifacts.repo import Repo
from planner.artifacts.universe import Universe
from planner.contracts.document import ms_to_timestamp
from planner.errors import ArtifactError
from planner.history import HistoryIndex, Query

N_SIMILAR = 16
"""Similar runs stored in a context; smaller numbers are views on it."""


def planner_input(
    *,
    issue: dict[str, Any],
    universe: Universe,
    job_type: str,
    similar_runs: Sequence[RunRecord],
    created_ms: int,
    objective_id: str | None = None,
    system_state: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """One planner_input.v1. ``issue`` is its issue part; ``objective_id`` overrides the universe's default."""
    return {
        "schema_version": "cyntra.planner_input.v1",
        "created_at": ms_to_timestamp(created_ms),
        "universe_id": universe.universe_id,
        "job_type": job_type,
        "universe_defaults": {
            "swarm_id": universe.default_swarm_id,
            "objective_id": objective_id or universe.default_objective_id,
        },
        "issue": issue,
        "history": {"last_n_similar_runs": [run.summary for run in similar_runs]},
        "action_space": universe.action_space.to_document(),
        "system_state": system_state,
    }


class ContextBuilder:
    """Contexts for a repo's issues as of now. Calls must come in order of ``created_ms``."""

    def __init__(self, repo: Repo) -> None:
        self.repo = repo
        self.universe = repo.universe
        self._history = HistoryIndex(repo.runs)

    def build(self, issue_id: str, *, created_ms: int, system_state: dict[str, Any] | None = None) -> dict[str, Any]:
        """The context of one issue at ``created_ms``; ArtifactError when there is no such issue."""
        issue = self.repo.issues.get(issue_id)
        if issue is None:
            raise ArtifactError(f"{self.repo.root}: no issue {issue_id!r} in .beads/issues.jsonl")
        part = issue_context(issue, self._history.attempts(issue_id, created_ms))
        job_type, objective_id = job_type_of(issue), self.universe.default_objective_id
        query = Query(
            created_ms,
            job_type,
            DOMAIN_OF_JOB_TYPE[job_type],
            frozenset(part["tags"]),
            issue_id,
            world_of(issue),
            objective_id,
        )
        return planner_input(
            issue=part,
            universe=self.universe,
            job_type=job_type,
            similar_runs=self._history.similar_runs(query, N_SIMILAR),
            created_ms=created_ms,
            system_state=system_state,
        )

    def last_action(self, issue_id: str, at_ms: int, space: ActionSpace) -> Action | None:
        """What the issue's last run that had ended by ``at_ms`` executed, where that is a valid action; else None."""
        runs = [
            run for run in self.repo.runs if run.issue_id == issue_id and run.ended_ms <= at_ms and run.executed_plan
        ]
        last = max(runs, key=lambda run: (run.ended_ms, run.run_id), default=None)
        if last is None or last.executed_plan is None:
            return None
        return executed_label(last.executed_plan, space, last.summary["job_type"])[0]
