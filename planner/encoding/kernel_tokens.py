"""The token stream that Cyntra's kernel builds from a context, for bundles that it loads.

docs/kernel-contract.md, section 4, has it in words.

It knows less of a context than planner.encoding.tokens: a policy should only be trained on it to be run by the kernel.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from planner.encoding.tokens import BOS, PAD, SEP, UNK, hash_bucket

EOS, EQUALS = "[EOS]", "[=]"
KERNEL_SPECIALS = (PAD, UNK, BOS, SEP, EOS, EQUALS)
KERNEL_RUNS = 8
"""Past runs in the stream."""
KERNEL_TOKENS_PER_RUN = 64
"""Tokens kept of a past run, without its separator."""
STREAM_LENGTH = 1024
"""Tokens in the stream, at most."""
KERNEL_SEQUENCE = 512
"""Tokens that the kernel hands to a policy, at most; the rest of the stream is lost."""
JOB_TYPE_PLACE = 6
"""Where in the stream the job type's value stands."""
_FAILURES = 8
"""Fail codes, and failing gates, that are looked at of one run."""
_DURATION_BINS = ((1, "LT_1S"), (10, "1_10S"), (30, "10_30S"), (60, "30_60S"), (300, "1_5M"), (1800, "5_30M"))
"""Upper end in seconds, exclusive, and name."""


def kernel_segments(context: Mapping[str, Any]) -> list[list[str]]:
    """The stream of a planner_input.v1 as its own part and one segment per past run, most recent first."""
    segments = [_own_segment(context)]
    segments += [[*_run_tokens(i, run), SEP] for i, run in enumerate(kernel_runs(context))]
    segments[-1][-1] = EOS
    return cut_segments(segments, STREAM_LENGTH)


def kernel_runs(context: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The past runs that the stream holds, in its order."""
    runs = context["history"]["last_n_similar_runs"]
    return sorted(runs, key=lambda run: (-run["started_ms"], run["run_id"]))[:KERNEL_RUNS]


def _own_segment(context: Mapping[str, Any]) -> list[str]:
    """Universe, issue and system state; a separator ends each, the state's even when there is none."""
    defaults, issue, state = context["universe_defaults"], context["issue"], context["system_state"]
    tokens = [BOS]
    tokens += _pair("UNIVERSE_ID", context["universe_id"])
    tokens += _pair("JOB_TYPE", context["job_type"])
    tokens += _pair("DEFAULT_SWARM_ID", defaults["swarm_id"], "SWARM_ID")
    tokens += _hashed("DEFAULT_OBJECTIVE", "KW", [(defaults["objective_id"] or "").strip()])
    tokens += [SEP]
    for key in ("dk_priority", "dk_risk", "dk_size"):
        tokens += _pair(key.upper(), issue[key])
    tokens += _pair("DK_TOOL_HINT", issue["dk_tool_hint"], "TOOLCHAIN")
    tokens += _hashed("TAGS", "TAG", issue["tags"])
    tokens += _hashed("KEYWORDS", "KW", issue.get("keywords") or ())
    tokens += [SEP]
    return [*tokens, *(_state_tokens(state) if state is not None else ()), SEP]


def _state_tokens(state: Mapping[str, Any]) -> list[str]:
    tokens: list[str] = []
    for key, namespace in (
        ("active_workcells_bin", "BIN"),
        ("queue_depth_bin", "BIN"),
        ("hour_bucket", "HOUR"),
        ("budget_remaining_bin", "BIN"),
    ):
        tokens += _pair(key.upper(), state.get(key), namespace)
    available = {f"[VAL:TOOLCHAIN:{name}]" for name in state.get("available_toolchains") or () if name}
    return [*tokens, *_listed("AVAILABLE_TOOLCHAINS", available)]


def _run_tokens(index: int, run: Mapping[str, Any]) -> list[str]:
    """A past run without its separator, at most 64 tokens."""
    outcome = run["outcome"]
    codes = [code for code in outcome["fail_codes"] if code]
    failing = [gate["name"] for gate in outcome["gates"] if not gate["passed"]]
    tokens = [f"[RUN_{index}]"]
    tokens += _pair("OUTCOME_STATUS", outcome["status"], "STATUS")
    tokens += _pair("EXEC_SWARM_ID", run["action_executed"]["swarm_id"], "SWARM_ID")
    tokens += _pair("DURATION_BIN", _duration_bin(run["runtime"]["duration_ms"]))
    tokens += _hashed("FAIL_CODES", "FAIL", codes[:_FAILURES])
    tokens += _hashed("FAIL_GATES", "GATE", failing[:_FAILURES])
    return tokens[:KERNEL_TOKENS_PER_RUN]


def _duration_bin(milliseconds: int) -> str:
    return next((name for seconds, name in _DURATION_BINS if milliseconds < 1000 * seconds), "GE_30M")


def _pair(key: str, value: str | None, namespace: str | None = None) -> tuple[str, str, str]:
    """A key with one value; blank text counts as absent."""
    return f"[KEY:{key}]", EQUALS, f"[VAL:{namespace or key}:{(value or '').strip() or 'NONE'}]"


def _hashed(key: str, kind: str, values: Iterable[str]) -> list[str]:
    """A list of an open set, as hash tokens."""
    return _listed(key, {f"[{kind}_HASH_{hash_bucket(kind.lower(), value)}]" for value in values if value})


def _listed(key: str, tokens: set[str]) -> list[str]:
    """A key with several values, sorted; an empty list leaves no trace, not even its key."""
    return [f"[KEY:{key}]", EQUALS, *sorted(tokens)] if tokens else []


def cut_segments(segments: Sequence[list[str]], length: int) -> list[list[str]]:
    """The first ``length`` tokens of all segments together."""
    starts = itertools.accumulate((len(segment) for segment in segments), initial=0)
    return [segment[: max(0, length - start)] for segment, start in zip(segments, starts, strict=False)]
