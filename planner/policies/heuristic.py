"""Today's rule: how kernel 0.1.0 itself decides, checked against its recorded answers.

docs/kernel-contract.md, section 6.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from planner.actions import HEADS, Action, ActionSpace
from planner.artifacts.lenient import section
from planner.artifacts.rule_settings import Rule, read_rules, read_settings
from planner.artifacts.tracked_issue import TrackedIssue

if TYPE_CHECKING:
    from planner.artifacts.repo import Repo

SERIAL, SPECULATE = "serial_handoff", "speculate_vote"
WORLD_TIMEOUT_MINUTES = 120
WORLD_GENERATIONS = 3
"""What `cyntra evolve` takes when nobody says."""
ADAPTERS = frozenset({"codex", "claude", "opencode", "crush", "fab-world", "comfyui", "test-architect"})
"""The tools that Cyntra can drive; any other name in a config is passed over."""


@dataclass(frozen=True)
class RulePlan:
    """What the kernel would run, before it is moved to an action space."""

    swarm_id: str
    candidates: int
    timeout_seconds: int
    """The shortest of the candidates' own."""


class HeuristicPolicy:
    """The rule over a kernel config (with its includes merged) and, if there is one, its dynamics report."""

    def __init__(
        self,
        kernel_config: Mapping[str, Any],
        *,
        dynamics: Mapping[str, Any] | None = None,
        max_run_minutes: int | None = None,
        routing_overrides: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """``max_run_minutes`` and ``routing_overrides`` are the universe's; ArtifactError for a wrong type."""
        self._settings = read_settings(kernel_config)
        self._rules = (*read_rules(list(routing_overrides), "universe", "routing_overrides"), *self._settings.rules)
        self._dynamics = dynamics
        self._max_run_minutes = max_run_minutes

    @classmethod
    def of_repo(cls, repo: "Repo", config: Mapping[str, Any] | None = None) -> "HeuristicPolicy":
        """The rule of a repo and its universe, or the same with another ``config`` in its place."""
        return cls(
            repo.config if config is None else config,
            dynamics=repo.dynamics,
            max_run_minutes=repo.universe.max_run_minutes,
            routing_overrides=repo.universe.routing_overrides,
        )

    def decide(
        self, context: Mapping[str, Any], issue: TrackedIssue | None = None, on_critical_path: bool = True
    ) -> Action:
        """The action the kernel would take in this context, moved to the nearest valid one of its space.

        ``issue`` is the tracker's own, which holds more than the context does: its description, its state.
        """
        space = ActionSpace.from_document(context["action_space"])
        if context["job_type"] == "code":
            available = (context.get("system_state") or {}).get("available_toolchains")
            plan = self.plan(issue or issue_of_context(context), available, on_critical_path)
            wanted = Action(plan.swarm_id, plan.candidates, plan.timeout_seconds // 60, "NA")
        else:
            swarm = context["universe_defaults"]["swarm_id"] or SERIAL
            wanted = Action(swarm, 1 if swarm == SERIAL else 3, self._world_minutes(), WORLD_GENERATIONS)
        return nearest_valid(wanted, space, context["job_type"])

    def plan(self, issue: TrackedIssue, available: Sequence[str] | None, on_critical_path: bool = True) -> RulePlan:
        """What ``cyntra run --issue`` makes of a code issue with the ``available`` tools (None: all that are enabled).

        ``on_critical_path`` is always true of an issue that nothing blocks and that blocks nothing.
        """
        settings, adapters = self._settings, self._adapters()
        there = [name for name in adapters if available is None or name in available]
        one_shot = not issue.is_ready or settings.max_concurrent_workcells < 1
        one_shot = one_shot or issue.estimated_tokens > settings.max_concurrent_tokens
        if one_shot or not self._speculates(issue, on_critical_path):
            return RulePlan(SERIAL, 1, self._timeout(self._serial_tool(issue, adapters, there)))
        rule = self._first_rule(issue, speculating=True)
        wanted = [issue.tool_hint] if issue.tool_hint else []
        wanted = list(dict.fromkeys([*wanted, *(rule.use if rule else ())])) or list(settings.toolchain_priority)
        candidates = [name for name in wanted if name in there]
        parallelism = min(self._parallelism(issue, rule), len(candidates)) or 1
        running = candidates[:parallelism]
        seconds = min(map(self._timeout, running), default=self._timeout(""))
        return RulePlan(SPECULATE, max(1, parallelism), seconds)

    def routed_tools(self, issue: TrackedIssue, available: Sequence[str] | None) -> list[str]:
        """The ``available`` tools in the order in which routing would have several of them work on the issue.

        The hint, what the speculating rule uses, what a serial run would use with its fallbacks, then the priority.
        """
        ordered = dict.fromkeys([issue.tool_hint, *self.used_tools(issue), *self._settings.toolchain_priority])
        there = [name for name in self._adapters() if available is None or name in available]
        return [name for name in ordered if name in there]

    def used_tools(self, issue: TrackedIssue) -> list[str]:
        """The tools that the rules for the issue name: the speculating one's, a serial run's, and their fallbacks."""
        rules = [self._first_rule(issue, speculating=True), self._first_rule(issue, speculating=False)]
        used = [name for rule in rules if rule for name in rule.use]
        return list(dict.fromkeys([*used, *(name for tool in used for name in self._settings.fallbacks.get(tool, ()))]))

    def rule_parallelism(self, issue: TrackedIssue) -> int | None:
        """What the speculating rule that fits says itself of candidates; None where none fits, or it does not say."""
        rule = self._first_rule(issue, speculating=True)
        return rule.parallelism if rule else None

    def priority_rank(self, issue: TrackedIssue) -> int:
        """How the exploration controller ranks the issue's domain in the queue: -1 before others, 1 behind them."""
        rate = self._action_rate(issue)
        if rate is None or not self._settings.control_enabled:
            return 0
        return -1 if rate < self._settings.action_low else 1 if rate > self._settings.action_high else 0

    def _adapters(self) -> list[str]:
        """The tools that the config leaves to the kernel, in order of priority."""
        tools = self._settings.toolchains
        return [
            name
            for name in dict.fromkeys(self._settings.toolchain_priority)
            if name.lower() in ADAPTERS and (name not in tools or tools[name].enabled)
        ]

    def _first_rule(self, issue: TrackedIssue, *, speculating: bool) -> Rule | None:
        """The first rule that fits; for a speculation the first of those that speculate, wherever it stands."""
        rules = (rule for rule in self._rules if rule.speculate or not speculating)
        return next((rule for rule in rules if _matches(rule, issue)), None)

    def _speculates(self, issue: TrackedIssue, on_critical_path: bool) -> bool:
        settings = self._settings
        if not settings.speculation_enabled:
            return False
        if issue.speculate or self._first_rule(issue, speculating=True) is not None:
            return True
        risky = issue.risk in settings.auto_trigger_risk_levels
        return settings.auto_trigger_on_critical_path and on_critical_path and risky

    def _serial_tool(self, issue: TrackedIssue, adapters: Sequence[str], there: Sequence[str]) -> str:
        if issue.tool_hint in adapters:
            return str(issue.tool_hint)
        rule, priority = self._first_rule(issue, speculating=False), self._settings.toolchain_priority
        used = rule.use if rule else ()
        fallbacks = [name for tool in used for name in self._settings.fallbacks.get(tool, ())]
        return next((name for name in (*used, *fallbacks, *priority) if name in there), next(iter(priority), "codex"))

    def _parallelism(self, issue: TrackedIssue, rule: Rule | None) -> int:
        """The controller's, where a dynamics report gives it a say: it overrides the rule's own."""
        settings, rate = self._settings, self._action_rate(issue)
        if rate is None or not settings.control_enabled:
            own = rule.parallelism if rule else None
            return own if own and own > 0 else settings.default_parallelism
        if rate < settings.action_low:
            return min(settings.max_parallelism, settings.default_parallelism + settings.parallelism_step)
        if rate > settings.action_high:
            return max(1, settings.default_parallelism - settings.parallelism_step)
        return settings.default_parallelism

    def _action_rate(self, issue: TrackedIssue) -> float | None:
        """How often the domain's runs acted, by the dynamics report; None when it does not say."""
        summary = section(dict(self._dynamics or {}), "action_summary")
        domain = "fab_world" if "asset:world" in issue.tags else "code"
        if domain == "code" and any(tag.startswith("asset:") for tag in issue.tags):
            domain = "fab_asset"
        rate = section(summary, "by_domain").get(domain, summary.get("global_action_rate"))
        return float(rate) if isinstance(rate, int | float) else None

    def _timeout(self, toolchain: str) -> int:
        """The tool's own, capped by the universe where the config knows the tool."""
        seconds = self._settings.timeout_seconds(toolchain)
        capped = self._max_run_minutes is not None and toolchain in self._settings.toolchains
        return min(seconds, 60 * self._max_run_minutes) if capped and self._max_run_minutes else seconds

    def _world_minutes(self) -> int:
        minutes = WORLD_TIMEOUT_MINUTES
        return minutes if self._max_run_minutes is None else min(minutes, self._max_run_minutes)


def nearest_valid(wanted: Action, space: ActionSpace, job_type: str) -> Action:
    """The valid action closest to ``wanted``: same swarm first, then candidates, minutes, iterations.

    Among budgets the largest that does not exceed the wanted one is closest: a cap is never rounded up.
    """
    if space.is_valid(wanted, job_type):
        return wanted
    return min(
        space.valid_actions(job_type),
        key=lambda action: [_distance(getattr(action, head), getattr(wanted, head)) for head in HEADS],
    )


def _distance(value: Any, wanted: Any) -> tuple[int, int]:
    if value == wanted:
        return (0, 0)
    if isinstance(value, int) and isinstance(wanted, int):
        return (1, wanted - value) if value < wanted else (2, value - wanted)
    return (3, 0)


def issue_of_context(context: Mapping[str, Any]) -> TrackedIssue:
    """The issue as far as a context has it: open, and taken up whatever its attempts."""
    part = context["issue"]
    open_part = {"status": "open", "dk_attempts": 0, "dk_max_attempts": 1, "dk_estimated_tokens": 1}
    return TrackedIssue.of({**part, **open_part})


def _matches(rule: Rule, issue: TrackedIssue) -> bool:
    """Whether every condition of the rule's ``match`` holds; an empty match fits everything."""
    return all(_holds(key, wanted, issue) for key, wanted in rule.match.items())


def _holds(key: str, wanted: Any, issue: TrackedIssue) -> bool:
    if key == "tags_any":
        return any(tag in issue.tags for tag in wanted or ())
    if key == "tags_all":
        return all(tag in issue.tags for tag in wanted or ())
    if key == "title_pattern":
        return re.search(str(wanted), issue.title) is not None
    if key == "description_pattern":
        return re.search(str(wanted), issue.description) is not None
    value = {"dk_tool_hint": issue.tool_hint, "dk_risk": issue.risk, "dk_size": issue.size}[key]
    return wanted is None or (value in wanted if isinstance(wanted, list) else value == wanted)
