"""Two nodes, of which one does not see the disk of the other: every command works on both all the same."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

from bench.ledger import Ledger
from planner.dataset.storage import load_dataset
from planner.runs.checkpoint import read_run
from tests.bench.conftest import SMALL_KERNEL, KernelRepo
from tests.cluster.heads import CAN_MOUNT, CANNOT_MOUNT, Head, hiding, ray_head, ray_node
from tests.conftest import copy_corpus
from tests.tune.processes import run_planner, start_planner, wait_until

pytestmark = pytest.mark.skipif(not CAN_MOUNT, reason=CANNOT_MOUNT)

TOOL = """#!/bin/sh
if [ -e {disk}/repo ]; then echo here >&2; else echo there >&2; fi
sleep 1
touch solved.txt
"""
EPOCHS = 20


@dataclass(frozen=True)
class Machines:
    """``disk`` is the first machine's alone, ``cache`` the second's; ``tools`` are on PATH of both."""

    head: Head
    disk: Path
    tools: Path
    cache: Path
    kill_second: Callable[[], None]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A head with one CPU, and a node with one in a mount namespace of its own, with a cache of its own."""
    directory = tmp_path_factory.mktemp("machines")
    disk, tools = directory / "disk", directory / "tools"
    for place in (disk, tools):
        place.mkdir()
    with ray_head(cpus=1) as started:
        path = f"{tools}{os.pathsep}{started.environment['PATH']}"
        environment = {**started.environment, "PATH": path, "PLANNER_CACHE": str(directory / "cache-here")}
        head = Head(started.address, started.dashboard, environment, started.pid)
        with ray_node(head, *hiding(disk, f"PLANNER_CACHE={directory / 'cache-there'}")) as kill:
            yield Machines(head, disk, tools, directory / "cache-there", kill)


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


def test_a_dataset_is_built_and_trained_on_by_two_workers_and_by_one_when_a_node_dies(
    machines: Machines, corpus_dataset: Path
) -> None:
    repo, run = copy_corpus(machines.disk / "corpus"), machines.disk / "run"
    cluster = ("--address", machines.head.address)
    code, output = run_planner(machines.head.environment, "dataset", "build", repo, *cluster)
    assert code == 0, output
    dataset = repo / ".cyntra/planner/dataset"
    assert load_dataset(dataset).info.dataset_hash == load_dataset(corpus_dataset).info.dataset_hash
    elastic = ("--min-workers", "1", "--workers", "2", "--set", f"epochs={EPOCHS}", "--set", f"patience={EPOCHS}")
    # An epoch lasts until Ray Train looks again: by default two seconds.
    environment = {**machines.head.environment, "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}
    process = start_planner(environment, "train", dataset, *cluster, "--out", run, *elastic)
    log = run / "metrics.jsonl"
    wait_until(lambda: process.poll() is not None or log.exists(), 120, "epochs on the driver's disk")
    assert list((machines.cache / "datasets").glob("*/dataset/dataset.json")), "it came by way of the object store"
    machines.kill_second()
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    state, epochs = read_run(run), [orjson.loads(line) for line in log.read_bytes().splitlines()]
    assert state.finished and (state.epoch, state.workers) == (EPOCHS - 1, 1)
    assert [epoch["epoch"] for epoch in epochs] == list(range(EPOCHS))
    assert [epoch["workers"] for epoch in epochs] == sorted((epoch["workers"] for epoch in epochs), reverse=True)
    assert epochs[0]["workers"] == 2
    assert state.last is not None and (run / state.last / "model.safetensors").exists()
