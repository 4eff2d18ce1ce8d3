"""How much of two cores a bench keeps busy with runs, and what it costs beside them.

    python -m benchmarks.bench --cases 24 --k 4

Makes a sandbox, benches it twice (few cases, then all), each time as a process of its own with an embedded Ray, and
prints: how busy the workers were = time of the runs / (workers * wall time), over the whole command and between the
first start and the last end in the ledger, and the same of the runs' CPU time and the cores (the sandbox's tools think
longer than they compute, as agents wait for their models); and the overhead, which is all CPU time that is not that
of the runs (driver, Ray, clones, supervisors), per execution: its slope between the two benches, for Ray's own start
costs the same in both.
What Ray's processes take by merely being there is measured beside it and told apart: it grows with time alone.
"""

import argparse
import contextlib
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.ledger import Ledger, time_spent_ms
from bench.testbeds.sandbox.create import create_sandbox
from cluster.connect import connect

PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Measured:
    """One bench; seconds."""

    executions: int
    wall: float
    busy_wall: float
    """From the first start of an execution to the last end."""
    runs_wall: float
    """Of all executions together."""
    runs_cpu: float
    all_cpu: float


def measure(repo: Path, ledger_path: Path, cases: int, k: int, options: list[str]) -> Measured:
    """Bench ``cases`` issues and add up the CPU time of everything that was started, detached processes included."""
    command = [
        str(Path(sys.executable).with_name("planner")),
        "bench",
        str(repo),
        "--cyntra",
        "cyntra-sandbox",
        "--full",
    ]
    command += ["--limit", str(cases), "--k", str(k), "--ledger", str(ledger_path), *options]
    before, started = children_cpu(), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall = time.monotonic() - started
    reap_all()
    with Ledger.read(ledger_path) as ledger:
        outcomes = [execution.outcome for execution in ledger.executions()]
        first_ms, last_ms = ledger.span_ms()
    assert all(outcome.status != "fault" for outcome in outcomes), "a bench with faults measures nothing"
    return Measured(
        executions=len(outcomes),
        wall=wall,
        busy_wall=(last_ms - first_ms) / 1000,
        runs_wall=sum(time_spent_ms(outcome) for outcome in outcomes) / 1000,
        runs_cpu=sum(outcome.cpu_ms or 0 for outcome in outcomes) / 1000,
        all_cpu=children_cpu() - before,
    )


def idle_ray(n_workers: int, seconds: float = 15.0) -> float:
    """The share of one core that an embedded Ray with idle actors takes."""
    with connect(num_cpus=n_workers) as ray:

        class Idle:
            def answer(self) -> None:
                return None

        actor_class: Any = ray.remote(num_cpus=1)(Idle)
        actors = [actor_class.remote() for _ in range(n_workers)]
        ray.get([actor.answer.remote() for actor in actors])
        time.sleep(seconds)
        before = living_cpu()
        time.sleep(seconds)
        return sum(after - before.get(pid, 0.0) for pid, after in living_cpu().items()) / seconds


def living_cpu() -> dict[int, float]:
    """CPU seconds so far of every living process below this one."""
    ticks = os.sysconf("SC_CLK_TCK")
    used = {}
    for pid in [os.getpid(), *descendants(os.getpid())]:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            used[pid] = (int(fields[11]) + int(fields[12])) / ticks
    return used


def descendants(root: int) -> list[int]:
    """All living processes below one."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
    found, frontier = [], [root]
    while frontier:
        below = [pid for pid, parent in parents.items() if parent in frontier]
        found += below
        frontier = below
    return found


def children_cpu() -> float:
    """CPU seconds of every process below this one that has ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def reap_all() -> None:
    """Wait for what the command left to us, its subreaper: Ray's own processes."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=24)
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--workers", type=int, default=None, help="executions at the same time (default: the cores)")
    parser.add_argument("--seconds-per-minute", type=float, default=0.05, help="of the sandbox; longer runs weigh more")
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    cores = len(os.sched_getaffinity(0))
    further = [] if options.workers is None else ["--workers", str(options.workers)]
    with tempfile.TemporaryDirectory() as name:
        repo = create_sandbox(
            Path(name) / "repo", issues=options.cases, seed=0, seconds_per_minute=options.seconds_per_minute
        )
        few = measure(repo, Path(name) / "few.sqlite", 2, options.k, further)
        many = measure(repo, Path(name) / "many.sqlite", options.cases, options.k, further)
    overhead = ((many.all_cpu - many.runs_cpu) - (few.all_cpu - few.runs_cpu)) / (many.executions - few.executions)
    print(f"{cores} cores, {options.cases} cases x {options.k} actions: {many.executions} executions, no faults")
    print(f"wall {many.wall:.1f} s, of which executions {many.busy_wall:.1f} s")
    print(f"CPU of the runs {many.runs_cpu:.1f} s, of everything {many.all_cpu:.1f} s")
    workers = options.workers or cores
    for part, wall in (("while executing", many.busy_wall), ("of the whole command", many.wall)):
        print(
            f"busy {part}: workers {many.runs_wall / (workers * wall):.2f}, cores {many.runs_cpu / (cores * wall):.2f}"
        )
    idle = idle_ray(cores)
    of_ray = idle * (many.wall - few.wall) / (many.executions - few.executions)
    print(
        f"overhead per execution: {1000 * overhead:.0f} ms of CPU; {1000 * of_ray:.0f} of these are Ray's idle "
        f"processes ({idle:.1%} of a core all the time), {1000 * (overhead - of_ray):.0f} the bench's"
    )
    print("load average over the last minutes:", ", ".join(f"{load:.1f}" for load in os.getloadavg()))


if __name__ == "__main__":
    main()
