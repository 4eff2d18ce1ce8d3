"""Making history in a sandbox: run after run of the stand-in kernel, half by its own rule and half forced at random.

Where there are world jobs, every third run is an evolution.
"""

import itertools
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bench.testbeds.sandbox.beads import read_issues, update_issue
from bench.testbeds.sandbox.create import UNIVERSE_ID
from bench.testbeds.sandbox.plan import SERIAL, SPECULATE, TOOLCHAINS
from bench.testbeds.sandbox.toolchains.launchers import toolchain_dir
from bench.testbeds.sandbox.world.definition import WORLD_JOB_TAG, WORLD_TAG_PREFIX
from planner.errors import BenchError

MINUTES_BINS = (15, 30, 45, 60, 120)
_POPULATIONS, _GENERATIONS = (1, 2, 3), (1, 2, 3, 5)
_FORCED_SHARE = 0.5
_RUNS_PER_EVOLUTION = 3
_SEEDS = 2**31
_ROUTED = ["codex", "claude", "opencode"]


class ForcedAction(NamedTuple):
    """One valid action for a code issue."""

    swarm_id: str
    candidates: int
    minutes: int


def record_history(
    repo: Path,
    *,
    runs: int,
    seed: int,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    issues: Sequence[str] | None = None,
) -> list[str]:
    """Run `runs` times in the repo itself, over `issues` in turn (all of them without), and return the new run ids.

    Code issues and world jobs take turns of their own; an evolution's run id is its directory in .cyntra/runs.
    `progress` gets (runs done, runs). Of code runs of different issues up to `workers` go on at once.
    """
    known = read_issues(repo)
    chosen = list(issues) if issues is not None else sorted(filter(str.isdigit, known), key=int)
    unknown = [issue for issue in chosen if issue not in known]
    if unknown or not chosen:
        raise BenchError(f"{repo}: no issue {', '.join(unknown) or 'at all'} in .beads/issues.jsonl")
    rng = random.Random(seed)
    jobs = [_drawn_job(repo, issue, known, rng) for issue in itertools.islice(_turns(chosen, known), runs)]
    recorded: list[str] = []
    done = 0
    with ThreadPoolExecutor(workers) as pool:
        for batch in _batches(jobs):
            for ids in pool.map(lambda job: job.run(), batch):
                recorded += ids
                done += 1
                if progress is not None:
                    progress(done, runs)
    return recorded


class _Job(NamedTuple):
    """One run to record."""

    issue: str
    is_world: bool
    run: Callable[[], list[str]]
    """The new run ids."""


def _drawn_job(repo: Path, issue: str, known: Mapping[str, Mapping[str, Any]], rng: random.Random) -> _Job:
    if (world_id := _world_of(known[issue])) is not None:
        return _Job(issue, True, partial(_evolve, repo, _drawn_evolution(world_id, rng)))
    action = random_action(rng) if rng.random() < _FORCED_SHARE else None
    return _Job(issue, False, partial(_reopen_and_run, repo, issue, action))


def _batches(jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
    """Jobs in their order, together as long as no issue comes twice; a world job is alone."""
    batch: list[_Job] = []
    for job in jobs:
        if batch and (job.is_world or batch[0].is_world or job.issue in {other.issue for other in batch}):
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch


def _reopen_and_run(repo: Path, issue: str, action: ForcedAction | None) -> list[str]:
    _reopen(repo, issue)
    ids = run_once(repo, issue, action)
    _reopen(repo, issue, only_failed=True)
    return ids


def random_action(rng: random.Random) -> ForcedAction:
    """Any valid action for a code issue, each swarm and number of candidates with a fair share."""
    minutes = rng.choice(MINUTES_BINS)
    swarm_id = rng.choice((SERIAL, SPECULATE))
    return ForcedAction(swarm_id, 1 if swarm_id == SERIAL else rng.choice((1, 2, 3)), minutes)


def forcing_config(action: ForcedAction, base: str = "config.yaml") -> dict[str, Any]:
    """The config that makes the kernel take one action (docs/kernel-contract.md, section 2).

    `base` is the file it includes.
    """
    timeout = {"timeout_seconds": 60 * action.minutes}
    forced: dict[str, Any] = {
        "include": base,
        "control": {"enabled": False},
        "planner": {"mode": "off"},
        "toolchains": {tool: dict(timeout) for tool in TOOLCHAINS},
        "speculation": {"enabled": action.swarm_id == SPECULATE},
    }
    if action.swarm_id == SPECULATE:
        rule = {"match": {}, "use": _ROUTED, "speculate": True, "parallelism": action.candidates}
        forced["routing"] = {"rules": [rule]}
    return forced


def run_once(repo: Path, issue: str, action: ForcedAction | None) -> list[str]:
    """One run of the stand-in kernel with its own tools on PATH; the ids of the archives it left."""
    folder = repo / ".cyntra"
    config = folder / "config.yaml"
    if action is not None:
        config = folder / f"history-{issue}.yaml"
        config.write_text(yaml.safe_dump(forcing_config(action), sort_keys=False), encoding="utf-8")
    before = _entries(folder / "archives")
    try:
        _kernel(repo, config, "run", "--once", "--issue", issue, "--universe", UNIVERSE_ID)
    finally:
        if action is not None:
            config.unlink()
    new = _entries(folder / "archives") - before
    return sorted(name for name in new if name.startswith(f"wc-{issue}-"))


def _drawn_evolution(world_id: str, rng: random.Random) -> list[str]:
    arguments = ["--universe", UNIVERSE_ID, "--world", world_id, "--seed", str(rng.randrange(_SEEDS))]
    if rng.random() < _FORCED_SHARE:
        swarm_id = rng.choice((SERIAL, SPECULATE))
        population = 1 if swarm_id == SERIAL else rng.choice(_POPULATIONS)
        arguments += ["--swarm", swarm_id, "--population", str(population)]
        arguments += ["--generations", str(rng.choice(_GENERATIONS))]
    return arguments


def _evolve(repo: Path, arguments: Sequence[str]) -> list[str]:
    runs = repo / ".cyntra" / "runs"
    before = _entries(runs)
    _kernel(repo, repo / ".cyntra" / "config.yaml", "evolve", *arguments)
    return sorted(name for name in _entries(runs) - before if name.startswith("evolve_world_"))


def _turns(issues: Sequence[str], known: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The issues' order: one world job after every two code issues, each kind over and over."""
    worlds = [issue for issue in issues if _world_of(known[issue]) is not None]
    others = [issue for issue in issues if issue not in worlds]
    world_turn, other_turn = itertools.cycle(worlds), itertools.cycle(others)
    for number in itertools.count(1):
        yield next(world_turn if worlds and (not others or number % _RUNS_PER_EVOLUTION == 0) else other_turn)


def _world_of(issue: Mapping[str, Any]) -> str | None:
    """The world of a world job; None for a code issue."""
    tags = issue.get("tags") or ()
    worlds = [tag.removeprefix(WORLD_TAG_PREFIX) for tag in tags if tag.startswith(WORLD_TAG_PREFIX)]
    return worlds[0] if WORLD_JOB_TAG in tags else None


def _kernel(repo: Path, config: Path, *arguments: str) -> None:
    path = os.pathsep.join((str(toolchain_dir()), os.environ.get("PATH", os.defpath)))
    command = [sys.executable, "-m", "bench.testbeds.sandbox.kernel", "--config", str(config), *arguments]
    done = subprocess.run(command, env=_environment(path), capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"{repo}: `{' '.join(arguments)}` ended with {done.returncode}: {done.stderr.strip()}")


def _environment(path: str) -> dict[str, str]:
    """The stand-in must be found wherever this package was imported from."""
    root = str(Path(__file__).resolve().parents[3])
    return {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join((root, os.environ.get("PYTHONPATH", "")))}


def _reopen(repo: Path, issue: str, *, only_failed: bool = False) -> None:
    """What a person does with an issue that is to be tried again; attempts begin anew at their maximum."""
    document = read_issues(repo)[issue]
    status = document.get("status")
    if status == "open" or (only_failed and status == "done"):
        return
    exhausted = int(document.get("dk_attempts") or 0) >= int(document.get("dk_max_attempts") or 3)
    update_issue(repo, issue, status="open", **({"dk_attempts": 0} if exhausted else {}))


def _entries(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} if directory.is_dir() else set()
