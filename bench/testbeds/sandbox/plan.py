"""Config and decision of the stand-in kernel: speculate or not, which tools, how long.

docs/kernel-contract.md, sections 2 and 6.
"""

import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from planner.errors import ConfigError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
SERIAL, SPECULATE = "serial_handoff", "speculate_vote"
TOOLCHAINS = ("codex", "claude", "opencode", "crush")
_DEFAULT_TIMEOUT_MINUTES = 60
_DEFAULT_SECONDS_PER_MINUTE = 0.05


class Candidate(NamedTuple):
    """One tool to launch."""

    toolchain: str
    executable: str | None
    """Absolute path; None when the tool is not installed."""
    timeout_seconds: float
    """Nominal limit, as planned; a sandbox waits only a fraction of it."""


class Plan(NamedTuple):
    """How one issue is run."""

    swarm_id: str
    candidates: tuple[Candidate, ...]
    one_shot: bool
    """The issue is not schedulable and was forced by its id."""


def load_config(path: Path) -> dict[str, Any]:
    """The YAML mapping at a path over the one that its `include` names: mappings merge, lists are replaced."""
    try:
        document = yaml.load(path.read_bytes(), _LOADER) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{error}: --config names a config, --universe a folder in universes/") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a mapping, found {type(document).__name__}")
    include = document.pop("include", None)
    return _merged(load_config(path.parent / include), document) if include else document


def seconds_per_minute(config: dict[str, Any]) -> float:
    """Real seconds that a planned minute lasts."""
    return float(config.get("sandbox", {}).get("seconds_per_minute", _DEFAULT_SECONDS_PER_MINUTE))


def available_toolchains(config: dict[str, Any], search_path: str) -> dict[str, str]:
    """{tool: executable} of enabled tools that are installed, in order of priority."""
    found = {}
    for tool in config.get("toolchain_priority", TOOLCHAINS):
        settings = config.get("toolchains", {}).get(tool) or {}
        executable = _executable(str(settings.get("path") or tool), search_path)
        if settings.get("enabled", True) and executable:
            found[tool] = executable
    return found


def is_schedulable(issue: dict[str, Any], config: dict[str, Any]) -> bool:
    """Whether the kernel would pick the issue by itself."""
    attempts, limit = int(issue.get("dk_attempts") or 0), int(issue.get("dk_max_attempts") or 3)
    tokens = config.get("scheduling", {}).get("max_concurrent_tokens")
    fits = tokens is None or int(issue.get("dk_estimated_tokens") or 0) <= int(tokens)
    escalated = {"escalation", "needs-human"} & set(issue.get("tags") or ())
    return issue.get("status") in ("open", "ready") and attempts < limit and fits and not escalated


def decide(
    config: dict[str, Any],
    issue: dict[str, Any],
    available: dict[str, str],
    *,
    speculate: bool,
    minutes_cap: float | None,
) -> Plan:
    """The kernel's fixed rule for one issue; `speculate` is the command line's flag, `minutes_cap` the universe's."""
    rule = _matching_rule(config, issue)
    order = _order(config, issue, rule, available)
    one_shot = not is_schedulable(issue, config)
    swarm_id, count = SERIAL, 1
    if not one_shot and _speculates(config, issue, rule, speculate):
        swarm_id = SPECULATE
        count = max(1, min(_parallelism(config, issue, rule), len(available)))
    candidates = tuple(
        Candidate(tool, available.get(tool), timeout_seconds(config, tool, minutes_cap)) for tool in order[:count]
    )
    return Plan(swarm_id, candidates, one_shot)


def planned(
    config: dict[str, Any],
    issue: dict[str, Any],
    available: dict[str, str],
    swarm_id: str,
    candidates: int | None,
    seconds: int | None,
    minutes_cap: float | None,
) -> Plan:
    """The plan that a planner asks for; what it leaves open (None) stays with the rule."""
    rule = _matching_rule(config, issue)
    count = 1 if swarm_id == SERIAL else candidates or min(_parallelism(config, issue, rule), len(available))
    order = _order(config, issue, rule, available)[: max(1, count)]
    limits = (seconds or timeout_seconds(config, tool, minutes_cap) for tool in order)
    chosen = (Candidate(tool, available.get(tool), float(limit)) for tool, limit in zip(order, limits, strict=True))
    return Plan(swarm_id, tuple(chosen), one_shot=False)


def timeout_seconds(config: dict[str, Any], tool: str, minutes_cap: float | None) -> float:
    """A tool's nominal limit; `timeout_seconds` wins over `timeout_minutes`."""
    settings = config.get("toolchains", {}).get(tool) or {}
    limit = settings.get("timeout_seconds")
    if limit is None:
        limit = 60 * settings.get("timeout_minutes", _DEFAULT_TIMEOUT_MINUTES)
    return float(limit) if minutes_cap is None else min(float(limit), 60 * minutes_cap)


def universe_minutes_cap(repo_root: Path, universe_id: str | None) -> float | None:
    """`policies.budgets.max_run_minutes` of a universe."""
    if universe_id is None:
        return None
    universe = load_config(repo_root / "universes" / universe_id / "universe.yaml")
    minutes = universe.get("policies", {}).get("budgets", {}).get("max_run_minutes")
    return None if minutes is None else float(minutes)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result


def _executable(path: str, search_path: str) -> str | None:
    if "/" in path:
        return str(Path(path).resolve()) if Path(path).exists() else None
    return shutil.which(path, path=search_path)


def _matching_rule(config: dict[str, Any], issue: dict[str, Any]) -> dict[str, Any]:
    """The first routing rule that fits, or an empty one."""
    for rule in config.get("routing", {}).get("rules") or ():
        if _fits(rule.get("match") or {}, issue):
            return dict(rule)
    return {}


def _fits(match: dict[str, Any], issue: dict[str, Any]) -> bool:
    tags = set(issue.get("tags") or ())
    for key, wanted in match.items():
        values = wanted if isinstance(wanted, list) else [wanted]
        if key == "tags_any":
            fits = bool(tags & set(values))
        elif key == "tags_all":
            fits = tags >= set(values)
        elif key in ("title_pattern", "description_pattern"):
            fits = re.search(wanted, str(issue.get(key.removesuffix("_pattern"), ""))) is not None
        else:
            fits = issue.get(key) in values
        if not fits:
            return False
    return True


def _speculates(config: dict[str, Any], issue: dict[str, Any], rule: dict[str, Any], flag: bool) -> bool:
    """A sandbox's issues do not depend on one another, so the rule about the critical path never applies."""
    if not config.get("speculation", {}).get("enabled", True):
        return False
    return bool(issue.get("dk_speculate") or flag or rule.get("speculate"))


def _parallelism(config: dict[str, Any], issue: dict[str, Any], rule: dict[str, Any]) -> int:
    if rule.get("speculate") and rule.get("parallelism"):
        return int(rule["parallelism"])
    # Without a rule a hinted tool runs alone.
    return 1 if issue.get("dk_tool_hint") else int(config.get("speculation", {}).get("default_parallelism", 2))


def _order(config: dict[str, Any], issue: dict[str, Any], rule: dict[str, Any], available: dict[str, str]) -> list[str]:
    """Installed tools in the order in which they are used; without any, the one that will be found missing."""
    wanted = [issue.get("dk_tool_hint"), *(rule.get("use") or ()), *available]
    order = [tool for tool in dict.fromkeys(wanted) if tool in available]
    return order or [*config.get("toolchain_priority", TOOLCHAINS)][:1]
