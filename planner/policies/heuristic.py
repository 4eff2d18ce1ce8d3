"""Today's rule: how the kernel itself decides: speculation rules, exploration controller.

docs/kernel-contract.md, section 6.
"""

import re
from collections.abc import Mapping
from typing import Any

from planner.actions import HEADS, Action, ActionSpace
from planner.artifacts.lenient import section

SERIAL, SPECULATE = "serial_handoff", "speculate_vote"
DEFAULT_TIMEOUT_MINUTES = 60
WORLD_TIMEOUT_MINUTES = 120
WORLD_GENERATIONS = 3
"""What `cyntra evolve` takes when nobody says."""


class HeuristicPolicy:
    """The rule over a kernel config (with its includes merged) and, if there is one, its dynamics report."""

    def __init__(
        self,
        kernel_config: Mapping[str, Any],
        *,
        dynamics: Mapping[str, Any] | None = None,
        max_run_minutes: int | None = None,
    ) -> None:
        self._config = dict(kernel_config)
        self._dynamics = dynamics
        self._max_run_minutes = max_run_minutes

    def decide(self, context: Mapping[str, Any]) -> Action:
        """The action the kernel would take in this context, moved to the nearest valid one of its space."""
        space = ActionSpace.from_document(context["action_space"])
        if context["job_type"] == "code":
            wanted = self._code_action(context)
        else:
            swarm = context["universe_defaults"]["swarm_id"] or SERIAL
            wanted = Action(swarm, 1 if swarm == SERIAL else 3, self._cap(WORLD_TIMEOUT_MINUTES), WORLD_GENERATIONS)
        return nearest_valid(wanted, space, context["job_type"])

    def _code_action(self, context: Mapping[str, Any]) -> Action:
        issue = context["issue"]
        rule = self._first_rule(issue)
        minutes = self._cap(self._timeout_minutes(issue, rule))
        if not self._speculates(issue, rule):
            return Action(SERIAL, 1, minutes, "NA")
        return Action(SPECULATE, self._parallelism(context, rule), minutes, "NA")

    def _first_rule(self, issue: Mapping[str, Any]) -> dict[str, Any]:
        rules = section(self._config, "routing").get("rules") or []
        return next((rule for rule in rules if isinstance(rule, dict) and _matches(rule, issue)), {})

    def _speculates(self, issue: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
        if section(self._config, "speculation").get("enabled") is False:
            return False
        return issue.get("dk_speculate") is True or rule.get("speculate") is True

    def _parallelism(self, context: Mapping[str, Any], rule: Mapping[str, Any]) -> int:
        speculation = section(self._config, "speculation")
        wanted = int(rule.get("parallelism") or speculation.get("default_parallelism") or 2)
        wanted += self._controller_step(context["job_type"])
        available = (context.get("system_state") or {}).get("available_toolchains") or self._enabled_toolchains()
        return max(1, min(wanted, int(speculation.get("max_parallelism") or 3), len(available) or wanted))

    def _controller_step(self, job_type: str) -> int:
        """More candidates when little is being tried, fewer when much is; 0 without a dynamics report."""
        control = section(self._config, "control")
        if self._dynamics is None or control.get("enabled") is False:
            return 0
        summary = section(dict(self._dynamics), "action_summary")
        rate = section(summary, "by_domain").get(job_type, summary.get("global_action_rate"))
        if not isinstance(rate, int | float):
            return 0
        step = int(control.get("parallelism_step", 1))
        if rate < float(control.get("action_low", 0.0)):
            return step
        return -step if rate > float(control.get("action_high", 1.0)) else 0

    def _timeout_minutes(self, issue: Mapping[str, Any], rule: Mapping[str, Any]) -> int:
        order = rule.get("use") or self._config.get("toolchain_priority") or self._enabled_toolchains()
        first = issue.get("dk_tool_hint") or next(iter(order), None)
        settings = section(self._config, "toolchains", str(first))
        if isinstance(settings.get("timeout_seconds"), int):
            return settings["timeout_seconds"] // 60
        return int(settings.get("timeout_minutes") or DEFAULT_TIMEOUT_MINUTES)

    def _enabled_toolchains(self) -> list[str]:
        toolchains = section(self._config, "toolchains")
        return [name for name in toolchains if section(toolchains, name).get("enabled", True)]

    def _cap(self, minutes: int) -> int:
        return minutes if self._max_run_minutes is None else min(minutes, self._max_run_minutes)


def nearest_valid(wanted: Action, space: ActionSpace, job_type: str) -> Action:
    """The valid action closest to ``wanted``: same swarm first, then candidates, minutes, iterations.

    Among budgets the largest that does not exceed the wanted one is closest: a cap is never rounded up.
    """
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


def _matches(rule: Mapping[str, Any], issue: Mapping[str, Any]) -> bool:
    """Whether every condition of the rule's ``match`` holds; an empty match fits everything."""
    tags = set(issue.get("tags") or ())
    for key, wanted in section(dict(rule), "match").items():
        values = wanted if isinstance(wanted, list) else [wanted]
        if key in ("dk_tool_hint", "dk_risk", "dk_size"):
            holds = issue.get(key) in values
        elif key == "tags_any":
            holds = bool(tags & set(values))
        elif key == "tags_all":
            holds = tags >= set(values)
        elif key in ("title_pattern", "description_pattern"):
            holds = re.search(str(wanted), str(issue.get(key.removesuffix("_pattern")) or "")) is not None
        else:
            holds = False
        if not holds:
            return False
    return True
