"""Contexts that nobody met, made of parts of those that were: a pupil learns from them where its teacher has opinions
and the dataset no examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from planner.encoding.subject import recorded_problem

SUBJECT = ("title", "tags", "keywords", "words")
SIZE = ("dk_size", "estimated_minutes")
Contexts = Sequence[Mapping[str, Any]]


def perturbed_contexts(contexts: Contexts, n: int, *, new_share: float, seed: int = 0) -> list[dict[str, Any]]:
    """``n`` code contexts: each is one of ``contexts`` in which some parts are another one's; none if these are none.

    Parts are the tools (hint and system state), and the history (with attempts and time). A share of ``new_share`` also
    has another's size, or is about another's subject, or both: that is another issue, which nobody knows.
    """
    draw = np.random.default_rng(seed)
    return [_perturbed(contexts, number, new_share, draw) for number in range(n if contexts else 0)]


def asked(context: Mapping[str, Any]) -> tuple[str, str | None]:
    """The issue and the tool hint of a context."""
    return str(context["issue"]["issue_id"]), context["issue"].get("dk_tool_hint")


def _perturbed(contexts: Contexts, number: int, new_share: float, draw: np.random.Generator) -> dict[str, Any]:
    base = contexts[number % len(contexts)]
    tools, history, size, subject = (contexts[at] for at in draw.integers(len(contexts), size=4).tolist())
    context, issue = dict(base), dict(base["issue"])
    problem = recorded_problem(base["issue"])
    named = problem or str(issue["issue_id"])
    takes_tools, takes_history = _some_of_two(draw)
    if draw.random() < new_share:
        takes_size, takes_subject = _some_of_two(draw)
        if takes_size:
            _take(issue, size["issue"], SIZE)
        if takes_subject:
            _take(issue, subject["issue"], SUBJECT)
        named = f"{named}~{number}"
    if takes_tools:
        issue["dk_tool_hint"] = tools["issue"].get("dk_tool_hint")
        context["system_state"] = tools["system_state"]
    # The case of a recorded problem is named after its agent too.
    issue["issue_id"] = f"{named}@{issue['dk_tool_hint']}" if problem and issue["dk_tool_hint"] else named
    whose = history if takes_history else base
    if takes_history:
        issue["dk_attempts"] = history["issue"]["dk_attempts"]
        context["created_at"] = history["created_at"]
    runs = [
        # What was a run of the same issue stays one.
        {**run, "issue_id": issue["issue_id"]} if run.get("issue_id") == whose["issue"]["issue_id"] else run
        for run in whose["history"]["last_n_similar_runs"]
    ]
    return {**context, "issue": issue, "history": {"last_n_similar_runs": runs}}


def _some_of_two(draw: np.random.Generator) -> tuple[bool, bool]:
    """The first, the second, or both: each equally likely."""
    at = int(draw.integers(3))
    return at != 1, at != 0


def _take(issue: dict[str, Any], other: Mapping[str, Any], keys: Sequence[str]) -> None:
    for key in keys:
        issue.pop(key, None)
        if key in other:
            issue[key] = other[key]
