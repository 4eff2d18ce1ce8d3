"""The worlds of a sandbox: their two files, their entries in the universe, and the issues that ask for them."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from bench.testbeds.sandbox.world.definition import WORLD_JOB_TAG, WORLD_TAG_PREFIX

GENES: dict[str, list[int]] = {
    "cave.fill": [36, 40, 44, 48, 52],
    "cave.smoothing": [0, 1, 2, 3, 4],
    "cave.birth": [4, 5, 6],
    "cave.survival": [3, 4, 5],
    "cave.tunnels": [0, 1, 2, 3],
}
_FIRST_CREATED = datetime(2025, 1, 8, 9, tzinfo=UTC)
_SIZES = {"S": (24, 8), "M": (32, 20), "L": (40, 32)}
"""Size of an issue -> (cells a side, maps that are drawn and measured)."""


class _Kind(NamedTuple):
    """What is asked of a world, as bands of its measures."""

    name: str
    wish: str
    connectivity: tuple[float, float]
    difficulty: tuple[float, float]
    openness: tuple[float, float]


_KINDS = (
    _Kind("halls", "Wide halls that are easy to cross.", (0.9, 1.1), (1.1, 1.5), (0.5, 0.8)),
    _Kind("burrows", "Narrow burrows with detours.", (0.75, 1.25), (1.2, 1.7), (0.2, 0.45)),
    _Kind("mazes", "A maze: long ways, and nearly everything within reach.", (0.8, 1.2), (1.4, 2.0), (0.3, 0.6)),
)


class SandboxWorld(NamedTuple):
    """One world of a sandbox; worlds are numbered from 1."""

    world_id: str
    definition: dict[str, Any]
    """world.yaml"""
    genome: dict[str, Any]
    """genome.yaml"""
    entry: dict[str, Any]
    """In universe.yaml."""
    issue: dict[str, Any]
    """A line of .beads/issues.jsonl."""


def sandbox_world(number: int, issue_number: int, seed: int) -> SandboxWorld:
    """World ``number`` of the sandbox with this seed, and the issue that asks for it."""
    draw = random.Random(f"world {number} {seed}")
    kind, size = _KINDS[(number - 1) % len(_KINDS)], draw.choice(list(_SIZES))
    world_id = f"cave_{number}"
    cells, maps = _SIZES[size]
    tags = ["grid", kind.name]
    defaults = {key: draw.choice(values) for key, values in GENES.items()}
    definition = {
        "schema_version": "1.0",
        "world_id": world_id,
        "world_config_id": f"{world_id}_v001",
        "world_type": "exterior_environment",
        "version": "0.1.0",
        "generator": {"name": "Caves", "description": kind.wish, "author": "Cyntra sandbox"},
        "build": {"template_blend": "none.blend", "determinism": {"seed": 42, "pythonhashseed": 0}},
        "parameters": {
            "defaults": {
                "layout": {"size": cells, "maps": maps},
                "cave": {key.removeprefix("cave."): value for key, value in defaults.items()},
            }
        },
        "stages": [
            {"id": "generate", "type": "custom"},
            {"id": "measure", "type": "custom"},
            {"id": "validate", "type": "gate"},
        ],
        "gates": [
            {"gate": f"{measure}_v001", "measure": measure, "low": low, "high": high}
            for measure, (low, high) in zip(kind._fields[2:], kind[2:], strict=True)
        ],
    }
    genome = {
        "schema_version": "1.0",
        "genome_id": f"{world_id}_genome_v1",
        "world_id": world_id,
        "world_config_id": f"{world_id}_v001",
        "genes": [{"key": key, "kind": "enum", "values": values} for key, values in GENES.items()],
        "mutation": {"per_candidate": 2},
    }
    path = f"fab/worlds/{world_id}/world.yaml"
    entry = {"world_id": world_id, "world_kind": "fab_world", "path": path, "enabled": True, "tags": tags}
    return SandboxWorld(
        world_id, definition, genome, entry, _issue(number, issue_number, world_id, kind, size, tags, draw)
    )


def _issue(
    number: int, issue_number: int, world_id: str, kind: _Kind, size: str, tags: list[str], draw: random.Random
) -> dict[str, Any]:
    created = _FIRST_CREATED + timedelta(hours=31 * (number - 1), minutes=draw.randrange(600))
    stamp = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "id": str(issue_number),
        "title": f"World {world_id}",
        "status": "open",
        "created": stamp,
        "updated": stamp,
        "description": f"{kind.wish} The map's gates decide.",
        "tags": [WORLD_JOB_TAG, f"{WORLD_TAG_PREFIX}{world_id}", *tags],
        "dk_priority": draw.choices(("P0", "P1", "P2", "P3"), (1, 3, 5, 3))[0],
        "dk_risk": draw.choice(("low", "medium", "high")),
        "dk_size": size,
        "dk_max_attempts": 3,
        "dk_attempts": 0,
    }
