"""A context as numbers for policies without tokens: features of the context, and features of each similar run.

Runs stay apart so that "the first N similar runs" is a view; a policy averages over those it may see.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.contracts import timestamp_to_ms
from planner.dataset.tokens import FrozenRun, hash_bucket
from planner.history import recency_bucket

PRIORITIES, RISKS, SIZES = ("P0", "P1", "P2", "P3"), ("low", "medium", "high", "critical"), ("XS", "S", "M", "L", "XL")
TAG_BUCKETS, KEYWORD_BUCKETS, HINT_BUCKETS = 32, 32, 8

CONTEXT_FEATURES: tuple[str, ...] = (
    *(f"priority_{p}" for p in PRIORITIES),
    *(f"risk_{r}" for r in RISKS),
    *(f"size_{s}" for s in SIZES),
    "is_code",
    "default_is_multi_candidate",
    "log_attempts",
    "tags",
    "toolchains_available",
    "similar_runs",
    *(f"hint_{i}" for i in range(HINT_BUCKETS)),
    *(f"tag_{i}" for i in range(TAG_BUCKETS)),
    *(f"keyword_{i}" for i in range(KEYWORD_BUCKETS)),
)
RUN_FEATURES: tuple[str, ...] = (
    "passed",
    "timed_out",
    "several_candidates",
    "candidates",
    "minutes",
    "iterations",
    "passed_with_one",
    "passed_with_several",
    "failed_with_one",
    "failed_with_several",
    "minutes_if_passed",
    "log_duration_s",
    "log_cost_cents",
    "age",
    "same_issue",
    "same_issue_failed",
    "tag_overlap",
    "failures",
)


def context_features(context: Mapping[str, Any]) -> NDArray[np.float32]:
    """The context without its history, shape (len(CONTEXT_FEATURES),), not normalised."""
    issue = context["issue"]
    tools = (context["system_state"] or {}).get("available_toolchains") or ()
    hint = issue["dk_tool_hint"]
    values = [
        *(float(issue["dk_priority"] == p) for p in PRIORITIES),
        *(float(issue["dk_risk"] == r) for r in RISKS),
        *(float(issue["dk_size"] == s) for s in SIZES),
        float(context["job_type"] == "code"),
        float(context["universe_defaults"]["swarm_id"] not in (None, "serial_handoff")),
        math.log1p(issue["dk_attempts"]),
        float(len(issue["tags"])),
        float(len(tools)),
        float(len(context["history"]["last_n_similar_runs"])),
        *_multi_hot("hint", [hint] if hint else [], HINT_BUCKETS),
        *_multi_hot("tag", issue["tags"], TAG_BUCKETS),
        *_multi_hot("kw", issue.get("keywords") or (), KEYWORD_BUCKETS),
    ]
    return np.array(values, dtype=np.float32)


def run_features(context: Mapping[str, Any], n_similar: int) -> NDArray[np.float32]:
    """The first ``n_similar`` similar runs, shape (n_similar, len(RUN_FEATURES)); rows beyond the history are 0."""
    rows: NDArray[np.float32] = np.zeros((n_similar, len(RUN_FEATURES)), dtype=np.float32)
    created_ms = timestamp_to_ms(context["created_at"])
    issue_id, tags = context["issue"]["issue_id"], frozenset(context["issue"]["tags"])
    runs = context["history"]["last_n_similar_runs"][:n_similar]
    if runs:
        rows[: len(runs)] = [_run_row(run, created_ms, issue_id, tags) for run in runs]
    return rows


def _run_row(run: Mapping[str, Any], created_ms: int, issue_id: str, tags: frozenset[str]) -> tuple[float | bool, ...]:
    static, run_tags, passed, failures = _static_run_row(FrozenRun(run))
    same_issue = run.get("issue_id") == issue_id
    shared = len(tags & run_tags)
    return (
        *static,
        recency_bucket(created_ms, run["started_ms"]),
        same_issue,
        same_issue and not passed,
        shared / max(len(tags) + len(run_tags) - shared, 1),
        failures,
    )


@lru_cache(maxsize=65536)
def _static_run_row(frozen: FrozenRun) -> tuple[tuple[float | bool, ...], frozenset[str], bool, int]:
    """What of a run's row does not depend on who asks: its first values, its tags, whether it passed, its failures."""
    run = frozen.run
    executed, outcome = run["action_executed"], run["outcome"]
    passed = outcome["status"] == "success"
    candidates, minutes = executed["max_candidates"] or 0, (executed["max_minutes"] or 0) / 60
    several = candidates > 1
    values = (
        passed,
        outcome["status"] == "timeout",
        several,
        candidates,
        minutes,
        executed["max_iterations"] or 0,
        passed and not several,
        passed and several,
        not passed and not several,
        not passed and several,
        minutes * passed,
        math.log1p(run["runtime"]["duration_ms"] / 1000),
        math.log1p(100 * (run.get("cost_usd_est") or 0.0)),
    )
    return values, frozenset(run.get("tags") or ()), passed, len(outcome["fail_codes"])


def _multi_hot(salt: str, values: Any, buckets: int) -> list[float]:
    row = [0.0] * buckets
    for value in values:
        row[_bucket(salt, value, buckets)] = 1.0
    return row


@lru_cache(maxsize=65536)
def _bucket(salt: str, value: str, buckets: int) -> int:
    return hash_bucket(salt, value) % buckets
