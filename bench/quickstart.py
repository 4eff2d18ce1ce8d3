"""`planner quickstart`: the whole loop on a sandbox repo, each stage skipped when its result is there already."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bench.engine.run import run_bench
from bench.executors.cyntra.kind import CyntraOptions
from bench.judging.judge_runs import score_runs
from bench.judging.relabel import relabel
from bench.options import BenchOptions
from bench.testbeds.sandbox.create import create_sandbox
from bench.testbeds.sandbox.record import record_history
from cluster.connect import connect, usable_cpus
from planner.artifacts.repo import Repo
from planner.begun_work import differences, remove
from planner.config import load_config
from planner.dataset.build import build_dataset
from planner.display.console import give, note, notes, say
from planner.display.progress import EpochBar, StageBars
from planner.display.regret import print_regret
from planner.display.training import print_dataset, print_fitted, print_run
from planner.errors import BenchError, DatasetError
from planner.manner import MANNER
from planner.runs.checkpoint import RunState, read_run
from planner.runs.fitted import fit_run
from planner.training.driver import train_here, train_with_ray
from planner.training.loop import start_run

HISTORY_SHARE = 2 / 3
"""Share of the issues, the earliest, in which the history is made; the others go on the bench."""
HOLDOUT = 2 / 3
"""Share of the benched issues, the latest, on which is judged: the policy that learns from the history alone needs none
of the others."""
RUNS_PER_ISSUE = 2
RUNS_PER_CPU = 2
"""Runs of the history that go on at once: agents wait more than they compute."""
EXECUTIONS_PER_CPU = 1.5
"""Executions that go on at once: with two, their clones and gates wait for a CPU, and twice as many come to their
limits."""
ARCH, FROM_LOGS_ARCH = "mlp_planner", "structural"
FROM_LOGS, BEFORE, AFTER = "learned from logs alone", "mlp before retraining", "mlp after retraining"
STAGES = 9
SANDBOX_COMMAND = "cyntra-sandbox"
SETTINGS = "settings.json"
MADE = ("repo", "dataset", "winners", "bench", "runs", "results.json", "history.done", SETTINGS)
"""All that a quickstart writes into its directory; its settings go last."""


@dataclass(frozen=True)
class Places:
    """Where a quickstart keeps what it makes."""

    root: Path

    @property
    def repo(self) -> Path:
        """The sandbox repo."""
        return self.root / "repo"

    @property
    def dataset(self) -> Path:
        """Examples from executed plans."""
        return self.root / "dataset"

    @property
    def winners(self) -> Path:
        """Examples from the bench's winners."""
        return self.root / "winners"

    @property
    def ledger(self) -> Path:
        """The bench's outcomes."""
        return self.root / "bench" / "ledger.sqlite"

    def run(self, name: str) -> Path:
        """A training run."""
        return self.root / "runs" / name

    @property
    def results(self) -> Path:
        """The final table's numbers."""
        return self.root / "results.json"


def run_quickstart(
    directory: Path, *, issues: int, n_actions: int, seed: int, address: str | None, fresh: bool = False
) -> None:
    """Make history, learn from it, bench, learn from the winners, and print how much regret each step took away.

    What an earlier quickstart made in ``directory`` is gone on with, or with ``fresh`` removed.
    """
    places = Places(directory.resolve())
    if fresh and (places.root / SETTINGS).exists():
        remove(places.root, MADE)
    started = time.monotonic()
    settings = {"issues": issues, "n_actions": n_actions, "seed": seed}
    _check_settings(places.root, settings)
    with ExitStack() as stack:
        with _stage(1, "sandbox: a git repo with injected bugs, one issue each"), ThreadPoolExecutor(1) as beside:
            made = beside.submit(_create, places, issues, seed)
            # Each takes some seconds and leaves a core idle.
            note("      connecting to Ray ...")
            ray = stack.enter_context(connect(address))
            made.result()
        ids = sorted(Repo(places.repo).issues, key=int)
        past, future = ids[: round(len(ids) * HISTORY_SHARE)], ids[round(len(ids) * HISTORY_SHARE) :]
        with _stage(2, f"history: {len(past) * RUNS_PER_ISSUE} runs of {len(past)} issues"):
            _record(places, past, seed)
        with _stage(3, "dataset: executed plans as labels, split by time"):
            if not (places.dataset / "dataset.json").exists():
                with StageBars() as bars:
                    info = build_dataset(places.repo, places.dataset, progress=bars.update)
                print_dataset(info, places.dataset)
        with _stage(4, "train: feature MLP on executed plans (Ray Train, DDP)"):
            _train(places.run("before"), places.dataset, None, workers=min(2, usable_cpus()))
        with _stage(5, "train: a model of single launches on the same history (no bench needed)"):
            from_logs = _fit(places)
        with _stage(6, f"bench: {len(future)} later issues x {n_actions} actions, each a bounded run in its own clone"):
            at_once = max(1, int(EXECUTIONS_PER_CPU * ray.cluster_resources().get("CPU", 1)))
            _bench(places, future, n_actions, seed, at_once)
        with _stage(7, "relabel: the winners of the earlier cases as a dataset"):
            if not (places.winners / "dataset.json").exists():
                print_dataset(relabel(places.ledger, places.dataset, places.winners, holdout=HOLDOUT), places.winners)
        with _stage(8, "retrain on the winners, softened by how the other actions fared, from the first weights"):
            # Some dozen examples: one worker, in this process, is done with them before Ray Train has started.
            _train(places.run("after"), places.winners, places.run("before"), "labels=soft", workers=None)
    with _stage(9, "evaluate: regret against the best of K on the held-out, later cases"):
        report = score_runs(
            places.ledger,
            {**from_logs, BEFORE: places.run("before"), AFTER: places.run("after")},
            holdout=HOLDOUT,
            max_run_minutes=Repo(places.repo).universe.max_run_minutes,
        )
        places.results.write_bytes(orjson.dumps(report.to_json(), option=orjson.OPT_INDENT_2))
        print_regret(report)
    note(f"wrote {places.results}")
    for name, path in (
        ("repo", places.repo),
        ("dataset", places.dataset),
        ("winners", places.winners),
        ("ledger", places.ledger),
        ("runs", places.root / "runs"),
    ):
        note(f"  {name:<8} {path}")
    note(f"done in {time.monotonic() - started:.0f} s")
    gain = next((gain for gain in report.gains if gain.policy == FROM_LOGS), None)
    found = "the history is too short to learn from alone" if gain is None else gain.sentence
    answer = f"In one sentence, on {report.held_out_cases} unseen issues: {found}."
    say(answer)
    give("quickstart", {"directory": str(places.root), "answer": answer, "results": report.to_json()})


def _check_settings(root: Path, settings: dict[str, Any]) -> None:
    """Remember the settings; a directory made with other ones is refused, because its parts would not fit."""
    path = root / SETTINGS
    if path.exists():
        kept = orjson.loads(path.read_bytes())
        if kept != settings:
            found = "; ".join(differences(kept, settings))
            raise BenchError(
                f"{root}: a quickstart with other settings stands there: {found}: --fresh starts anew, another "
                "directory leaves it alone"
            )
        return
    if root.exists() and any(root.iterdir()):
        raise BenchError(f"{root} holds other files: give an empty or new directory")
    root.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(settings))


def _create(places: Places, issues: int, seed: int) -> None:
    if not (places.repo / ".beads").exists():
        create_sandbox(places.repo, issues=issues, seed=seed)


def _record(places: Places, issues: list[str], seed: int) -> None:
    marker = places.root / "history.done"
    if marker.exists():
        return
    runs = len(issues) * RUNS_PER_ISSUE
    with StageBars() as bars:
        record_history(
            places.repo,
            runs=runs,
            seed=seed,
            workers=RUNS_PER_CPU * usable_cpus(),
            progress=lambda done, n: bars.update("runs", done, n),
            issues=issues,
        )
    marker.touch()


def _bench(places: Places, issues: list[str], n_actions: int, seed: int, at_once: int) -> None:
    with StageBars() as bars:
        report = run_bench(
            places.repo,
            BenchOptions(
                ledger=places.ledger,
                n_actions=n_actions,
                full=True,
                issue_ids=issues,
                seed=seed,
                workers=at_once,
            ),
            CyntraOptions(cyntra=SANDBOX_COMMAND),
            progress=lambda p: bars.update("executions", p.finished, p.total),
        )
    note(f"      {report.run} executions run, {report.resumed} resumed, {report.faults} faulty")


def _fit(places: Places) -> dict[str, Path]:
    """The run that learns from the history alone, by its name; none where the history is too short for it."""
    run = places.run("logs")
    if not (run / "run.json").exists():
        try:
            print_fitted(run, fit_run(run, FROM_LOGS_ARCH, places.dataset))
        except DatasetError as error:
            say(f"      nothing learned: {error}")
            return {}
    return {FROM_LOGS: run}


def _train(run: Path, dataset: Path, init_from: Path | None, *settings: str, workers: int | None) -> RunState:
    """Train a run that is not finished on so many of Ray Train's workers; None = in this process."""
    if (run / "run.json").exists() and (state := read_run(run)).finished:
        return state
    config = load_config(ARCH, overrides=settings)
    start_run(run, config, dataset, init_from=init_from, workers=workers or 1, resume=(run / "run.json").exists())
    with EpochBar(config.epochs) as bar:
        if workers is None:
            state = train_here(run, progress=bar.epoch)
        else:
            state = train_with_ray(run, workers=workers, progress=bar.epoch)
    print_run(run, state)
    return state


@contextmanager
def _stage(number: int, text: str) -> Iterator[None]:
    if not MANNER.quiet:
        notes.print(f"[bold]{number}/{STAGES}[/bold] {text}", highlight=False)
    started = time.monotonic()
    yield
    note(f"      {time.monotonic() - started:.1f} s")
