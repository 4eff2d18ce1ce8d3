"""The planner on a running Ray: `ray start --head` with --address, and `ray job submit`."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.ledger import Ledger
from bench.testbeds.sandbox.create import create_sandbox
from planner.config import load_config
from tests.cluster.heads import Head, ray_head
from tests.tune.processes import BIN, run_planner

SEARCH = ("--trials", "2", "--epochs", "2", "--workers", "1")
PRINTS_CPUS = """
from cluster.connect import connect
with connect(num_cpus=1) as ray:
    print(ray.cluster_resources()["CPU"])
"""
PRINTS_JOBS = """
import sys
from cluster.connect import connect
with connect(sys.argv[1]):
    from ray._private.state import jobs
    print(*(job["Entrypoint"] for job in jobs()), sep="\\n")
"""
REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """One head for this module; its end checks that no process of it is left."""
    with ray_head(with_dashboard=True) as started:
        yield started


def test_a_bench_with_an_address_runs_on_that_head(head: Head, tmp_path: Path) -> None:
    repo = create_sandbox(tmp_path / "repo", issues=4)
    command = ("bench", repo, "--k", "4", "--limit", "1", "--cyntra", BIN / "cyntra-sandbox", "--address", "auto")
    code, output = run_planner(head.environment, *command)
    assert code == 0, output
    with Ledger.read(repo / ".cyntra/planner/bench/ledger.sqlite") as ledger:
        outcomes = [execution.outcome for execution in ledger.executions()]
    assert len(outcomes) == 4
    assert [outcome.fault for outcome in outcomes if outcome.fault] == []
    assert str(repo) in programs_on(head)


def programs_on(head: Head) -> str:
    """The command lines of all programs that the head has served."""
    listed = subprocess.run(
        [sys.executable, "-c", PRINTS_JOBS, head.address], env=head.environment, capture_output=True, text=True
    )
    return listed.stdout


@pytest.mark.parametrize("named", [True, False])
def test_only_an_address_leads_to_the_head(head: Head, named: bool) -> None:
    environment = {**head.environment, **({"RAY_ADDRESS": head.address} if named else {})}
    result = subprocess.run([sys.executable, "-c", PRINTS_CPUS], env=environment, capture_output=True, text=True)
    assert result.stdout == ("2.0\n" if named else "1.0\n"), result.stderr


def test_a_submitted_job_runs_to_success_and_writes_to_absolute_paths(
    head: Head, small_dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tune"
    submit = f"{BIN / 'ray'} job submit --address {head.dashboard} --working-dir {REPO} --"
    command = [*submit.split(), "planner", "tune", str(small_dataset), *SEARCH, "--out", str(out)]
    submitted = subprocess.run(command, env=head.environment, capture_output=True, text=True, timeout=240)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert f"next: planner train {small_dataset} --config {out / 'best.yaml'}" in submitted.stdout
    assert load_config("mlp_planner", out / "best.yaml").epochs == 2
