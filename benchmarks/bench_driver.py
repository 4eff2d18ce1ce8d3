"""What the driver of a bench computes, by the number of executions that are planned.

    python -m benchmarks.bench_driver --cases 100 2500 --open 5000

First planning: the CPU time per issue of making cases of a simulated repo and of storing them. Then executing: a bench
in which every execution is drawn at once but sent to a worker by itself, as a real run is, and the CPU time of the
driver's process per execution, its ledger included, the start and the end of the crew not. Last the floor: what as
many bare calls of an actor take, and two commits to an SQLite file for each.
"""

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.engine.workers import WorkerPool
from bench.executors.registry import executor_kind
from bench.ledger import Ledger, Progress
from bench.options import BenchOptions
from bench.planning.selections import Coverage
from bench.testbeds.simulation.executor import SimulateExecutor
from bench.testbeds.simulation.repo import simulate_repo
from cluster.connect import connect
from planner.artifacts.repo import Repo
from planner.contracts.bench import BenchCase

N_ACTIONS = 4
FLOOR_CALLS, ORDER_BYTES, OUTCOME_CHARACTERS = 1000, 3000, 500
WARM_UP = 20
"""Executions before the clock starts: the crew has to come first."""


class OneByOne(SimulateExecutor):
    """Its executions go to the workers one at a time, as those that take real time do."""

    instant = False  # pretended


def plan(repo: Path, directory: Path) -> tuple[list[BenchCase], SimulateExecutor]:
    """The cases of a simulated repo, once the CPU time of making them is printed."""
    kind, options = executor_kind("simulate"), BenchOptions(executor="simulate", n_actions=N_ACTIONS)
    began = time.process_time()
    setup = kind.prepare(repo, options, kind.options())
    read = time.process_time()
    cases = setup.make_cases([], Coverage(0))
    made = time.process_time()
    with Ledger.open(directory / "planned.sqlite") as ledger:
        opened = time.process_time()
        ledger.add_cases(cases)
        stored = time.process_time() - opened
    began_again = time.process_time()
    n_runs = len(Repo(repo).runs)
    history = time.process_time() - began_again
    each = 1000 / len(cases)
    print(
        f"planning {len(cases)} cases of {N_ACTIONS} actions: {(read - began) * each:.2f} ms of CPU each to read, "
        f"{(made - read) * each:.2f} to make, {stored * each:.2f} to store; "
        f"to read {n_runs} past runs, a part of making, takes {history * each:.2f}"
    )
    executor = setup.executor
    assert isinstance(executor, SimulateExecutor)
    return cases, executor


def execute(ray: Any, cases: Sequence[BenchCase], executor: SimulateExecutor, directory: Path) -> None:
    """Bench the cases and print the driver's CPU time per execution."""
    began: list[tuple[float, float, int]] = []

    def note(progress: Progress) -> None:
        if progress.finished >= WARM_UP and not began:
            began.append((time.process_time(), time.monotonic(), progress.finished))
        if progress.finished == progress.total:
            began.append((time.process_time(), time.monotonic(), progress.finished))

    with Ledger.open(directory / f"{len(cases)}.sqlite") as ledger:
        ledger.add_cases(cases)
        pool = WorkerPool(
            ray, ledger, OneByOne(executor.world), work_base=directory, n_workers=None, on_progress=note, capping=None
        )
        pool.run(cases)
    (first_cpu, first, before), (last_cpu, last, after) = began[0], began[-1]
    count = after - before
    print(
        f"executing {after}: {1000 * (last_cpu - first_cpu) / count:.2f} ms of the driver's CPU each, "
        f"{1000 * (last - first) / count:.2f} ms of wall time"
    )


def floor(ray: Any, directory: Path) -> None:
    """Print what cannot be saved: calls of two actors that do nothing, and commits as the ledger makes them."""

    class Nothing:
        def answer(self, order: bytes) -> bytes:
            return order

    actor_class: Any = ray.remote(num_cpus=1)(Nothing)
    actors = [actor_class.remote() for _ in range(2)]
    ray.get([actor.answer.remote(b"") for actor in actors])
    began = time.process_time()
    running = {actor.answer.remote(bytes(ORDER_BYTES)): actor for actor in actors}
    for _ in range(FLOOR_CALLS):
        (reference,), _ = ray.wait(list(running))
        actor = running.pop(reference)
        ray.get(reference)
        running[actor.answer.remote(bytes(ORDER_BYTES))] = actor
    calls = time.process_time() - began
    connection = sqlite3.connect(directory / "floor.sqlite", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE executions (execution_id INTEGER PRIMARY KEY, outcome TEXT)")
    began = time.process_time()
    for number in range(2 * FLOOR_CALLS):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO executions VALUES (?, ?)", (number, "x" * OUTCOME_CHARACTERS))
        connection.execute("COMMIT")
    commits = time.process_time() - began
    connection.close()
    each = 1000 / FLOOR_CALLS
    print(f"floor: {calls * each:.2f} ms for a bare call of an actor, {commits * each:.2f} for two commits")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="+", default=[100, 2500])
    parser.add_argument("--open", type=int, default=3000, help="open issues of the simulated repo")
    parser.add_argument("--runs", type=int, default=2000, help="runs of its history")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        simulate_repo(directory / "repo", runs=options.runs, issues=400, open_issues=options.open, seed=0)
        cases, executor = plan(directory / "repo", directory)
        with connect() as ray:
            for count in options.cases:
                execute(ray, cases[:count], executor, directory)
            floor(ray, directory)


if __name__ == "__main__":
    main()
