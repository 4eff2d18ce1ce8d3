"""The planner on a running Ray: `ray start --head` with --address, and `ray job submit`."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from planner.config import load_config
from tests.cluster.heads import Head, ray_head
from tests.tune.processes import BIN, run_planner

SEARCH = ("--trials", "2", "--epochs", "2", "--workers", "1")
PRINTS_CPUS = """
from cluster.connect import connect
with connect(num_cpus=1) as ray:
    print(ray.cluster_resources()["CPU"])
"""
REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """One head for this module; its end checks that no process of it is left."""
    with ray_head() as started:
        yield started


def test_a_command_with_an_address_runs_on_that_head(head: Head, small_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "tune"
    code, output = run_planner(head.environment, "tune", small_dataset, *SEARCH, "--out", out, "--address", "auto")
    assert code == 0, output
    assert len(orjson.loads((out / "trials.json").read_bytes())) == 2
    jobs = subprocess.run(
        [BIN / "ray", "list", "jobs", "--address", head.dashboard, "--format", "json"],
        env=head.environment,
        capture_output=True,
        check=True,
    )
    assert str(out) in jobs.stdout.decode()


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
