"""Contexts that nobody met, made of parts of those that were: a pupil learns from them where its teacher has opinions
and the dataset no examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from planner.encoding.subject import recorded_problem

SUBJECT = ("title", "tags", "keywords", "words")
KNOWN_WORDS = (0.0, 0.25, 0.5, 0.75)
"""Shares of an unknown issue's tags and words that others have too, each as likely; the rest are invented."""
SIZE = ("dk_size", "estimated_minutes")
Contexts = Sequence[Mapping[str, Any]]


def perturbed_contexts(contexts: Contexts, n: int, *, new_share: float, seed: int = 0) -> list[dict[str, Any]]:
    """``n`` code contexts: each is one of ``contexts`` in which some parts are another one's; none if these are none.

    Parts are the tools (hint and system state), and the history (with attempts and time). Up to half of them ask of an
    issue with tools that no context asks of it with. Of the others, a share of ``new_share`` is about another issue,
    which nobody knows: it has another's size or subject, or both, and some to all of its words are invented. A pupil
    that met known words alone would take an unknown one for whatever it is hashed to.
    """
    draw = np.random.default_rng(seed)
    made = [_composed(base, tools=tools) for base, tools in _unasked(contexts, draw)[: n // 2]]
    return made + [_perturbed(contexts, number, new_share, draw) for number in range(n - len(made) if contexts else 0)]


def asked(context: Mapping[str, Any]) -> tuple[str, str | None]:
    """The issue and the tool hint of a context."""
    return str(context["issue"]["issue_id"]), context["issue"].get("dk_tool_hint")


def _unasked(contexts: Contexts, draw: np.random.Generator) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """A context of each issue with one of each hint, where no context asks of that issue with that hint; shuffled."""
    issues = {_named(context): context for context in contexts}
    hints = {context["issue"].get("dk_tool_hint"): context for context in contexts}
    there = {(_named(context), context["issue"].get("dk_tool_hint")) for context in contexts}
    pairs = [(issues[name], hints[hint]) for name in issues for hint in hints if (name, hint) not in there]
    return [pairs[at] for at in draw.permutation(len(pairs)).tolist()]


def _named(context: Mapping[str, Any]) -> str:
    """The issue of a context, whichever tool it is a case of."""
    return recorded_problem(context["issue"]) or str(context["issue"]["issue_id"])


def _perturbed(contexts: Contexts, number: int, new_share: float, draw: np.random.Generator) -> dict[str, Any]:
    tools, history, size, subject = (contexts[at] for at in draw.integers(len(contexts), size=4).tolist())
    takes_tools, takes_history = _some_of_two(draw)
    base = contexts[number % len(contexts)]
    is_new = draw.random() < new_share
    takes_size, takes_subject = _some_of_two(draw) if is_new else (False, False)
    return _composed(
        base,
        tools=tools if takes_tools else None,
        history=history if takes_history else None,
        size=size if takes_size else None,
        subject=_with_invented(subject if takes_subject else base, number, draw) if is_new else None,
        new_name=f"~{number}" if is_new else "",
    )


def _with_invented(context: Mapping[str, Any], number: int, draw: np.random.Generator) -> dict[str, Any]:
    """``context`` whose issue has words of its own for some of its tags and words."""
    issue, known = dict(context["issue"]), draw.choice(KNOWN_WORDS)
    for key in ("tags", "keywords", "words"):
        if key in issue:
            issue[key] = [
                word if draw.random() < known else f"w{number}{key[0]}{place}" for place, word in enumerate(issue[key])
            ]
    return {**context, "issue": issue}


def _composed(
    base: Mapping[str, Any],
    *,
    tools: Mapping[str, Any] | None = None,
    history: Mapping[str, Any] | None = None,
    size: Mapping[str, Any] | None = None,
    subject: Mapping[str, Any] | None = None,
    new_name: str = "",
) -> dict[str, Any]:
    """``base`` with these parts of others; ``new_name`` is put behind its issue's."""
    context, issue = dict(base), dict(base["issue"])
    if size is not None:
        _take(issue, size["issue"], SIZE)
    if subject is not None:
        _take(issue, subject["issue"], SUBJECT)
    if tools is not None:
        issue["dk_tool_hint"] = tools["issue"].get("dk_tool_hint")
        context["system_state"] = tools["system_state"]
    # The case of a recorded problem is named after its agent too.
    hint, named = issue["dk_tool_hint"], f"{_named(base)}{new_name}"
    issue["issue_id"] = f"{named}@{hint}" if recorded_problem(base["issue"]) and hint else named
    if history is not None:
        issue["dk_attempts"] = history["issue"]["dk_attempts"]
        context["created_at"] = history["created_at"]
    whose = history or base
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
