"""Tests of how faults explain themselves: distinct reasons, counted, each with its cure."""

from bench.executors.fault_reasons import fault_groups


def test_faults_of_one_reason_are_one_line_whatever_differs_between_the_executions() -> None:
    reasons = [
        ("Cyntra ended with exit code 1; its output ends: KeyError: 'routing'", 5),
        ("Cyntra ended with exit code 1; its output ends: KeyError: 'other' (the last of 3 attempts)", 2),
        ("Cyntra ended with exit code 2 (the last of 3 attempts)", 1),
        ("[Errno 28] No space left on device: '/tmp/planner-bench-12-34/7/clone'", 1),
        ("[Errno 28] No space left on device: '/tmp/planner-bench-12-34/8/clone'", 1),
        ("issue 'a' is no longer in /repo/.beads/issues.jsonl", 1),
        ("issue 'b' is no longer in /repo/.beads/issues.jsonl", 3),
        ("something that nobody foresaw", 1),
    ]
    groups = fault_groups(reasons)
    assert [(group.reason, group.count) for group in groups] == [
        ("Cyntra ended with exit code 1", 7),
        ("an issue is no longer in /repo/.beads/issues.jsonl", 4),
        ("[Errno 28] No space left on device: '<work directory>'", 2),
        ("Cyntra ended with exit code 2", 1),
        ("something that nobody foresaw", 1),
    ]
    lines = [group.line for group in groups]
    assert lines[0] == (
        "7 executions: Cyntra ended with exit code 1 (its output ends: KeyError: 'routing') -> its output says why: "
        "run the kernel by hand in a clone of the repo"
    )
    assert "--work-dir" in lines[2] and "bring the issue back" in lines[1]
    assert all(group.cure and "\n" not in group.line for group in groups)
