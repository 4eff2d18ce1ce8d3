"""The planner on a running Ray: `ray start --head` with --address, `ray job submit`, and `planner submit`."""

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.ledger import Ledger
from bench.testbeds.sandbox.create import create_sandbox
from planner.config import load_config
from tests.cluster.heads import Head, ray_head
from tests.cluster.proxies import Proxy
from tests.tune.processes import BIN, run_planner, wait_until

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
    head: Head, corpus_dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tune"
    submit = f"{BIN / 'ray'} job submit --address {head.dashboard} --working-dir {REPO} --"
    command = [*submit.split(), "planner", "tune", str(corpus_dataset), *SEARCH, "--out", str(out)]
    submitted = subprocess.run(command, env=head.environment, capture_output=True, text=True, timeout=240)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    assert f"next: planner train {corpus_dataset} --config {out / 'best.yaml'}" in submitted.stdout
    assert load_config("mlp_planner", out / "best.yaml").epochs == 2


JOB = """
import sys, time
from pathlib import Path
print("begun with", *sorted(path.name for path in Path().iterdir()), flush=True)
while not Path(sys.argv[1]).exists():
    time.sleep(0.1)
print("over", "and out" * 3000, flush=True)
sys.exit(7)
"""


@dataclass(frozen=True)
class Started:
    """A command that runs, and what it has said so far."""

    process: subprocess.Popen[bytes]
    said: Path

    def output(self) -> str:
        return (self.said / "out").read_text()

    def notes(self) -> str:
        return (self.said / "err").read_text()


@pytest.fixture
def start(head: Head) -> Iterator[Callable[..., Started]]:
    """Starts `planner ARGUMENTS` in a directory; at the test's end all of them have ended."""
    running: list[Started] = []

    def start_one(directory: Path, *arguments: object) -> Started:
        said = Path(tempfile.mkdtemp(dir=directory.parent))
        with (said / "out").open("w") as out, (said / "err").open("w") as err:
            command = [str(BIN / "planner"), *map(str, arguments)]
            process = subprocess.Popen(command, env=head.environment, cwd=directory, stdout=out, stderr=err)
        running.append(Started(process, said))
        return running[-1]

    yield start_one
    for one in running:
        one.process.kill()
        one.process.wait()


def test_a_submitted_command_is_followed_over_a_lost_connection_to_its_own_exit_code(
    head: Head, start: Callable[..., Started], tmp_path: Path
) -> None:
    here, go = tmp_path / "here", tmp_path / "go"
    here.mkdir()
    (here / "job.py").write_text(JOB)
    (here / "huge.bin").touch()
    (here / "secret.key").touch()
    (here / ".gitignore").write_text("*.key\n")
    with Proxy(int(head.dashboard.rpartition(":")[2]), refused=1) as proxy:
        words = ("--exclude", "*.bin", "--", "python", "job.py", go)
        following = start(here, "submit", "--address", proxy.address, *words)
        wait_until(lambda: "begun" in following.output(), 120, "the job's first line")
        assert following.output().endswith("\nbegun with .gitignore job.py\n")
        assert following.notes().count("has no agent yet that starts jobs: trying again") == 1
        proxy.cut()
        wait_until(lambda: "is lost" in following.notes(), 30, "a word of the lost connection")
        proxy.restore()
        (job,) = set(re.findall(r"planner-[0-9a-f]{12}", following.notes()))
        interrupted = start(here, "submit", "--address", head.dashboard, "--attach", job)
        wait_until(lambda: "begun" in interrupted.output(), 60, "the same line for who attaches")
        interrupted.process.send_signal(signal.SIGINT)
        assert interrupted.process.wait(30) == 130
        assert f"--attach {job}" in interrupted.notes() and f"ray job stop --address {head.dashboard} {job}" in (
            interrupted.notes()
        )
        go.touch()
        assert following.process.wait(60) == 7, following.notes()
    whole = following.output()
    assert whole.endswith(f"\nbegun with .gitignore job.py\nover {'and out' * 3000}\n")
    assert whole.count("begun") == 1
    foreign = {**head.environment, "RAY_AUTH_TOKEN": "0" * 64}
    refused = subprocess.run(
        [BIN / "planner", "submit", "--address", head.dashboard, "--attach", job],
        env=foreign,
        capture_output=True,
        text=True,
    )
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "RAY_AUTH_TOKEN" in refused.stderr
