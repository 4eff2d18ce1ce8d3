"""Making history in a sandbox: run after run of the stand-in kernel, half by its own rule and half forced at random.

Where there are world jobs, every third run is an evolution.
"""

import itertools
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import yaml

from bench.testbeds.sandbox.beads import read_issues, update_issue
from bench.testbeds.sandbox.create import UNIVERSE_ID
from bench.testbeds.sandbox.kept_kernel import KeptKernel
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
    with closing(_Kernels(repo, min(workers, runs))) as kernels, ThreadPoolExecutor(workers) as pool:
        for batch in _batches(jobs):
            for ids in _results(pool, batch, kernels):
                recorded += ids
                done += 1
                if progress is not None:
                    progress(done, runs)
    return recorded


class _Kernels:
    """Kernels of one repo, each kept for many runs; from any thread."""

    def __init__(self, repo: Path, count: int) -> None:
        self._repo = repo
        environment = _environment()
        self._idle: SimpleQueue[KeptKernel] = SimpleQueue()
        for _ in range(count):
            self._idle.put(KeptKernel(environment))

    def run(self, config: Path, *arguments: str) -> None:
        """One run to its end, once a kernel is idle; BenchError when it fails."""
        kernel = self._idle.get()
        try:
            code, errors = kernel.run(["--config", str(config), *arguments])
        finally:
            self._idle.put(kernel)
        if code != 0:
            raise BenchError(f"{self._repo}: `{' '.join(arguments)}` ended with {code}: {errors.strip()}")

    def close(self) -> None:
        """Let all of them end."""
        while not self._idle.empty():
            self._idle.get().close()


class _Job(NamedTuple):
    """One run to record."""

    issue: str
    is_world: bool
    run: Callable[[_Kernels], list[str]]
    """The new run ids."""


def _drawn_job(repo: Path, issue: str, known: Mapping[str, Mapping[str, Any]], rng: random.Random) -> _Job:
    if (world_id := _world_of(known[issue])) is not None:
        return _Job(issue, True, partial(_evolve, repo, _drawn_evolution(world_id, rng)))
    action = random_action(rng) if rng.random() < _FORCED_SHARE else None
    return _Job(issue, False, partial(_reopen_and_run, repo, issue, action))


def _batches(jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
    """Jobs in their order, together but for a world job, which is alone."""
    for _, group in itertools.groupby(jobs, key=lambda job: job.is_world):
        batch = list(group)
        yield from ([job] for job in batch) if batch[0].is_world else [batch]


def _results(pool: Executor, jobs: Sequence[_Job], kernels: _Kernels) -> Iterator[list[str]]:
    """The jobs' new run ids in their order; those of one issue run one after another."""
    futures: list[Future[list[str]]] = []
    latest: dict[str, Future[list[str]]] = {}
    for job in jobs:
        # The pool starts them in their order, so that none waits for one that is not running yet.
        futures.append(pool.submit(_run_after, latest.get(job.issue), job, kernels))
        latest[job.issue] = futures[-1]
    try:
        yield from (future.result() for future in futures)
    finally:
        for future in futures:
            future.cancel()


def _run_after(earlier: Future[list[str]] | None, job: _Job, kernels: _Kernels) -> list[str]:
    if earlier is not None:
        wait([earlier])
    return job.run(kernels)


def _reopen_and_run(repo: Path, issue: str, action: ForcedAction | None, kernels: _Kernels) -> list[str]:
    _reopen(repo, issue)
    ids = _run_once(repo, issue, action, kernels)
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


def _run_once(repo: Path, issue: str, action: ForcedAction | None, kernels: _Kernels) -> list[str]:
    """One run of the stand-in kernel; the ids of the archives it left."""
    folder = repo / ".cyntra"
    config = folder / "config.yaml"
    if action is not None:
        config = folder / f"history-{issue}.yaml"
        config.write_text(yaml.safe_dump(forcing_config(action), sort_keys=False), encoding="utf-8")
    before = _entries(folder / "archives")
    try:
        kernels.run(config, "run", "--once", "--issue", issue, "--universe", UNIVERSE_ID)
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


def _evolve(repo: Path, arguments: Sequence[str], kernels: _Kernels) -> list[str]:
    runs = repo / ".cyntra" / "runs"
    before = _entries(runs)
    kernels.run(repo / ".cyntra" / "config.yaml", "evolve", *arguments)
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


def _environment() -> dict[str, str]:
    """The kernel's own tools are on PATH, and it must be found wherever this package was imported from."""
    path = os.pathsep.join((str(toolchain_dir()), os.environ.get("PATH", os.defpath)))
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
