"""A world as its two files define it: ``world.yaml`` (defaults, gates) and ``genome.yaml`` (what may be mutated)."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.testbeds.sandbox.plan import load_config
from bench.testbeds.sandbox.world.measures import Gate
from planner.errors import ConfigError

WORLD_JOB_TAG, WORLD_TAG_PREFIX = "asset:world", "world:"
"""How an issue says that it is a world job, and which world it is about."""
Values = dict[str, Any]
"""Gene key -> value. A key is a path into the world's parameters, such as ``cave.fill``."""


@dataclass(frozen=True)
class World:
    """One world that can be evolved."""

    world_id: str
    document: dict[str, Any]
    """world.yaml"""
    genome_id: str
    genes: dict[str, list[Any]]
    """Gene key -> the values it may take."""
    mutations_per_candidate: int

    @property
    def default_seed(self) -> int:
        """The seed of an evolution that names none."""
        return int(self.document["build"]["determinism"]["seed"])

    @property
    def defaults(self) -> Values:
        """The genes' values where an evolution starts."""
        groups = self.document["parameters"]["defaults"]
        return {key: groups[group][name] for key in self.genes for group, name in [key.split(".")]}

    @property
    def gates(self) -> list[Gate]:
        """The gates that a map must pass."""
        return [Gate(entry["gate"], entry["measure"], entry["low"], entry["high"]) for entry in self.document["gates"]]

    def parameters(self, values: Values) -> dict[str, Any]:
        """The world's parameters, nested as in world.yaml, with these genes."""
        parameters = {group: dict(entries) for group, entries in self.document["parameters"]["defaults"].items()}
        for key, value in values.items():
            group, name = key.split(".")
            parameters[group][name] = value
        return parameters

    def mutate(self, values: Values, draw: random.Random) -> Values:
        """A copy with as many mutated genes as the genome says; two mutations may meet the same gene."""
        mutated = dict(values)
        for _ in range(self.mutations_per_candidate):
            key = draw.choice(list(self.genes))
            mutated[key] = draw.choice([value for value in self.genes[key] if value != mutated[key]])
        return mutated


def load_world(repo_root: Path, path: str) -> World:
    """The world whose ``world.yaml`` is at ``path`` in the repo; ConfigError when it or its genome is missing."""
    file = repo_root / path
    document, genome = load_config(file), load_config(file.with_name("genome.yaml"))
    try:
        world = World(
            world_id=document["world_id"],
            document=document,
            genome_id=genome["genome_id"],
            genes={gene["key"]: list(gene["values"]) for gene in genome["genes"]},
            mutations_per_candidate=int(genome["mutation"]["per_candidate"]),
        )
        _ = world.default_seed, world.defaults, world.gates
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{file}: the world or its genome lacks {error}: compare it with a new sandbox's") from None
    if fixed := [key for key, values in world.genes.items() if len(values) < 2]:
        raise ConfigError(f"{file}: genes with fewer than two values cannot be mutated: {', '.join(fixed)}")
    return world
