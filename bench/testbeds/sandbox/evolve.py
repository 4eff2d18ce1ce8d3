"""`cyntra-sandbox evolve`: evolves a world as `cyntra evolve` does, with the same options and the same files.

cyntra-sandbox evolve --universe sandbox --world cave_1 --swarm speculate_vote --population 3 --generations 2 --seed 5

Like Cyntra's it knows no limit on time: candidates run one after another, and whoever started it must stop it.
Unlike Cyntra's, a generation's choice is the best candidate so far, not the best of that generation alone, and a
`serial_handoff` swarm hands on every candidate that scores no worse than the one it came from, passing or not; any
other swarm draws all candidates of a generation from the best passing one, or from the defaults until there is one.
"""

import argparse
import hashlib
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from bench.testbeds.sandbox.beads import timestamp
from bench.testbeds.sandbox.plan import load_config
from bench.testbeds.sandbox.world.build import build_candidate, write_json
from bench.testbeds.sandbox.world.definition import Values, World, load_world
from planner.errors import ConfigError

DEFAULT_GENERATIONS = 3
_HANDOFF = "serial_handoff"
_DRAWS_PER_CANDIDATE = 25


def add_evolve_options(parser: argparse.ArgumentParser) -> None:
    """The options of `cyntra evolve` that the sandbox needs, with Cyntra's names and defaults."""
    parser.add_argument("--universe", required=True, help="id of a folder in universes/")
    parser.add_argument("--world", required=True, help="id in the universe's list of worlds")
    parser.add_argument("--objective", "--objective-id", dest="objective_id", help="default: the universe's")
    parser.add_argument("--swarm", "--swarm-id", dest="swarm_id", help="default: the universe's")
    parser.add_argument("--generations", type=int, default=DEFAULT_GENERATIONS)
    parser.add_argument("--population", dest="population_size", type=int, help="candidates; default: the swarm's")
    parser.add_argument("--seed", type=int, help="of the maps and the mutations; default: the world's")
    parser.add_argument("--reuse-candidates", action=argparse.BooleanOptionalAction, default=True)


def evolve(kernel_dir: Path, options: argparse.Namespace) -> Path:
    """Run a whole evolution and return its directory in ``kernel_dir/runs``; ConfigError for what does not exist."""
    evolution = _prepare(kernel_dir, options)
    write_json(evolution.directory / "context.json", evolution.context)
    for generation in range(evolution.generations):
        evolution.run_generation(generation)
    write_json(evolution.directory / "evolve_world.json", evolution.document())
    return evolution.directory


@dataclass
class Candidate:
    """One set of values and what became of it."""

    run_id: str
    values: Values
    parent: Values
    passed: bool
    metrics: dict[str, float]
    reused: bool

    @property
    def overall(self) -> float:
        """The score of the verdict."""
        return self.metrics["overall"]


@dataclass
class Evolution:
    """One evolution under way."""

    directory: Path
    context: dict[str, Any]
    world: World
    swarm: dict[str, Any]
    objectives: dict[str, str]
    """Metric -> max or min, the most important first."""
    population: int
    generations: int
    seed: int
    reuse: bool
    parent: Values
    history: list[dict[str, Any]] = field(default_factory=list)
    selected: Candidate | None = None

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)
        self._handed_on: float = 0.0
        self._seen: set[str] = set()

    def run_generation(self, generation: int) -> None:
        """Draw and build this generation's candidates, and choose."""
        parent_run_id = self.selected.run_id if self.selected else None
        candidates = []
        for index in range(self.population):
            values = self._fresh_values()
            if values is None:
                break
            candidates.append(self._candidate(generation, index, values))
            self._hand_on(candidates[-1])
        passing = [candidate for candidate in (self.selected, *candidates) if candidate and candidate.passed]
        self.selected = min(passing, key=self._rank, default=None)
        if self.selected and self.swarm.get("type") != _HANDOFF:
            self.parent = self.selected.values
        self.history.append(
            {
                "generation": generation,
                "population_size": self.population,
                "parent_run_id": parent_run_id,
                "candidates": [self._candidate_document(candidate) for candidate in candidates],
                "selected_run_id": self.selected.run_id if self.selected else None,
                "selection": {"mode": "objectives", "require_all_gates_pass": True},
            }
        )

    def document(self) -> dict[str, Any]:
        """evolve_world.json"""
        return {
            "schema_version": "cyntra.evolve_world.v1",
            "run_id": self.directory.name,
            "generated_at": timestamp(),
            "universe_id": self.context["universe_id"],
            "world_id": self.world.world_id,
            "objective_id": self.context["objective_id"],
            "swarm_id": self.context["swarm_id"],
            "seed": self.seed,
            "generations": self.generations,
            "population_size": self.population,
            "objectives": self.objectives,
            "genome_id": self.world.genome_id,
            "genes": list(self.world.genes),
            "history": self.history,
        }

    def _fresh_values(self) -> Values | None:
        """A mutation that this evolution has not tried, or None when none turns up."""
        for _ in range(_DRAWS_PER_CANDIDATE):
            values = self.world.mutate(self.parent, self._draw)
            if _digest(values) not in self._seen:
                self._seen.add(_digest(values))
                return values
        return None

    def _candidate(self, generation: int, index: int, values: Values) -> Candidate:
        place = f"{self.context['universe_id']}_{self.world.world_id}_seed{self.seed}_g{generation}_c{index}"
        run_id = f"evo_{place}_{_digest(values)}"
        run_dir = self.directory.parent / run_id
        verdict_path = run_dir / "verdict" / "gate_verdict.json"
        if self.reuse and verdict_path.exists():
            document = orjson.loads(verdict_path.read_bytes())
            metrics = {"overall": document["scores"]["overall"], "duration_ms": document["timing"]["duration_ms"]}
            return Candidate(run_id, values, self.parent, document["verdict"] == "pass", metrics, reused=True)
        write_json(run_dir / "context.json", self.context)
        verdict = build_candidate(run_dir, self.world, values, self.seed)
        metrics = {"overall": verdict.overall, "duration_ms": verdict.duration_ms}
        return Candidate(run_id, values, self.parent, verdict.passed, metrics, reused=False)

    def _hand_on(self, candidate: Candidate) -> None:
        if self.swarm.get("type") == _HANDOFF and candidate.overall >= self._handed_on:
            self.parent, self._handed_on = candidate.values, candidate.overall

    def _rank(self, candidate: Candidate) -> tuple[Any, ...]:
        signs = {"max": -1, "min": 1}
        return (*(signs[way] * candidate.metrics.get(name, 0) for name, way in self.objectives.items()),)

    def _candidate_document(self, candidate: Candidate) -> dict[str, Any]:
        changed = {key for key, value in candidate.values.items() if value != candidate.parent[key]}
        return {
            "run_id": candidate.run_id,
            "digest": _digest(candidate.values),
            "overrides": candidate.values,
            "delta": {key: {"from": candidate.parent[key], "to": candidate.values[key]} for key in sorted(changed)},
            "metrics": {**candidate.metrics, "hard_failures": 0, "soft_failures": 0},
            "passed": candidate.passed,
            "reused": candidate.reused,
        }


def _prepare(kernel_dir: Path, options: argparse.Namespace) -> Evolution:
    repo_root = kernel_dir.parent
    folder = repo_root / "universes" / options.universe
    universe = load_config(folder / "universe.yaml")
    world_paths = {entry["world_id"]: entry["path"] for entry in universe["worlds"] if _is_evolvable(entry)}
    defaults = universe.get("defaults") or {}
    objective_id = options.objective_id or defaults.get("objective_id")
    swarm_id = options.swarm_id or defaults.get("swarm_id")
    path = _known(world_paths, options.world, f"{folder}: no world to evolve")
    world = load_world(repo_root, path)
    swarm = _known(load_config(folder / "swarms.yaml")["swarms"], swarm_id, f"{folder}: no swarm")
    objective = _known(load_config(folder / "objectives.yaml")["objectives"], objective_id, f"{folder}: no objective")
    population = int(swarm.get("population_size") or 1) if options.population_size is None else options.population_size
    if population < 1 or options.generations < 1:
        raise ConfigError(f"population and generations must be at least 1, found {population}, {options.generations}")
    return Evolution(
        directory=_new_directory(kernel_dir / "runs", world.world_id),
        context={
            "schema_version": "1.0",
            "universe_id": options.universe,
            "world_id": world.world_id,
            "objective_id": objective_id,
            "swarm_id": swarm_id,
            "issue_id": None,
        },
        world=world,
        swarm=swarm,
        objectives={name: way for name, way in objective["metrics"].items() if way in ("max", "min")},
        population=population,
        generations=options.generations,
        seed=world.default_seed if options.seed is None else options.seed,
        reuse=options.reuse_candidates,
        parent=world.defaults,
    )


def _is_evolvable(entry: dict[str, Any]) -> bool:
    return entry.get("world_kind") == "fab_world" and entry.get("enabled", True)


def _known(entries: dict[str, Any], name: str | None, missing: str) -> Any:
    if name not in entries:
        raise ConfigError(f"{missing} {name!r}; found {sorted(entries) or 'none'}")
    return entries[name]


def _new_directory(runs: Path, world_id: str) -> Path:
    """``evolve_world_<world>_<UTC second>``, with a number behind it when that is taken."""
    first = runs / f"evolve_world_{world_id}_{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}"
    directory, number = first, 1
    while directory.exists():
        number += 1
        directory = first.with_name(f"{first.name}-{number}")
    return directory


def _digest(values: Values) -> str:
    return hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]
