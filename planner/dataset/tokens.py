"""A context as tokens: compositional key/value pairs, hashed buckets for open sets, one bounded segment per past run.

The first segment is the context without its history; segment i is the i-th similar run. A smaller number of
neighbours or a smaller budget per run is a view: fewer segments, or their first tokens.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from planner.contracts import timestamp_to_ms
from planner.history import recency_bucket

PAD, UNK, BOS, SEP = "[PAD]", "[UNK]", "[BOS]", "[SEP]"
SPECIALS = (PAD, UNK, BOS, SEP)
HASH_BUCKETS = 1024
TOKENS_PER_RUN = 64
"""Upper bound on a past run's segment, its separator included."""
_MAX_ITEMS = 8
"""Hashed items kept of one list inside a run's segment."""


def context_segments(context: Mapping[str, Any]) -> list[list[str]]:
    """The tokens of a planner_input.v1: the context's own segment, then one for each similar run, best first."""
    created_ms = timestamp_to_ms(context["created_at"])
    issue_id = context["issue"]["issue_id"]
    runs = context["history"]["last_n_similar_runs"]
    return [_own_segment(context), *(_run_segment(run, created_ms, issue_id) for run in runs)]


def _own_segment(context: Mapping[str, Any]) -> list[str]:
    issue, defaults, space = context["issue"], context["universe_defaults"], context["action_space"]
    state = context["system_state"] or {}
    tokens = [BOS]
    tokens += _pair("UNIVERSE", context["universe_id"])
    tokens += _pair("JOB_TYPE", context["job_type"])
    tokens += _pair("DEFAULT_SWARM", defaults["swarm_id"])
    tokens += _hashed("DEFAULT_OBJECTIVE", "KW", [defaults["objective_id"] or "none"])
    for key in ("dk_priority", "dk_risk", "dk_size", "dk_tool_hint"):
        tokens += _pair(key.upper(), issue[key])
    tokens += _pair("DK_ATTEMPTS", min(issue["dk_attempts"], 8))
    tokens += _hashed("TAGS", "TAG", issue["tags"])
    tokens += _hashed("KEYWORDS", "KW", issue.get("keywords") or ())
    for key in ("active_workcells_bin", "queue_depth_bin", "hour_bucket", "budget_remaining_bin"):
        tokens += _pair(key.upper(), state.get(key))
    tokens += ["[KEY:TOOLCHAINS]", *(f"[TOOL:{name}]" for name in sorted(state.get("available_toolchains") or ()))]
    health = state.get("toolchain_health") or {}
    tokens += ["[KEY:HEALTH]", *(token for name in sorted(health) for token in _pair(name, health[name]))]
    for key in ("swarm_ids", "max_candidates_bins", "max_minutes_bins", "max_iterations_bins"):
        tokens += [f"[KEY:{key.upper()}]", *(f"[VAL:{value}]" for value in space[key])]
    return [*tokens, SEP]


def _run_segment(run: Mapping[str, Any], created_ms: int, issue_id: str) -> list[str]:
    asked = (f"[AGE:{recency_bucket(created_ms, run['started_ms'])}]",)
    if run.get("issue_id") == issue_id:
        asked = ("[SAME_ISSUE]", *asked)
    start, *rest = _static_run_tokens(FrozenRun(run))
    return [start, *asked, *rest][: TOKENS_PER_RUN - 1] + [SEP]


class FrozenRun:
    """A run summary as a cache key: a summary never changes, so its id and start identify it."""

    __slots__ = ("_key", "run")

    def __init__(self, run: Mapping[str, Any]) -> None:
        self.run = run
        self._key = (run["run_id"], run["started_ms"], run["outcome"]["status"], len(run["outcome"]["gates"]))

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FrozenRun) and self._key == other._key and self.run == other.run


@lru_cache(maxsize=65536)
def _static_run_tokens(frozen: FrozenRun) -> tuple[str, ...]:
    """What of a run's segment does not depend on who asks, most telling first: the end may be cut."""
    run = frozen.run
    executed, outcome = run["action_executed"], run["outcome"]
    failing = [gate["name"] for gate in outcome["gates"] if not gate["passed"]]
    passing = [gate["name"] for gate in outcome["gates"] if gate["passed"]]
    tokens = ["[RUN]", f"[STATUS:{outcome['status']}]"]
    tokens += _pair("SWARM", executed["swarm_id"])
    tokens += _pair("CANDIDATES", executed["max_candidates"])
    tokens += _pair("MINUTES", executed["max_minutes"])
    tokens += _pair("ITERATIONS", executed["max_iterations"])
    tokens += [f"[DURATION:{log_bucket(run['runtime']['duration_ms'] / 1000)}]"]
    tokens += [f"[COST:{'NONE' if run.get('cost_usd_est') is None else log_bucket(100 * run['cost_usd_est'])}]"]
    tokens += _hashed("TAGS", "TAG", list(run.get("tags") or ())[:_MAX_ITEMS])
    tokens += _hashed("FAIL_CODES", "FAIL", outcome["fail_codes"][:_MAX_ITEMS])
    tokens += _hashed("FAIL_GATES", "GATE", failing[:_MAX_ITEMS])
    tokens += _hashed("PASS_GATES", "GATE", passing[:_MAX_ITEMS])
    return tuple(tokens)


def log_bucket(value: float) -> int:
    """0 below 1, then one bucket per doubling, at most 15."""
    return min(15, max(0, math.ceil(math.log2(value)))) if value > 1 else 0


@lru_cache(maxsize=65536)
def hash_bucket(salt: str, value: str) -> int:
    """First 8 bytes, big-endian, of sha256("salt:value"), modulo 1024 (contract page, section 4)."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{value}".encode()).digest()[:8], "big") % HASH_BUCKETS


def _pair(key: str, value: object) -> tuple[str, str]:
    return f"[KEY:{key}]", f"[VAL:{'NONE' if value is None else value}]"


def _hashed(key: str, kind: str, values: Iterable[str]) -> list[str]:
    buckets = sorted({hash_bucket(kind.lower(), value) for value in values})
    return [f"[KEY:{key}]", *(f"[{kind}_HASH_{bucket}]" for bucket in buckets)]
