"""A context as tokens: compositional key/value pairs, hashed buckets for open sets, one bounded segment per past run.

The first segment is the context without its history; segment i is the i-th similar run. A smaller number of
neighbours or a smaller budget per run is a view: fewer segments, or their first tokens.
"""

import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from planner.contracts.document import timestamp_to_ms
from planner.dimensions import DIMENSIONS
from planner.history import recency_bucket

PAD, UNK, BOS, SEP = "[PAD]", "[UNK]", "[BOS]", "[SEP]"
RUN = "[RUN]"
SPECIALS = (PAD, UNK, BOS, SEP)
HASH_BUCKETS = 1024
TOKENS_PER_RUN = 64
"""Upper bound on a past run's segment, its separator included."""
_AROUND_RUN_TOKENS = 4
"""Tokens around a run's own ones: [RUN], at most two asked tokens, the separator."""
_MAX_ITEMS = 8
"""Hashed items kept of one list inside a run's segment."""

_Bins = tuple[int | str, ...]
_remembered = lru_cache(maxsize=16384, typed=True)
"""For parts of segments, which many contexts and runs have in common. Typed: 1 and True are equal, and two tokens."""


def context_segments(context: Mapping[str, Any]) -> list[list[str]]:
    """The tokens of a planner_input.v1: the context's own segment, then one for each similar run, best first."""
    created_ms = timestamp_to_ms(context["created_at"])
    issue_id = context["issue"]["issue_id"]
    segments = [own_segment(context)]
    for run in context["history"]["last_n_similar_runs"]:
        asked = asked_tokens(recency_bucket(created_ms, run["started_ms"]), run.get("issue_id") == issue_id)
        segments.append([RUN, *asked, *run_tokens(run), SEP])
    return segments


def asked_tokens(age: int, same_issue: bool) -> tuple[str, ...]:
    """What of a run's segment depends on who asks: its age at decision time, and whether it was the same issue's."""
    return ("[SAME_ISSUE]", f"[AGE:{age}]") if same_issue else (f"[AGE:{age}]",)


def own_segment(context: Mapping[str, Any]) -> list[str]:
    """The tokens of a context without its history."""
    issue, defaults, space = context["issue"], context["universe_defaults"], context["action_space"]
    state = context["system_state"] or {}
    health = state.get("toolchain_health") or {}
    return [
        BOS,
        *_setting_tokens(
            context["universe_id"], context["job_type"], defaults["swarm_id"], defaults["objective_id"] or "none"
        ),
        *_issue_tokens(
            issue["dk_priority"],
            issue["dk_risk"],
            issue["dk_size"],
            issue["dk_tool_hint"],
            min(issue["dk_attempts"], 8),
        ),
        *_hashed("TAGS", "TAG", issue["tags"]),
        *_hashed("KEYWORDS", "KW", issue.get("keywords") or ()),
        *_state_tokens(
            state.get("active_workcells_bin"),
            state.get("queue_depth_bin"),
            state.get("hour_bucket"),
            state.get("budget_remaining_bin"),
            tuple(sorted(state.get("available_toolchains") or ())),
        ),
        "[KEY:HEALTH]",
        *[token for name in sorted(health) for token in _pair(name, health[name])],
        *_space_tokens(
            *(tuple(space[d.names] if d.default is None else space.get(d.names, (d.default,))) for d in DIMENSIONS)
        ),
        SEP,
    ]


@_remembered
def _setting_tokens(universe_id: str, job_type: str, swarm_id: str | None, objective_id: str) -> tuple[str, ...]:
    return (
        *_pair("UNIVERSE", universe_id),
        *_pair("JOB_TYPE", job_type),
        *_pair("DEFAULT_SWARM", swarm_id),
        *_hashed("DEFAULT_OBJECTIVE", "KW", [objective_id]),
    )


@_remembered
def _issue_tokens(priority: str, risk: str, size: str, tool_hint: str | None, attempts: int) -> tuple[str, ...]:
    return (
        *_pair("DK_PRIORITY", priority),
        *_pair("DK_RISK", risk),
        *_pair("DK_SIZE", size),
        *_pair("DK_TOOL_HINT", tool_hint),
        *_pair("DK_ATTEMPTS", attempts),
    )


@_remembered
def _state_tokens(
    workcells: str | None,
    queue: str | None,
    hour: str | None,
    budget: str | None,
    toolchains: tuple[str, ...],
) -> tuple[str, ...]:
    return (
        *_pair("ACTIVE_WORKCELLS_BIN", workcells),
        *_pair("QUEUE_DEPTH_BIN", queue),
        *_pair("HOUR_BUCKET", hour),
        *_pair("BUDGET_REMAINING_BIN", budget),
        "[KEY:TOOLCHAINS]",
        *[f"[TOOL:{name}]" for name in toolchains],
    )


@_remembered
def _space_tokens(*bins: _Bins) -> tuple[str, ...]:
    """The values of each dimension."""
    tokens = [_values(dimension.names.upper(), values) for dimension, values in zip(DIMENSIONS, bins, strict=True)]
    return tuple(itertools.chain.from_iterable(tokens))


def run_tokens(run: Mapping[str, Any]) -> list[str]:
    """What of a run's segment does not depend on who asks, most telling first: the end may be cut."""
    executed, outcome, gates = run["action_executed"], run["outcome"], run["outcome"]["gates"]
    cost = run.get("cost_usd_est")
    tokens = [
        *_executed_tokens(
            outcome["status"],
            log_bucket(run["runtime"]["duration_ms"] / 1000),
            "NONE" if cost is None else log_bucket(100 * cost),
            *[executed.get(dimension.summary_field) for dimension in DIMENSIONS],
        ),
        *_hashed("TAGS", "TAG", (run.get("tags") or ())[:_MAX_ITEMS]),
        *_hashed("FAIL_CODES", "FAIL", outcome["fail_codes"][:_MAX_ITEMS]),
        *_hashed("FAIL_GATES", "GATE", [gate["name"] for gate in gates if not gate["passed"]][:_MAX_ITEMS]),
        *_hashed("PASS_GATES", "GATE", [gate["name"] for gate in gates if gate["passed"]][:_MAX_ITEMS]),
    ]
    return tokens[: TOKENS_PER_RUN - _AROUND_RUN_TOKENS]


@_remembered
def _executed_tokens(status: str, duration: int, cost: int | str, *executed: str | int | None) -> tuple[str, ...]:
    return (
        f"[STATUS:{status}]",
        *(token for d, value in zip(DIMENSIONS, executed, strict=True) for token in _pair(d.token, value)),
        f"[DURATION:{duration}]",
        f"[COST:{cost}]",
    )


def log_bucket(value: float) -> int:
    """0 below 1, then one bucket per doubling, at most 15."""
    return min(15, math.ceil(math.log2(value))) if value > 1 else 0


@lru_cache(maxsize=65536)
def hash_bucket(salt: str, value: str) -> int:
    """First 8 bytes, big-endian, of sha256("salt:value"), modulo 1024 (docs/kernel-contract.md, section 4)."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{value}".encode()).digest()[:8], "big") % HASH_BUCKETS


def _pair(key: str, value: object) -> tuple[str, str]:
    return f"[KEY:{key}]", f"[VAL:{'NONE' if value is None else value}]"


def _values(key: str, values: Iterable[object]) -> list[str]:
    return [f"[KEY:{key}]", *[f"[VAL:{value}]" for value in values]]


def _hashed(key: str, kind: str, values: Iterable[str]) -> tuple[str, ...]:
    """Hash tokens in order of their buckets, each once."""
    return _hash_tokens(key, kind, tuple(values))


@_remembered
def _hash_tokens(key: str, kind: str, values: tuple[str, ...]) -> tuple[str, ...]:
    buckets = sorted({hash_bucket(kind.lower(), value) for value in values})
    return f"[KEY:{key}]", *(f"[{kind}_HASH_{bucket}]" for bucket in buckets)
