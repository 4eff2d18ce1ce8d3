"""Tokens and features: bounded, the same in training and serving, hashed as docs/kernel-contract.md says."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.artifacts.summaries import run_summary
from planner.contracts.document import ms_to_timestamp
from planner.dataset.storage import inputs_of_split, load_dataset
from planner.encoding.encode import ContextEncoder, encode_contexts
from planner.encoding.features import CONTEXT_FEATURES, RUN_FEATURES, context_features
from planner.encoding.inputs import inputs_of_contexts
from planner.encoding.tokens import TOKENS_PER_RUN, context_segments, hash_bucket, log_bucket

NOW = 1_790_000_000_000


def summary(number: int, **changes: Any) -> dict[str, Any]:
    """A run summary that is as full as the readers make them, with changes."""
    plan = {
        "swarm_id_executed": "speculate_vote",
        "max_candidates_executed": 3,
        "timeout_seconds_executed": 1800,
        "max_iterations_executed": None,
    }
    fields: dict[str, Any] = {
        "run_id": f"run-{number}",
        "started_ms": NOW - 1000 * number,
        "job_type": "code",
        "domain": "code",
        "plan": plan,
        "status": "failed",
        "fail_codes": [f"code-{i}" for i in range(40)],
        "gates": [{"name": f"gate-{i}", "passed": i % 2 == 0} for i in range(40)],
        "duration_ms": 61_000,
        "tags": [f"tag-{i}" for i in range(40)],
        "issue_id": "1",
        "cost_usd": 0.25,
    }
    return run_summary(**{**fields, **changes})


def context(runs: list[dict[str, Any]], **issue: Any) -> dict[str, Any]:
    """A context with these similar runs."""
    return {
        "schema_version": "cyntra.planner_input.v1",
        "created_at": ms_to_timestamp(NOW),
        "universe_id": "medica",
        "job_type": "code",
        "universe_defaults": {"swarm_id": "speculate_vote", "objective_id": None},
        "issue": {
            "issue_id": "1",
            "dk_priority": "P1",
            "dk_risk": "high",
            "dk_size": "S",
            "dk_tool_hint": None,
            "dk_attempts": 2,
            "tags": ["tag-0", "tag-1"],
            **issue,
        },
        "history": {"last_n_similar_runs": runs},
        "action_space": {
            "swarm_ids": ["serial_handoff", "speculate_vote"],
            "max_minutes_bins": [15, "NA"],
            "max_candidates_bins": [1, 2],
            "max_iterations_bins": ["NA"],
            "validity_rules": [],
        },
        "system_state": None,
    }


@pytest.mark.parametrize(
    ("salt", "value", "bucket"),
    [
        # echo -n "tag:security" | sha256sum, first 16 hexadecimal digits modulo 1024
        ("tag", "security", 140),
        ("kw", "migration", 399),
        ("fail", "timeout", 792),
        ("gate", "test", 92),
        ("tag", "日本", 469),
    ],
)
def test_a_hash_bucket_is_the_one_that_the_contract_page_defines(salt: str, value: str, bucket: int) -> None:
    assert hash_bucket(salt, value) == bucket


def test_a_run_takes_at_most_64_tokens_however_full_it_is() -> None:
    segments = context_segments(context([summary(1), summary(2, issue_id="2")]))
    assert len(segments) == 3
    assert all(len(segment) <= TOKENS_PER_RUN == 64 for segment in segments[1:])
    assert all(segment[0] == "[RUN]" and segment[-1] == "[SEP]" for segment in segments[1:])


def test_a_full_run_keeps_something_of_all_its_lists() -> None:
    gates = [{"name": f"gate-{i}", "passed": i % 2 == 0} for i in range(16)]
    segment = context_segments(context([summary(1, gates=gates)]))[1]
    for key, kind in (("TAGS", "TAG"), ("FAIL_CODES", "FAIL"), ("FAIL_GATES", "GATE"), ("PASS_GATES", "GATE")):
        place = segment.index(f"[KEY:{key}]")
        assert segment[place + 1].startswith(f"[{kind}_HASH_")


def test_no_run_of_the_corpus_takes_more_than_64_tokens(corpus_dataset: Path) -> None:
    for split in load_dataset(corpus_dataset).splits.values():
        assert (np.diff(split.segments, axis=1)[:, 1:] <= 64).all()


def test_tokens_name_what_matters_about_a_run() -> None:
    segment = context_segments(context([summary(1, fail_codes=["timeout"], status="timeout")]))[1]
    assert {"[SAME_ISSUE]", "[AGE:0]", "[STATUS:timeout]", "[VAL:speculate_vote]", "[DURATION:6]", "[COST:5]"} <= set(
        segment
    )
    assert f"[FAIL_HASH_{hash_bucket('fail', 'timeout')}]" in segment
    assert "[SAME_ISSUE]" not in context_segments(context([summary(1)], issue_id="9"))[1]


def test_the_encoded_arrays_hold_the_tokens_of_every_segment() -> None:
    contexts = [context([summary(i) for i in range(n)], dk_attempts=n) for n in (0, 3, 20)]
    encoded = encode_contexts(contexts, 16)
    for row, document in enumerate(contexts):
        segments = context_segments(document)[:17]
        bounds = encoded.segments[row]
        for place in range(17):
            words = [encoded.strings[i] for i in encoded.tokens[bounds[place] : bounds[place + 1]]]
            assert words == (segments[place] if place < len(segments) else [])


def test_contexts_that_come_some_at_a_time_are_encoded_as_those_that_come_at_once() -> None:
    runs = [summary(i) for i in range(5)]
    contexts = [context(runs[: i + 1], dk_attempts=i) for i in range(5)]
    whole, encoder = encode_contexts(contexts, 3), ContextEncoder(3)
    parts = [encoder.encode(part) for part in (contexts[:2], [], contexts[2:])]
    words = [[part.strings[token] for token in part.tokens] for part in parts]
    assert list(itertools.chain(*words)) == [whole.strings[token] for token in whole.tokens]
    for name in ("context_features", "run_features"):
        assert np.array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
    assert np.array_equal(
        np.concatenate([np.diff(part.segments, axis=1) for part in parts]), np.diff(whole.segments, axis=1)
    )


def test_two_summaries_with_one_name_do_not_lend_each_other_their_tokens() -> None:
    first, second = summary(1), summary(1, status="success", fail_codes=[], gates=[])
    encoded = encode_contexts([context([first]), context([second]), context([first])], 1)
    for row, run in enumerate((first, second, first)):
        start, end = encoded.segments[row, 1:3]
        assert [encoded.strings[i] for i in encoded.tokens[start:end]] == context_segments(context([run]))[1]
    passed = RUN_FEATURES.index("passed")
    assert encoded.run_features[:, 0, passed].tolist() == [0, 1, 0]


def test_serving_reads_the_same_as_training_from_the_same_document(corpus_dataset: Path) -> None:
    dataset = load_dataset(corpus_dataset)
    for split in dataset.splits.values():
        if not len(split):
            continue
        trained = inputs_of_split(split)
        served = inputs_of_contexts(split.contexts(), dataset.space, dataset.info.vocabulary, dataset.info.n_similar)
        for name in ("tokens", "segments", "context_features", "run_features", "masks"):
            assert np.array_equal(getattr(trained, name), getattr(served, name)), name


def test_a_single_context_is_encoded_as_it_would_be_among_others(corpus_dataset: Path) -> None:
    dataset = load_dataset(corpus_dataset)
    contexts = dataset.splits["train"].contexts()
    together = inputs_of_contexts(contexts, dataset.space, dataset.info.vocabulary, 4)
    alone = inputs_of_contexts(contexts[5:6], dataset.space, dataset.info.vocabulary, 4)
    assert np.array_equal(together.run_features[5], alone.run_features[0])
    bounds = together.segments[5]
    assert np.array_equal(together.tokens[bounds[0] : bounds[-1]], alone.tokens)


def test_features_have_names_and_values_that_agree() -> None:
    document = context([])
    values = dict(zip(CONTEXT_FEATURES, context_features(document), strict=True))
    assert (values["priority_P1"], values["priority_P0"], values["risk_high"], values["size_S"]) == (1, 0, 1, 1)
    assert (values["tags"], values["similar_runs"], values["is_code"]) == (2, 0, 1)
    assert values["log_attempts"] == pytest.approx(np.log(3))
    asked = context([summary(1, tags=["tag-0"], started_ms=NOW - 3 * 86_400_000)], tags=["tag-0", "tag-1"])
    row = encode_contexts([asked], 1).run_features[0, 0].tolist()
    named = dict(zip(RUN_FEATURES, row, strict=True))
    assert (named["passed"], named["several_candidates"], named["failed_with_several"]) == (0, 1, 1)
    assert (named["candidates"], named["minutes"], named["age"], named["same_issue_failed"]) == (3, 0.5, 2, 1)
    assert named["tag_overlap"] == 0.5
    assert named["log_duration_s"] == pytest.approx(np.log1p(61))


@pytest.mark.parametrize("cost", [-5.0, 1e300, None])
def test_an_impossible_cost_does_not_reach_the_features(cost: float | None) -> None:
    encoded = encode_contexts([context([{**summary(1), "cost_usd_est": cost}])], 1)
    assert np.isfinite(encoded.run_features).all()


def test_rows_beyond_the_history_are_zero() -> None:
    encoded = encode_contexts([context([]), context([summary(1)])], 3)
    assert not encoded.run_features[0].any()
    assert encoded.run_features[1, 0].any() and not encoded.run_features[1, 1:].any()
    assert encode_contexts([], 3).run_features.shape == (0, 3, len(RUN_FEATURES))


def test_log_buckets_double_and_end() -> None:
    assert [log_bucket(value) for value in (0, 0.5, 1, 1.5, 2, 3, 4, 5, 1e9)] == [0, 0, 0, 1, 1, 2, 2, 3, 15]
