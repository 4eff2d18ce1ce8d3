"""The config of one run under ``planner run``: the user's own, and laid over it what a decision forces.

Unlike the bench's, it keeps the user's control, routing and toolchains: who works on an issue stays with them, how many
and how long is forced.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.executors.cyntra.overlay import forced_fields, speculates, tool_settings
from planner.actions import Action
from planner.artifacts.lenient import section
from planner.artifacts.repo import Repo
from planner.artifacts.toolchains import Toolchain
from planner.artifacts.tracked_issue import TrackedIssue
from planner.artifacts.universe import load_kernel_config
from planner.policies.heuristic import HeuristicPolicy, RulePlan

PREFIX = ".planner-run-"
"""Overlays lie beside the user's config, for Cyntra takes the directory of its config for its own."""


def run_overlay(
    repo: Repo,
    action: Action | None,
    issue: TrackedIssue,
    toolchains: Sequence[Toolchain],
    wrappers: Mapping[str, Path],
) -> dict[str, Any]:
    """The overlay for a run of ``issue``; without an ``action`` it changes nothing but the paths of wrapped tools.

    BenchError for a swarm that Cyntra's command line cannot run.
    """
    minutes = "NA" if action is None else action.max_minutes_bin
    overlay: dict[str, Any] = {
        **({"include": repo.config_path.name} if repo.config_path.exists() else {}),
        "toolchains": tool_settings(repo.config, minutes, toolchains, wrappers),
    }
    if action is None:
        return overlay
    names = [toolchain.name for toolchain in toolchains]
    return {**overlay, "planner": {"mode": "off"}, **_swarm(repo, action, issue, names)}


def _swarm(repo: Repo, action: Action, issue: TrackedIssue, names: Sequence[str]) -> dict[str, Any]:
    if not speculates(action):
        return {"speculation": {"enabled": False}}
    rule = HeuristicPolicy.of_repo(repo)
    own = section(dict(repo.config), "routing").get("rules") or []
    n = action.max_candidates_bin
    wanted = rule.rule_parallelism(issue) if n == "NA" else n
    forced = {"match": {}, "use": rule.routed_tools(issue, names), "speculate": True}
    if wanted is not None:
        forced["parallelism"] = wanted
    overlay: dict[str, Any] = {"speculation": {"enabled": True}, "routing": {"rules": [forced, *own]}}
    if n != "NA":
        # Without its step the exploration controller answers the default, whatever it makes of the issue's domain; its
        # temperatures stay.
        most = section(dict(repo.config), "speculation").get("max_parallelism", 3)
        overlay["control"] = {"parallelism_step": 0}
        overlay["speculation"] |= {"default_parallelism": n, "max_parallelism": max(n, most)}
    return overlay


def obstacle(
    repo: Repo, config_path: Path, action: Action, issue: TrackedIssue, on_critical_path: bool, names: Sequence[str]
) -> str | None:
    """Why the kernel with the config at ``config_path`` would not run ``action`` all the same; None when it would.

    A universe's routing goes before any config's, its limit binds every tool, and there are only so many tools.
    """
    plan = HeuristicPolicy.of_repo(repo, load_kernel_config(config_path)).plan(issue, names, on_critical_path)
    wanted = forced_fields(action)
    if all(value in ("NA", _planned(plan)[field]) for field, value in wanted.items()):
        return None
    return f"cannot_be_forced: wanted {_said(wanted)}, Cyntra would run {_said(_planned(plan))}"


def _planned(plan: RulePlan) -> dict[str, Any]:
    return {
        "swarm_id_executed": plan.swarm_id,
        "max_candidates_executed": plan.candidates,
        "timeout_seconds_executed": plan.timeout_seconds,
    }


def _said(plan: Mapping[str, Any]) -> str:
    return f"{plan['swarm_id_executed']} x{plan['max_candidates_executed']} {plan['timeout_seconds_executed']} s"
