"""What a model of trials is asked: an issue, and the tools of its candidates in the order of their launch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from planner.artifacts.lenient import section
from planner.encoding.subject import Subject, recorded_problem, subject_of
from planner.policies.heuristic import HeuristicPolicy, issue_of_context


@dataclass(frozen=True)
class Question:
    """A subject with the tools of its candidates, in the order in which they would be launched."""

    subject: Subject
    tools: tuple[str, ...]
    """Never empty; an unknown one is called ""."""
    repeats: bool
    """Whether further candidates are the first tool again; otherwise there are no more candidates than tools."""

    def lanes(self, candidates: int) -> int:
        """How many candidates a plan with ``candidates`` really has."""
        return candidates if self.repeats else min(candidates, len(self.tools))


def question_of(context: Mapping[str, Any], kernel_config: Mapping[str, Any]) -> Question:
    """The question of a planner_input.v1 in a repo with this kernel config."""
    recorded = recorded_problem(context["issue"])
    tools = launch_order(context, kernel_config)
    return Question(subject_of(context), tools[:1] if recorded else tools or ("",), recorded is not None)


def launch_order(context: Mapping[str, Any], kernel_config: Mapping[str, Any]) -> tuple[str, ...]:
    """The tools that a run would launch, in the order in which it takes them: a hinted one first, then those that the
    routing rules name for the issue, then the config's others, each if it is available. Empty where nothing names any.
    """
    toolchains = section(dict(kernel_config), "toolchains")
    enabled = [name for name in toolchains if section(toolchains, name).get("enabled", True)]
    used = HeuristicPolicy(kernel_config).used_tools(issue_of_context(context))
    ordered = [*used, *(kernel_config.get("toolchain_priority") or enabled)]
    available = (context.get("system_state") or {}).get("available_toolchains")
    if available:
        ordered = [*(tool for tool in ordered if tool in available), *available]
    hint = context["issue"].get("dk_tool_hint")
    return tuple(dict.fromkeys(str(tool) for tool in ([hint, *ordered] if hint else ordered)))
