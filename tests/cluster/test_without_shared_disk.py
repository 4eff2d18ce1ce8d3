"""Two nodes, of which one does not see the disk of the other: every command works on both all the same."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from bench.ledger import Ledger
from planner.config import TrainConfig
from planner.dataset.storage import load_dataset
from planner.runs.checkpoint import LESSONS, read_run
from planner.runs.fitted import fit_run
from planner.training.loop import start_run, train
from tests.bench.conftest import SMALL_KERNEL, KernelRepo
from tests.cluster.heads import CAN_MOUNT, CANNOT_MOUNT, Head, hiding, ray_head, ray_node
from tests.cluster.waiting_tracker import MEETS, WAITS_ALONE, met
from tests.conftest import copy_corpus
from tests.planner.small_runs import REPO, SMALL, curve, weights
from tests.trained_runs import trained
from tests.tune.processes import run_planner, start_planner, wait_until

pytestmark = pytest.mark.skipif(not CAN_MOUNT, reason=CANNOT_MOUNT)

TOOL = """#!/bin/sh
if [ -e {disk}/repo ]; then echo here >&2; else echo there >&2; fi
sleep 1
touch solved.txt
"""
EPOCHS = 20
QUICK_TRAIN = {"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2", "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
"""An epoch lasts until Ray Train looks again, by default two seconds; and each group of its workers has a process that
watches for nodes that are about to be taken away, which takes two seconds of a core to start."""


def planner_with(settings: str) -> tuple[str, str, str]:
    """`planner`, but for some settings of its modules."""
    return sys.executable, "-c", f"{settings}; from planner.cli import main; main()"


GROWS_QUICKLY = planner_with("from planner.training import driver; driver.GROWS_EVERY_S = 1.0")
"""An elastic training does not wait for a minute to look for more nodes."""
SMALL_PARTS = planner_with("from planner.dataset import joining, reading; reading.MEAN_CHUNK = 2; joining.BLOCK = 4")
"""A build of the small corpus has parts for both nodes: fewer than three are not handed to anybody."""


@dataclass(frozen=True)
class Machines:
    """``disk`` is the first machine's alone, ``cache`` the second's; ``tools`` are on PATH of both."""

    head: Head
    disk: Path
    tools: Path
    cache: Path
    kill_second: Callable[[], None]
    another: Callable[[], AbstractContextManager[Any]]
    """Starts the second again."""


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A head with one CPU, and a node with one in a mount namespace of its own, with a cache of its own."""
    directory = tmp_path_factory.mktemp("machines")
    disk, tools = directory / "disk", directory / "tools"
    for place in (disk, tools):
        place.mkdir()
    with ray_head(cpus=1, PLANNER_CACHE=str(directory / "cache-here")) as started:
        environment = {**started.environment, "PATH": f"{tools}{os.pathsep}{started.environment['PATH']}"}
        head = Head(started.address, started.dashboard, environment, started.pid)
        blind = partial(ray_node, head, *hiding(disk, f"PLANNER_CACHE={directory / 'cache-there'}"))
        with blind() as kill:
            yield Machines(head, disk, tools, directory / "cache-there", kill, blind)


def test_a_bench_works_on_both_nodes_and_brings_every_log_back(machines: Machines) -> None:
    repo = KernelRepo(machines.disk)
    repo.write_issues(*({"id": str(number)} for number in range(1, 7)))
    for name in ("codex", "claude", "opencode"):
        repo.write_tool(name, TOOL.format(disk=machines.disk)).rename(machines.tools / name)
    arguments = ("--k", "1", "--full", "--sandbox", "off", "--cyntra", " ".join(SMALL_KERNEL))
    code, output = run_planner(
        machines.head.environment, "bench", repo.root, "--address", machines.head.address, *arguments
    )
    assert code == 0 and "got no" not in output, output
    directory = repo.root / ".cyntra/planner/bench"
    with Ledger.read(directory / "ledger.sqlite") as ledger:
        found = ledger.progress()
        ids = {execution.execution_id for execution in ledger.executions()}
    assert (found.passed, found.faults, found.retried) == (6, 0, 0)
    logs = {path.stem: path.read_text().split() for path in (directory / "ledger-logs").iterdir()}
    assert logs.keys() == ids
    assert {words[0] for words in logs.values()} == {"here", "there"}


def test_searches_and_ablations_train_on_both_nodes_to_the_weights_of_one(
    machines: Machines, corpus_dataset: Path
) -> None:
    dataset = copied(corpus_dataset, machines.disk / "small")
    words = ("--address", machines.head.address, "--track", MEETS)
    ablate = ("ablate", dataset, "--arch", "mlp_planner", "--axes", "decoding", "--seeds", 2)
    settings = [word for setting in SMALL for word in ("--set", setting)]
    tune = ("tune", dataset, "--trials", 2, "--epochs", 3)  # after three, one of two is stopped
    environment = {**machines.head.environment, "PYTHONPATH": str(REPO)}
    for command, more in ((ablate, settings), (tune, ())):
        out = machines.disk / command[0]
        code, output = run_planner(environment, *command, *more, *words, "--out", out)
        assert code == 0, output
        assert len(met(machines.cache.parent)) == 2, "one run on each node"
        for sign in met(machines.cache.parent):
            sign.unlink()
        runs = [path.parent for path in out.glob("*/*/run.json")]
        assert len(runs) == 2
        for run in runs:
            state, alone = read_run(run), machines.disk / "alone" / run.name
            start_run(alone, TrainConfig.model_validate(state.config), dataset, init_from=None, workers=1, resume=False)
            train(alone)
            assert state.finished and (weights(run), curve(run)) == (weights(alone), curve(alone))


def test_a_pupil_is_taught_by_two_nodes_of_which_one_sees_neither_teacher_nor_lessons(
    machines: Machines, kernel_dataset: Path
) -> None:
    dataset = copied(kernel_dataset, machines.disk / "to-teach-on")
    teacher, run = machines.disk / "teacher", machines.disk / "pupil"
    fit_run(teacher, "structural", dataset)
    words = ("--address", machines.head.address, "--workers", 2, "--perturbed", 20, "--arch", "mlp_planner")
    settings = [word for setting in SMALL for word in ("--set", setting)]
    environment = {**machines.head.environment, **QUICK_TRAIN}
    code, output = run_planner(environment, "train", dataset, "--teacher", teacher, *words, *settings, "--out", run)
    assert code == 0, output
    state = read_run(run)
    assert (state.finished, state.workers, state.teacher) == (True, 2, str(teacher))
    assert state.pupil is not None and state.pupil.contexts > 0
    assert (run / LESSONS / "dataset.json").read_bytes() in {
        path.read_bytes() for path in machines.cache.glob("datasets/*/dataset/dataset.json")
    }, "the lessons came by way of the object store"


def test_a_dataset_is_built_and_trained_on_while_a_node_goes_and_comes_back(
    machines: Machines, corpus_dataset: Path
) -> None:
    """The last test: it ends with the first machine alone."""
    repo, run = copy_corpus(machines.disk / "corpus"), machines.disk / "run"
    cluster = ("--address", machines.head.address)
    build = start_planner(machines.head.environment, "dataset", "build", repo, *cluster, program=SMALL_PARTS)
    output, _ = build.communicate(timeout=120)
    assert build.returncode == 0, output
    dataset = repo / ".cyntra/planner/dataset"
    assert load_dataset(dataset).info.dataset_hash == load_dataset(corpus_dataset).info.dataset_hash
    settings = (*SMALL, f"epochs={EPOCHS}", f"patience={EPOCHS}")
    first = trained(dataset, machines.disk / "first", *settings)
    words = [word for setting in settings for word in ("--set", setting)]
    elastic = ("--min-workers", "1", "--workers", "4", "--init-from", first, *words, "--track", WAITS_ALONE)
    environment = {**machines.head.environment, **QUICK_TRAIN, "PYTHONPATH": str(REPO)}
    process = start_planner(environment, "train", dataset, *cluster, "--out", run, *elastic, program=GROWS_QUICKLY)

    def workers() -> list[int]:
        """With how many each epoch was made."""
        return [epoch["workers"] for epoch in curve(run)] if (run / "metrics.jsonl").exists() else []

    wait_until(lambda: process.poll() is not None or bool(workers()), 120, "epochs on the driver's disk")
    for name in ("datasets/*/dataset/dataset.json", "weights/*/checkpoint/model.safetensors"):
        assert list(machines.cache.glob(name)), "it came by way of the object store"
    machines.kill_second()
    wait_until(lambda: process.poll() is not None or workers()[-1] == 1, 120, "an epoch on one node")
    with machines.another():
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    state, made = read_run(run), workers()
    assert state.finished and (state.epoch, state.workers) == (EPOCHS - 1, 2)
    assert [epoch["epoch"] for epoch in curve(run)] == list(range(EPOCHS))
    alone = made.index(1)
    assert made == [2] * alone + [1] + [2] * (EPOCHS - alone - 1) and alone > 0
    constant = trained(dataset, machines.disk / "constant", *settings, init_from=first)
    for tensor, same in zip(*(last_weights(one).values() for one in (run, constant)), strict=True):
        assert np.allclose(tensor, same, atol=1e-5)


def copied(directory: Path, target: Path) -> Path:
    """A copy of a dataset."""
    shutil.copytree(directory, target)
    return target


def last_weights(run: Path) -> dict[str, Any]:
    """Name -> tensor of the last checkpoint's model."""
    state = read_run(run)
    assert state.last is not None
    return dict(sorted(load_file(run / state.last / "model.safetensors").items()))
