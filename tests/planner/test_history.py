"""The history index answers like a plain scan over all runs, and knows nothing that had not ended."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.artifacts.events import StartFailure
from planner.artifacts.records import RunRecord
from planner.artifacts.summaries import run_summary
from planner.contracts.document import canonical_json
from planner.history import KERNELS, OURS, HistoryIndex, Query, Similarity
from planner.past_runs import Runs

HOUR = 3_600_000
NOW = 100 * 24 * HOUR
TAGS = ("a", "b", "c", "d")
CODES = ("test", "lint", "timeout")
AGES = (
    0,
    1,
    HOUR - 1,
    HOUR,
    HOUR + 1,
    24 * HOUR,
    3 * 24 * HOUR,
    7 * 24 * HOUR,
    20 * 24 * HOUR,
    30 * 24 * HOUR,
    50 * 24 * HOUR,
)


def run_record(number: int, **changes: Any) -> RunRecord:
    """A finished code run of issue 1, an hour before NOW, with changes."""
    fields: dict[str, Any] = {
        "started_ms": NOW - HOUR,
        "duration_ms": 1000,
        "tags": (),
        "codes": (),
        "failing": (),
        "issue_id": "1",
        "job_type": "code",
        "world_id": None,
        "objective_id": None,
        **changes,
    }
    status = "failed" if fields["codes"] or fields["failing"] else "success"
    summary = run_summary(
        run_id=f"run-{number:03d}",
        started_ms=fields["started_ms"],
        job_type=fields["job_type"],
        domain="code" if fields["job_type"] == "code" else "fab_world",
        plan=None,
        status=status,
        fail_codes=fields["codes"],
        gates=[{"name": name, "passed": False} for name in fields["failing"]] + [{"name": "fine", "passed": True}],
        duration_ms=fields["duration_ms"],
        tags=fields["tags"],
        issue_id=fields["issue_id"],
    )
    return RunRecord(
        run_id=summary["run_id"],
        kind="archive",
        summary_text=canonical_json(summary),
        status=summary["outcome"]["status"],
        issue_id=fields["issue_id"],
        started_ms=fields["started_ms"],
        ended_ms=fields["started_ms"] + fields["duration_ms"],
        decided_ms=fields["started_ms"],
        executed_plan=None,
        planner_input=None,
        world_id=fields["world_id"],
        objective_id=fields["objective_id"],
    )


SETS = st.lists(st.sampled_from(TAGS), max_size=3, unique=True)
FAILURES = st.lists(st.sampled_from(CODES), max_size=2, unique=True)
RUNS = (
    st.lists(
        st.fixed_dictionaries(
            {
                "started_ms": st.sampled_from(AGES).map(lambda age: NOW - age),
                "duration_ms": st.sampled_from([0, 1, HOUR, 10 * 24 * HOUR]),
                "tags": SETS,
                "codes": FAILURES,
                "failing": FAILURES,
                "issue_id": st.sampled_from(["1", "2", None]),
                "job_type": st.sampled_from(["code", "fab-world"]),
                "world_id": st.sampled_from(["w", "v"]),
                "objective_id": st.sampled_from(["o", None]),
            }
        ),
        max_size=40,
    )
    .map(lambda fields: [run_record(number, **changes) for number, changes in enumerate(fields)])
    .flatmap(st.permutations)
)
QUERIES = st.lists(
    st.builds(
        lambda age, job_type, tags, issue_id, objective_id: Query(
            NOW - age,
            job_type,
            "code" if job_type == "code" else "fab_world",
            frozenset(tags),
            issue_id,
            "w" if job_type != "code" else None,
            objective_id if job_type != "code" else None,
        ),
        st.sampled_from(AGES),
        st.sampled_from(["code", "fab-world"]),
        SETS,
        st.sampled_from(["1", "2", None]),
        st.sampled_from(["o", None]),
    ),
    min_size=1,
    max_size=4,
).map(lambda queries: sorted(queries, key=lambda query: query.at_ms))


class Index:
    """The history index of some runs, which gives their ids."""

    def __init__(
        self, runs: list[RunRecord], similarity: Similarity = OURS, start_failures: Sequence[StartFailure] = ()
    ) -> None:
        self._runs = Runs.of(runs)
        self.of_places = HistoryIndex(self._runs.history("planner"), similarity, start_failures)

    def similar_runs(self, query: Query, n: int) -> list[str]:
        """Their ids."""
        return [self._runs[place].run_id for place in self.of_places.similar_runs(query, n)]

    def attempts(self, issue_id: str, at_ms: int) -> int:
        """As the index says."""
        return self.of_places.attempts(issue_id, at_ms)


def jaccard(left: set[str], right: set[str]) -> float:
    """Shared over joint size, 0 for two empty sets."""
    return len(left & right) / len(left | right) if left | right else 0.0


def failures_of(run: RunRecord) -> set[str]:
    """Fail codes and failing gates."""
    outcome = run.summary["outcome"]
    return set(outcome["fail_codes"]) | {gate["name"] for gate in outcome["gates"] if not gate["passed"]}


def scan(runs: list[RunRecord], query: Query, n: int) -> list[str]:
    """The definition, written as a scan over all runs."""
    ended = [run for run in runs if run.ended_ms <= query.at_ms]
    own = [failures_of(run) for run in ended if run.issue_id == query.issue_id and query.issue_id is not None]
    known_failures = set().union(*own) if own else set()

    def recency(run: RunRecord) -> float:
        age = query.at_ms - run.started_ms
        limits = ((HOUR, 0.4), (24 * HOUR, 0.3), (7 * 24 * HOUR, 0.2), (30 * 24 * HOUR, 0.1))
        return next((score for limit, score in limits if age < limit), 0.0)

    def admitted(run: RunRecord) -> bool:
        same = (run.summary["job_type"], run.summary["domain"]) == (query.job_type, query.domain)
        world = query.domain != "fab_world" or (run.world_id, run.objective_id) == (query.world_id, query.objective_id)
        return same and world

    def order(run: RunRecord) -> tuple[float, int, str]:
        tags = jaccard(set(query.tags), set(run.summary["tags"]))
        return -(tags + jaccard(known_failures, failures_of(run)) + recency(run)), -run.started_ms, run.run_id

    return [run.run_id for run in sorted(filter(admitted, ended), key=order)[:n]]


@settings(max_examples=200, deadline=None)
@given(RUNS, QUERIES, st.sampled_from([0, 1, 2, 5, 16]))
def test_the_index_answers_like_a_scan_over_all_runs(runs: list[RunRecord], queries: list[Query], n: int) -> None:
    index = Index(runs)
    for query in queries:
        assert index.similar_runs(query, n) == scan(runs, query, n)


@settings(max_examples=50, deadline=None)
@given(RUNS, QUERIES)
def test_attempts_are_the_issues_failed_runs_that_had_ended(runs: list[RunRecord], queries: list[Query]) -> None:
    index = Index(runs)
    for query in queries:
        failed = [r for r in runs if r.issue_id == "1" and r.ended_ms <= query.at_ms and not r.passed]
        assert index.attempts("1", query.at_ms) == len(failed)


def scan_as_the_kernel(runs: list[RunRecord], query: Query, n: int) -> list[str]:
    """The kernel's choice among the runs that had ended, written as a scan (docs/kernel-contract.md, section 7)."""

    def order(run: RunRecord) -> tuple[float, int, str]:
        days = (query.at_ms - run.started_ms) / (24 * HOUR)
        recency = 0.1 / (1 + sum(days >= limit for limit in (1, 7, 30)))
        return -(0.6 * jaccard(set(query.tags), set(run.summary["tags"])) + recency), -run.started_ms, run.run_id

    known = [run for run in runs if run.ended_ms <= query.at_ms and run.summary["job_type"] == query.job_type]
    return [run.run_id for run in sorted(known, key=order)[:n]]


@settings(max_examples=200, deadline=None)
@given(RUNS, QUERIES, st.sampled_from([1, 8]))
def test_the_index_can_choose_as_the_kernel_does(runs: list[RunRecord], queries: list[Query], n: int) -> None:
    index = Index(runs, KERNELS)
    for query in queries:
        assert index.similar_runs(query, n) == scan_as_the_kernel(runs, query, n)


@pytest.mark.parametrize(("old_tags", "first"), [("abde", "run-000"), ("a-", "run-001")])
def test_tags_weigh_six_times_as_much_as_recency_for_the_kernel(old_tags: str, first: str) -> None:
    # 0.6 x 2/5 + 0.025 = 0.265 and 0.6 x 1/3 + 0.025 = 0.225, beside 0.6 x 1/4 + 0.1 = 0.25.
    old = run_record(0, tags=tuple(old_tags.strip("-")), started_ms=NOW - 31 * 24 * HOUR)
    young = run_record(1, tags=("a", "x"))
    found = Index([old, young], KERNELS).similar_runs(Query(NOW, "code", "code", frozenset("abc"), None), 2)
    assert found[0] == first


def test_an_attempt_that_left_no_run_counts_from_its_end() -> None:
    index = Index([run_record(0)], start_failures=[StartFailure("1", NOW), StartFailure("2", NOW)])
    assert [index.attempts("1", at_ms) for at_ms in (NOW - 1, NOW)] == [0, 1]


def test_a_run_is_known_from_the_moment_in_which_it_ended() -> None:
    run = run_record(0, started_ms=1000, duration_ms=500)
    index = Index([run])
    query = Query(1499, "code", "code", frozenset(), None)
    assert index.similar_runs(query, 5) == []
    assert index.similar_runs(Query(1500, "code", "code", frozenset(), None), 5) == [run.run_id]


def test_an_issues_own_failures_draw_runs_that_failed_alike() -> None:
    earlier = run_record(0, codes=("lint",), started_ms=NOW - 3 * HOUR)
    alike = run_record(1, codes=("lint",), issue_id="2", started_ms=NOW - 5 * HOUR)
    other = run_record(2, codes=("test",), issue_id="3", started_ms=NOW - 2 * HOUR)
    found = Index([earlier, alike, other]).similar_runs(Query(NOW, "code", "code", frozenset(), "1"), 3)
    assert found == ["run-000", "run-001", "run-002"]


def test_of_equals_the_later_comes_first_and_then_the_smaller_name() -> None:
    runs = [run_record(3, started_ms=NOW - 20), run_record(1, started_ms=NOW - 20), run_record(2, started_ms=NOW - 10)]
    for record in runs:
        record.ended_ms = record.started_ms
    found = Index(runs).similar_runs(Query(NOW, "code", "code", frozenset(), None), 5)
    assert found == ["run-002", "run-001", "run-003"]


def test_of_more_equals_than_are_wanted_the_smallest_names_are_taken() -> None:
    runs = [run_record(9 - number, tags=(f"tag-{number}",), duration_ms=0) for number in range(8)]
    found = Index(runs).similar_runs(Query(NOW, "code", "code", frozenset(), None), 3)
    assert found == ["run-002", "run-003", "run-004"]


def test_history_does_not_go_back_in_time() -> None:
    index = Index([run_record(0)])
    index.attempts("1", NOW)
    with pytest.raises(ValueError, match="cannot go back"):
        index.attempts("1", NOW - 1)
