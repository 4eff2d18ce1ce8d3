"""A context as numbers for policies without tokens: features of the context, and features of each similar run.

Runs stay apart so that "the first N similar runs" is a view; a policy averages over those it may see.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.encoding.tokens import hash_bucket

PRIORITIES, RISKS, SIZES = ("P0", "P1", "P2", "P3"), ("low", "medium", "high", "critical"), ("XS", "S", "M", "L", "XL")
MAX_COST_USD = 1e6
"""A recorded cost beyond this, or below 0, is a slip of the pen, and must not reach the features as it is."""
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


def context_features(context: Mapping[str, Any]) -> list[float]:
    """The context without its history, as long as CONTEXT_FEATURES, not normalised."""
    issue = context["issue"]
    tools = (context["system_state"] or {}).get("available_toolchains") or ()
    return [
        *_grades(issue["dk_priority"], issue["dk_risk"], issue["dk_size"]),
        float(context["job_type"] == "code"),
        float(context["universe_defaults"]["swarm_id"] not in (None, "serial_handoff")),
        math.log1p(issue["dk_attempts"]),
        float(len(issue["tags"])),
        float(len(tools)),
        float(len(context["history"]["last_n_similar_runs"])),
        *_texts(issue["dk_tool_hint"], tuple(issue["tags"]), tuple(issue.get("keywords") or ())),
    ]


@lru_cache(maxsize=1024)
def _grades(priority: str, risk: str, size: str) -> tuple[float, ...]:
    return (
        *(float(priority == p) for p in PRIORITIES),
        *(float(risk == r) for r in RISKS),
        *(float(size == s) for s in SIZES),
    )


@lru_cache(maxsize=16384)
def _texts(hint: str | None, tags: tuple[str, ...], keywords: tuple[str, ...]) -> tuple[float, ...]:
    return (
        *_multi_hot("hint", [hint] if hint else [], HINT_BUCKETS),
        *_multi_hot("tag", tags, TAG_BUCKETS),
        *_multi_hot("kw", keywords, KEYWORD_BUCKETS),
    )


def run_features(run: Mapping[str, Any]) -> tuple[float, ...]:
    """The features of a similar run as far as they are its own: all but those that :func:`asked_features` adds."""
    executed, outcome = run["action_executed"], run["outcome"]
    passed = outcome["status"] == "success"
    candidates, minutes = executed["max_candidates"] or 0, (executed["max_minutes"] or 0) / 60
    several = candidates > 1
    return (
        float(passed),
        float(outcome["status"] == "timeout"),
        float(several),
        float(candidates),
        minutes,
        float(executed["max_iterations"] or 0),
        float(passed and not several),
        float(passed and several),
        float(not passed and not several),
        float(not passed and several),
        minutes * passed,
        math.log1p(run["runtime"]["duration_ms"] / 1000),
        math.log1p(100 * min(max(run.get("cost_usd_est") or 0.0, 0.0), MAX_COST_USD)),
        float(len(outcome["fail_codes"])),
    )


def asked_features(
    own: NDArray[np.float64], age: NDArray[np.float64], same_issue: NDArray[np.float64], overlap: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Rows of RUN_FEATURES, shape (m, R), from the runs' own features and what depends on who asks.

    ``own`` (m, R - 4) comes from :func:`run_features`; the others are (m,): the age's bucket, whether the run was the
    asking issue's, and the Jaccard overlap of their tags.
    """
    failed = 1 - own[:, RUN_FEATURES.index("passed")]
    return np.column_stack([own[:, :-1], age, same_issue, same_issue * failed, overlap, own[:, -1]])


def _multi_hot(salt: str, values: Any, buckets: int) -> list[float]:
    row = [0.0] * buckets
    for value in values:
        row[hash_bucket(salt, value) % buckets] = 1.0
    return row
