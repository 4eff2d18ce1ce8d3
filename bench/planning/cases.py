"""The cases of a bench: which issues of a repo, in which context, from which commit, under which actions."""

import hashlib
import itertools
import re
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from bench.options import BenchOptions
from bench.planning.git import git
from bench.planning.selections import Choice, PlanLimits, Selection, runnable_actions
from planner.actions import Action, ActionSpace, action_from_document
from planner.artifacts.beads import job_type_of, world_of
from planner.artifacts.repo import Repo
from planner.artifacts.toolchains import find_toolchains
from planner.artifacts.tracked_issue import ESCALATION_TAGS, SCHEDULABLE, passed_over
from planner.context import ContextBuilder, system_state
from planner.contracts.bench import BenchCase
from planner.contracts.document import validate
from planner.contracts.kernel import ContextBuilderName, RunSummary, context_builder
from planner.errors import BenchError
from planner.gc_pause import collector_paused
from planner.policies.heuristic import HeuristicPolicy

MAX_ID_BYTES = 120
"""Half of a file name's, for Cyntra adds to it."""
_NOT_IN_BRANCHES = re.compile(r"[\x00-\x20\x7f~^:?*\[\\/]|\.\.|@\{")
"""What git-check-ref-format(1) forbids inside a branch's name, and the slash, which would make directories."""


@dataclass(frozen=True)
class CaseOrigin:
    """What the executions of a bench start from."""

    base_commit: str
    toolchains: Sequence[str]
    """The tools that are there, in order of priority."""
    moments_ms: Mapping[str, int] = field(default_factory=dict)
    """Issue id -> the moment of its context, ms since the epoch, UTC; an issue without one is decided now."""


@dataclass(frozen=True)
class IssueSelection:
    """The issues that can be benched, in natural order of their ids, and why each other one cannot."""

    issue_ids: list[str]
    set_aside: dict[str, str]


@dataclass(frozen=True)
class CaseDraft:
    """One case before its actions are chosen."""

    issue_id: str
    base_commit: str
    choice: Choice
    problem_id: str | None = None
    """What the case is about, where other cases are about the same; None = its issue alone."""
    trials: Sequence[Mapping[str, Any]] | None = None
    """The recorded trials that give its outcomes, as RecordedTrial documents; None = its executions are run."""


def build_cases(
    repo: Repo,
    options: BenchOptions,
    selection: Selection,
    *,
    origin: CaseOrigin,
    stored: Sequence[BenchCase] = (),
    created_ms: int | None = None,
) -> list[BenchCase]:
    """One case per issue, each with ``options.n_actions`` distinct actions (fewer if the space has no more).

    An issue that has a case in ``stored`` keeps it as it is. ``created_ms`` is the moment of the contexts for which
    ``origin`` has none (default: now). BenchError when an issue in ``options.issue_ids`` cannot be benched, or cases in
    ``stored`` have contexts of another profile.
    """
    issue_ids = options.issue_ids or None
    wanted = select_issues(repo.issues, issue_ids).issue_ids
    kept = [case for case in stored if issue_ids is None or case.issue_id in wanted]
    other = next((case.context_builder for case in kept if case.context_builder not in (None, options.profile)), None)
    if other is not None:
        raise BenchError(
            f"the ledger's cases have contexts of the profile {other}, not {options.profile}: go on with --profile "
            f"{other}, or name another --ledger"
        )
    known = {case.issue_id for case in kept}
    new = [issue_id for issue_id in wanted if issue_id not in known]
    now_ms = round(time.time() * 1000) if created_ms is None else created_ms
    drafts = _drafts(repo, new, origin, now_ms, options.profile)
    # A case is hundreds of containers that stay: collecting among them took longer than making them.
    with collector_paused():
        return add_cases(kept, stored, drafts, selection, options.n_actions, options.limit)


def add_cases(
    kept: Sequence[BenchCase],
    stored: Sequence[BenchCase],
    drafts: Iterable[CaseDraft],
    selection: Selection,
    n_actions: int,
    limit: int | None,
) -> list[BenchCase]:
    """The cases that are ``kept`` and one for each draft, ``limit`` at most; ``stored`` are all there ever were."""
    cases = list(kept)
    checked = _CheckedRuns()
    for case in stored:
        selection.count(action_from_document(action.model_dump()) for action in case.actions)
    for draft in drafts if limit is None else itertools.islice(drafts, max(0, limit - len(cases))):
        document = {
            "schema_version": "cyntra.bench_case.v1",
            "case_id": draft.choice.case_id,
            "issue_id": draft.issue_id,
            "base_commit": draft.base_commit,
            "context": checked.context(draft.choice.context),
            "context_builder": context_builder(draft.choice.context),
            "actions": [action._asdict() for action in selection.choose(draft.choice, n_actions)],
            "selection": selection.name,
            **({} if draft.problem_id is None else {"problem_id": draft.problem_id}),
            **({} if draft.trials is None else {"trials": list(draft.trials)}),
        }
        cases.append(validate(BenchCase, document, f"issue {draft.issue_id!r}"))
    return cases[:limit]


class _CheckedRuns:
    """Past runs that many contexts share: each is validated and kept once."""

    def __init__(self) -> None:
        self._known: dict[bytes, RunSummary] = {}
        """By its JSON, which is made in a third of the time of a validation."""

    def context(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """The same context with the models of its runs."""
        runs = [self._run(summary) for summary in context["history"]["last_n_similar_runs"]]
        return {**context, "history": {"last_n_similar_runs": runs}}

    def _run(self, summary: dict[str, Any]) -> RunSummary:
        text = orjson.dumps(summary)
        if text not in self._known:
            self._known[text] = validate(RunSummary, summary, f"run {summary.get('run_id')!r}")
        return self._known[text]


def _drafts(
    repo: Repo, issue_ids: Sequence[str], origin: CaseOrigin, now_ms: int, whose: ContextBuilderName
) -> Iterator[CaseDraft]:
    builder = ContextBuilder(repo, whose)
    agent_limits = PlanLimits(len(origin.toolchains) or None, repo.universe.max_run_minutes)
    # A world's candidates are no agents: as many as wanted, whatever tools there are.
    world_limits = replace(agent_limits, max_candidates=None)
    rule = _todays_rule(repo)
    # History only goes forward.
    for issue_id in sorted(issue_ids, key=lambda issue_id: origin.moments_ms.get(issue_id, now_ms)):
        moment_ms = origin.moments_ms.get(issue_id, now_ms)
        state = system_state(origin.toolchains, moment_ms)
        context = builder.build(issue_id, created_ms=moment_ms, system_state=state)
        space = ActionSpace.from_document(context["action_space"])
        limits = agent_limits if context["job_type"] == "code" else world_limits
        choice = Choice(
            case_id=case_id_of(issue_id, origin.base_commit, context["universe_id"]),
            context=context,
            default=rule(context),
            pool=runnable_actions(space, context["job_type"], limits),
            executed=builder.last_action(issue_id, moment_ms, space),
            limits=limits,
        )
        yield CaseDraft(issue_id, origin.base_commit, choice)


def _todays_rule(repo: Repo) -> Callable[[Mapping[str, Any]], Action]:
    """What the kernel would run for an issue that has a context, if it were open: that is how the bench runs it."""
    rule = HeuristicPolicy.of_repo(repo)
    issues, tracker = repo.tracked

    def decide(context: Mapping[str, Any]) -> Action:
        issue_id = context["issue"]["issue_id"]
        issue = replace(issues[issue_id], status="open", attempts=0)
        return rule.decide(context, issue, tracker.is_on_critical_path(issue_id))

    return decide


def select_issues(issues: Mapping[str, Mapping[str, Any]], issue_ids: Collection[str] | None = None) -> IssueSelection:
    """The schedulable issues, or exactly those in ``issue_ids``, whatever their status.

    BenchError when an issue that was asked for does not exist or cannot be run safely.
    """
    set_aside = {issue_id: reason for issue_id, issue in issues.items() if (reason := _obstacle(issue_id, issue))}
    if issue_ids is None:
        return IssueSelection(sorted(set(issues) - set(set_aside), key=natural_order), set_aside)
    for issue_id in issue_ids:
        if issue_id not in issues:
            raise BenchError(f"no issue {issue_id!r} in .beads/issues.jsonl; found {sorted(issues, key=natural_order)}")
        if reason := id_obstacle(issue_id):
            raise BenchError(f"issue {issue_id!r}: {reason}; rename it to bench it")
    chosen = sorted(set(issue_ids), key=natural_order)
    return IssueSelection(chosen, {key: reason for key, reason in set_aside.items() if key not in chosen})


def git_origin(repo: Repo, search_path: str | None = None) -> CaseOrigin:
    """The commit of ``main``, and the tools on ``search_path`` (default: this process's PATH).

    BenchError when the repo has no local branch ``main``.
    """
    tools = find_toolchains(repo.config, repo.root, search_path)
    return CaseOrigin(main_commit(repo.root), [tool.name for tool in tools])


def main_commit(repo: Path) -> str:
    """The commit of the repo's local branch ``main``; BenchError when there is no repo or no such branch."""
    try:
        return git(repo, "rev-parse", "--verify", "--quiet", "refs/heads/main^{commit}")
    except subprocess.CalledProcessError as error:
        if "not a git repository" in error.stderr:
            raise BenchError(f"{repo}: not a git repository: give the root of a Cyntra repo under git") from None
        if error.stderr:
            raise BenchError(f"{repo}: git cannot read the repo: {error.stderr.strip()}") from None
        raise BenchError(
            f"{repo}: no local branch main: Cyntra starts every run from it; make one with `git branch main`"
        ) from None


def case_id_of(issue_id: str, base_commit: str, universe_id: str) -> str:
    """A name for the case that is the same on every machine and safe as a file name."""
    key = "\0".join((issue_id, base_commit, universe_id))
    return "case-" + hashlib.sha256(key.encode()).hexdigest()[:16]


def natural_order(issue_id: str) -> list[tuple[int, int, str]]:
    """A sort key under which "9" comes before "10" and "CY-9" before "CY-10"."""
    parts = [part for part in re.split(r"([0-9]+)", issue_id) if part]
    # Of two numbers without leading zeros the longer one is larger: digits may be more than int() takes.
    return [
        (0, len(part.lstrip("0")), part.lstrip("0")) if part[0] in "0123456789" else (1, 0, part) for part in parts
    ] + [(2, 0, issue_id)]


def id_obstacle(issue_id: str) -> str | None:
    """Why Cyntra cannot make a branch and a directory of the id; None when it can."""
    try:
        n_bytes = len(issue_id.encode())
    except UnicodeEncodeError:
        return "its id is not text that UTF-8 can hold"
    if n_bytes > MAX_ID_BYTES:
        return f"its id is longer than {MAX_ID_BYTES} bytes, and Cyntra makes file names of it"
    if not issue_id:
        return "its id is empty"
    if issue_id.startswith("-"):
        return "its id begins with -, and Cyntra would take it for an option"
    found = _NOT_IN_BRANCHES.search(issue_id)
    if found is not None or issue_id.startswith(".") or issue_id.endswith(".lock"):
        what = repr(found[0]) if found else "a dot at its start" if issue_id.startswith(".") else "'.lock' at its end"
        return f"its id has {what}, which git accepts in no branch name, and Cyntra makes one of it"
    return None


def _obstacle(issue_id: str, issue: Mapping[str, Any]) -> str | None:
    if reason := id_obstacle(issue_id):
        return reason
    if issue.get("status") not in SCHEDULABLE:
        return f"status {issue.get('status')!r}"
    if reason := passed_over(issue):
        return f"Cyntra cannot read it: {reason}"
    tags = issue.get("tags")
    if isinstance(tags, list) and any(tag in ESCALATION_TAGS for tag in tags if isinstance(tag, str)):
        return "left to a human (escalation)"
    if job_type_of(issue) == "fab-world" and world_of(issue) is None:
        return "a world job without a tag world:<world id>"
    return None
