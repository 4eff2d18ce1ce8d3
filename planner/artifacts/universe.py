"""Universes (``universes/<id>/*.yaml``) and the kernel's config: defaults, swarm catalogue, objectives, budgets."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from planner.actions import ActionSpace
from planner.artifacts.config_values import ConfigReader
from planner.artifacts.files import open_regular
from planner.artifacts.lenient import section, strings
from planner.artifacts.rule_settings import read_rules, read_settings
from planner.errors import ArtifactError, ContractError

MAX_CONFIG_BYTES = 2**20
MAX_CONFIG_DEPTH = 100
MAX_CONFIG_VALUES = 100_000
MAX_INCLUDES = 20
DEFAULT_SWARMS = ("serial_handoff", "speculate_vote")


@dataclass(frozen=True)
class Universe:
    """What a universe's YAML files say, as far as a decision needs it."""

    universe_id: str
    default_swarm_id: str | None
    default_objective_id: str | None
    swarms: dict[str, Any]
    objectives: dict[str, Any]
    max_run_minutes: int | None = None
    routing_overrides: tuple[dict[str, Any], ...] = ()
    """Rules that go before the config's own."""
    world_tags: dict[str, list[str]] = field(default_factory=dict)

    @cached_property
    def action_space(self) -> ActionSpace:
        """Cyntra's bins with this universe's swarm catalogue."""
        return ActionSpace.default(self.swarms or DEFAULT_SWARMS)


NO_UNIVERSE = Universe("unknown", None, None, {swarm: {} for swarm in DEFAULT_SWARMS}, {})
"""What the kernel calls a run without a universe: both built-in swarms, and no default but today's rule."""


def load_universes(root: Path) -> dict[str, Universe]:
    """Universe id -> universe, for every directory in ``root/universes``; ArtifactError for broken YAML."""
    directories = sorted(path.parent for path in root.glob("universes/*/universe.yaml"))
    return {universe.universe_id: universe for universe in map(_load_universe, directories)}


def choose_universe(root: Path, universe_id: str | None, universes: Mapping[str, Universe]) -> Universe:
    """The universe called ``universe_id``; without a name the only one, or NO_UNIVERSE when there is none.

    ArtifactError when it does not exist, or there are several to choose from: limits and objective hang on it.
    """
    if universe_id is None:
        if len(universes) > 1:
            names = ", ".join(sorted(universes))
            raise ArtifactError(f"{root}: {len(universes)} universes, {names}: choose one with --universe")
        return next(iter(universes.values()), NO_UNIVERSE)
    if universe_id not in universes:
        raise ArtifactError(f"{root}: no universe {universe_id!r}; found {sorted(universes) or 'none'}")
    return universes[universe_id]


def load_kernel_config(path: Path) -> dict[str, Any]:
    """The kernel's config with its includes merged in order: mappings deeply, everything else replaced.

    ArtifactError for broken YAML, for a circle of includes, and for a value that decides and has another type.
    """
    config = _with_includes(path, ())
    read_settings(config, str(path))
    return config


def _with_includes(path: Path, including: tuple[Path, ...]) -> dict[str, Any]:
    """``including`` are the configs that led here."""
    # Unlike Path.resolve, it bears links that lead in circles; opening the file then says so.
    real_path = Path(os.path.realpath(path))
    if real_path in including:
        raise ArtifactError(f"{path}: includes itself, by way of {' and '.join(map(str, including))}")
    if len(including) > MAX_INCLUDES:
        raise ArtifactError(f"{path}: included through more than {MAX_INCLUDES} configs")
    config = _load_yaml(path)
    include = config.pop("include", None)
    names = [include] if isinstance(include, str) else include or []
    if not isinstance(names, list) or any(not isinstance(name, str) for name in names):
        raise ArtifactError(f"{path}: include: found {include!r:.60}: name one file, or a list of files")
    base: dict[str, Any] = {}
    for name in names:
        if name.strip():
            base = _deep_merge(base, _with_includes(path.parent / name, (*including, real_path)))
    return _deep_merge(base, config)


def minute_seconds(config: dict[str, Any]) -> float:
    """How many real seconds one minute of budget lasts: 60, except in a sandbox that says otherwise."""
    value = section(config, "sandbox").get("seconds_per_minute", 60.0)
    return float(value) if isinstance(value, int | float) and value > 0 else 60.0


def _load_universe(directory: Path) -> Universe:
    main_path = directory / "universe.yaml"
    main, at = _load_yaml(main_path), ConfigReader(str(main_path))
    defaults, policies = at.mapping(main, "", "defaults"), at.mapping(main, "", "policies")
    budgets = at.mapping(policies, "policies", "budgets")
    limit = at.whole(budgets, "policies.budgets", "max_run_minutes", 60) if "max_run_minutes" in budgets else None
    overrides = at.mappings(policies, "policies", "routing_overrides")
    read_rules(overrides, str(main_path), "policies.routing_overrides")
    return Universe(
        universe_id=at.text(main, "", "universe_id") or directory.name,
        default_swarm_id=at.text(defaults, "defaults", "swarm_id"),
        default_objective_id=at.text(defaults, "defaults", "objective_id"),
        swarms=_catalogue(directory, "swarms"),
        objectives=_catalogue(directory, "objectives"),
        max_run_minutes=limit if limit and limit > 0 else None,
        routing_overrides=tuple(overrides),
        world_tags={
            str(world.get("world_id")): strings(world.get("tags")) for world in at.mappings(main, "", "worlds")
        },
    )


def _catalogue(directory: Path, name: str) -> dict[str, Any]:
    """What ``NAME.yaml`` beside a universe lists under NAME; empty without such a file."""
    path = directory / f"{name}.yaml"
    return ConfigReader(str(path)).mapping(_load_yaml(path), "", name) if path.exists() else {}


def _load_yaml(path: Path) -> dict[str, Any]:
    try:
        with open_regular(path, MAX_CONFIG_BYTES) as file:
            text = file.read().decode()
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        _check_depth(path, text, loader)
        document = yaml.load(text, Loader=loader)
        if document is None:
            return {}
        if not isinstance(document, dict):
            raise ArtifactError(f"{path}: a mapping was expected, found {type(document).__name__}")
        left = iter(range(MAX_CONFIG_VALUES))
        return {str(key): _plain(value, left) for key, value in document.items()}
    except FileNotFoundError:
        raise ArtifactError(f"{path}: cannot be read: No such file or directory") from None
    except ContractError as error:
        raise ArtifactError(f"{path}: {error.reason}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # Among ValueErrors are a date that no calendar has and an integer of thousands of digits.
        raise ArtifactError(f"{path}: not YAML: {error}") from None
    except StopIteration:
        raise ArtifactError(f"{path}: more than {MAX_CONFIG_VALUES} values, aliases written out") from None


def _check_depth(path: Path, text: str, loader: Any) -> None:
    """ArtifactError for deep nesting, of which the C loader dies (SIGSEGV)."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_CONFIG_DEPTH:
                raise ArtifactError(f"{path}: not YAML of a config: nested deeper than {MAX_CONFIG_DEPTH}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _plain(value: Any, left: Iterator[int]) -> Any:
    """A YAML value as JSON has it: YAML knows keys that are no text (1, true), dates, sets and bytes.

    Each value takes one of ``left``: a few lines of aliases of aliases stand for more values than memory holds.
    """
    next(left)
    if isinstance(value, dict):
        return {str(key): _plain(item, left) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, left) for item in value]
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError("an integer of more than 64 bits")
    if isinstance(value, str):
        value.encode()  # half a surrogate pair is text that no document can hold
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _deep_merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _deep_merge(base[key], value) if both else value
    return merged
