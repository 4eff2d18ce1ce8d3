"""The config that makes Cyntra run one action, laid over the repo's own (docs/kernel-contract.md, section 2)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from planner.actions import Action
from planner.artifacts.toolchains import Toolchain, toolchain_names
from planner.contracts.document import Bin
from planner.errors import BenchError

SERIAL, SPECULATE = "serial_handoff", "speculate_vote"
PLAN_SECONDS_PER_MINUTE = 60
"""A plan's timeout is always in real minutes; a sandbox's kernel alone makes them shorter."""


def overlay_config(
    base: Mapping[str, Any], action: Action, toolchains: Sequence[Toolchain], wrappers: Mapping[str, Path]
) -> dict[str, Any]:
    """The overlay for ``action``; BenchError for a swarm that Cyntra's command line cannot run.

    A budget of "NA" is left out, and so to the base config. A toolchain that the base gives by path gets its wrapper's.
    """
    return {
        "include": "base.yaml",
        "control": {"enabled": False},
        "planner": {"mode": "off"},
        "toolchains": tool_settings(base, action.max_minutes_bin, toolchains, wrappers),
        **_swarm(action, toolchains),
    }


def _swarm(action: Action, toolchains: Sequence[Toolchain]) -> dict[str, Any]:
    if not speculates(action):
        # Beats the issue's own wish to speculate, its risk and the routing rules.
        return {"speculation": {"enabled": False}}
    rule: dict[str, Any] = {"match": {}, "use": [toolchain.name for toolchain in toolchains], "speculate": True}
    if action.max_candidates_bin != "NA":
        rule["parallelism"] = action.max_candidates_bin
    return {"speculation": {"enabled": True}, "routing": {"rules": [rule]}}


def speculates(action: Action) -> bool:
    """Whether agents work side by side; BenchError for a swarm that Cyntra's command line cannot run."""
    if action.swarm_id not in (SERIAL, SPECULATE):
        raise BenchError(f"swarm {action.swarm_id!r} cannot be forced on Cyntra: only {SERIAL} and {SPECULATE} can")
    return action.swarm_id == SPECULATE


def tool_settings(
    base: Mapping[str, Any], minutes: Bin, toolchains: Sequence[Toolchain], wrappers: Mapping[str, Path]
) -> dict[str, dict[str, Any]]:
    """The overlay's ``toolchains``: every tool the same minutes ("NA": its own), and wrappers where a path is given."""
    overlay: dict[str, dict[str, Any]] = {name: {} for name in toolchain_names(base)}
    if minutes != "NA":
        for settings in overlay.values():
            settings["timeout_seconds"] = minutes * PLAN_SECONDS_PER_MINUTE
    for toolchain in toolchains:
        if toolchain.is_path:
            overlay[toolchain.name]["path"] = str(wrappers[toolchain.name])
    return {name: settings for name, settings in overlay.items() if settings}


def forced_fields(action: Action) -> dict[str, Any]:
    """An action as fields of an executed_plan, "NA" where it forces nothing; iterations bound no code job."""
    minutes = action.max_minutes_bin
    return {
        "swarm_id_executed": action.swarm_id,
        "max_candidates_executed": action.max_candidates_bin,
        "timeout_seconds_executed": "NA" if minutes == "NA" else minutes * PLAN_SECONDS_PER_MINUTE,
    }


def yaml_text(document: Mapping[str, Any]) -> str:
    """A config as YAML, by libyaml where it is there: Python alone takes eight milliseconds for it."""
    return yaml.dump(dict(document), Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
