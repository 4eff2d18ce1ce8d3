"""What of a kernel's config decides how an issue is run: tools, routing, speculation, control, limits.

Values are taken as kernel 0.1.0 takes them; one that it would choke on, or overlook, is an error that says where.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from planner.artifacts.config_values import ConfigReader
from planner.artifacts.lenient import mappings, section
from planner.errors import ArtifactError

DEFAULT_PRIORITY = ("codex", "claude", "crush")
"""Cyntra's order of tools when the config names none."""
DEFAULT_TIMEOUT_SECONDS = 1800
MATCH_KEYS = ("dk_tool_hint", "dk_risk", "dk_size", "tags_any", "tags_all", "title_pattern", "description_pattern")
"""What a rule can ask of an issue; any other key asks nothing."""
_PATTERNS = ("title_pattern", "description_pattern")
_SCHEDULING = ("max_concurrent_workcells", "max_concurrent_tokens")
_TOOL_KEYS = ("enabled", "timeout_seconds", "timeout_minutes")
_RULE_KEYS = ("use", "speculate", "parallelism")
_SPECULATION = (
    "enabled",
    "default_parallelism",
    "max_parallelism",
    "auto_trigger_on_critical_path",
    "auto_trigger_risk_levels",
)
_AUTO_TRIGGER = ("on_critical_path", "risk_levels")
_CONTROL = ("enabled", "action_low", "action_high", "parallelism_step")


@dataclass(frozen=True)
class Rule:
    """One routing rule. ``match`` holds the conditions under MATCH_KEYS; without any it fits every issue."""

    match: Mapping[str, Any]
    use: tuple[str, ...]
    speculate: bool
    parallelism: int | None


@dataclass(frozen=True)
class ToolSettings:
    """One configured toolchain."""

    enabled: bool
    timeout_seconds: int


@dataclass(frozen=True)
class RuleSettings:
    """A kernel's config, as far as today's rule reads it; defaults are kernel 0.1.0's own."""

    toolchain_priority: tuple[str, ...]
    toolchains: Mapping[str, ToolSettings]
    rules: tuple[Rule, ...]
    fallbacks: Mapping[str, tuple[str, ...]]
    speculation_enabled: bool
    default_parallelism: int
    max_parallelism: int
    auto_trigger_on_critical_path: bool
    auto_trigger_risk_levels: tuple[Any, ...]
    control_enabled: bool
    action_low: float
    action_high: float
    parallelism_step: int
    max_concurrent_workcells: int
    max_concurrent_tokens: int

    def timeout_seconds(self, toolchain: str) -> int:
        """How long the tool may work on an issue."""
        settings = self.toolchains.get(toolchain)
        return DEFAULT_TIMEOUT_SECONDS if settings is None else settings.timeout_seconds


def read_settings(config: Mapping[str, Any], source: str = "kernel config") -> RuleSettings:
    """The settings in a config whose includes are merged; ArtifactError names ``source``, place, value and remedy."""
    at = ConfigReader(source)
    scheduling = at.mapping(config, "", "scheduling")
    speculation = at.mapping(config, "", "speculation")
    trigger = at.mapping(speculation, "speculation", "auto_trigger")
    control, routing = at.mapping(config, "", "control"), at.mapping(config, "", "routing")
    limits = {
        key: at.whole(scheduling, "scheduling", key, default)
        if key in scheduling
        else at.whole(config, "", key, default)
        for key, default in zip(_SCHEDULING, (3, 200_000), strict=True)
    }
    triggers = {
        key: speculation.get(f"auto_trigger_{key}", trigger.get(key, default))
        for key, default in zip(_AUTO_TRIGGER, (True, ["high", "critical"]), strict=True)
    }
    fallbacks = at.mapping(routing, "routing", "fallbacks")
    return RuleSettings(
        toolchain_priority=at.names(config, "", "toolchain_priority", DEFAULT_PRIORITY),
        toolchains=_toolchains(at, config),
        rules=read_rules(routing.get("rules"), source, "routing.rules"),
        fallbacks={name: at.names(fallbacks, "routing.fallbacks", name, ()) for name in fallbacks},
        speculation_enabled=at.truth(speculation, "speculation", "enabled", True),
        default_parallelism=at.whole(speculation, "speculation", "default_parallelism", 2),
        max_parallelism=at.whole(speculation, "speculation", "max_parallelism", 3),
        auto_trigger_on_critical_path=at.truth(triggers, "speculation.auto_trigger", "on_critical_path", True),
        auto_trigger_risk_levels=at.items(triggers, "speculation.auto_trigger", "risk_levels"),
        control_enabled=at.truth(control, "control", "enabled", True),
        action_low=at.number(control, "control", "action_low", 0.1),
        action_high=at.number(control, "control", "action_high", 0.5),
        parallelism_step=at.whole(control, "control", "parallelism_step", 1),
        **limits,
    )


def read_rules(value: Any, source: str, place: str) -> tuple[Rule, ...]:
    """The routing rules in a list, as a config's ``routing.rules`` or a universe's overrides have it."""
    at = ConfigReader(source)
    if value is not None and not isinstance(value, list):
        raise at.wrong(place, value, "write a list of rules")
    rules = []
    for number, rule in enumerate(value or ()):
        where = f"{place}[{number}]"
        if not isinstance(rule, dict):
            raise at.wrong(where, rule, "write a mapping with match, use, speculate, parallelism")
        match = at.mapping(rule, where, "match")
        use = rule.get("use")
        rules.append(
            Rule(
                match={key: _condition(at, source, match, f"{where}.match", key) for key in MATCH_KEYS if key in match},
                use=(use,) if isinstance(use, str) else at.names(rule, where, "use", ()),
                speculate=at.truth(rule, where, "speculate", False),
                parallelism=at.count(rule, where, "parallelism"),
            )
        )
    return tuple(rules)


def decisive_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without what today's rule and a sandbox's clock do not read.

    This alone may leave the repo: the rest can hold keys, tokens and paths.
    """
    kept: dict[str, Any] = {key: config[key] for key in ("toolchain_priority", *_SCHEDULING) if key in config}
    for key, inner in (
        ("scheduling", _SCHEDULING),
        ("speculation", _SPECULATION),
        ("control", _CONTROL),
        ("sandbox", ("seconds_per_minute",)),
    ):
        kept[key] = _only(config.get(key), inner)
    trigger = _only(section(dict(config), "speculation", "auto_trigger"), _AUTO_TRIGGER)
    if trigger:
        kept["speculation"]["auto_trigger"] = trigger
    tools = section(dict(config), "toolchains")
    kept["toolchains"] = {name: _only(tools[name], _TOOL_KEYS) for name in tools if isinstance(tools[name], dict)}
    routing = section(dict(config), "routing")
    rules = [
        {"match": _only(rule.get("match"), MATCH_KEYS), **_only(rule, _RULE_KEYS)}
        for rule in mappings(routing.get("rules"))
    ]
    parts = {"rules": rules, "fallbacks": section(routing, "fallbacks")}
    kept["routing"] = {key: part for key, part in parts.items() if part}
    return {key: value for key, value in kept.items() if value not in ({}, None)}


def _only(value: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value[key] for key in keys if key in value} if isinstance(value, dict) else {}


def _toolchains(at: ConfigReader, config: Mapping[str, Any]) -> dict[str, ToolSettings]:
    found = {}
    tools = at.mapping(config, "", "toolchains")
    for name in tools:
        if tools[name] is None:  # Cyntra goes by its defaults then
            continue
        settings, place = at.mapping(tools, "toolchains", name), f"toolchains.{name}"
        seconds = at.count(settings, place, "timeout_seconds") or 60 * (
            at.count(settings, place, "timeout_minutes") or 0
        )
        found[name] = ToolSettings(at.truth(settings, place, "enabled", True), seconds or DEFAULT_TIMEOUT_SECONDS)
    return found


def _condition(at: ConfigReader, source: str, match: Mapping[str, Any], place: str, key: str) -> Any:
    """What a rule asks: a pattern that compiles, a list of tags, or a value or list of values."""
    value = match[key]
    if isinstance(value, dict):
        raise at.wrong(f"{place}.{key}", value, "write a value or a list of values")
    if key in _PATTERNS:
        if isinstance(value, list):
            raise at.wrong(f"{place}.{key}", value, "write one regular expression")
        try:
            re.compile(str(value))
        except (re.error, OverflowError, RecursionError) as error:
            raise ArtifactError(
                f"{source}: {place}.{key}: not a regular expression: {error}: "
                'mend it; for a plain character such as ( write "\\\\("'
            ) from None
    elif key.startswith("tags_") and value is not None and not isinstance(value, list):
        raise at.wrong(f"{place}.{key}", value, "write a list of tags, such as [ui]")
    return value
