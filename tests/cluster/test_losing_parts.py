"""What commands make of a cluster whose parts come and go: nothing is lost, nothing hangs, nothing is kept silent."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.ledger import Ledger, Progress
from planner.runs.checkpoint import read_run
from planner.training.loop import train
from tests.bench.conftest import SMALL_KERNEL, KernelRepo
from tests.cluster.heads import CAN_MOUNT, CANNOT_MOUNT, Head, hiding, ray_head, ray_node
from tests.cluster.waiting_tracker import WAITS, go_on
from tests.conftest import FIXTURES
from tests.planner.recording_tracker import HEARD, heard
from tests.planner.small_runs import REPO, SMALL, begin, curve, weights
from tests.tune.processes import processes_with, run_planner, start_planner, wait_until

SLOW_TOOL = "#!/bin/sh\n[ -e {hurry} ] || sleep 2\ntouch solved.txt\n"
WAITING_TOOL = "#!/bin/sh\nuntil [ -e {hurry} ]; do sleep 0.1; done\ntouch solved.txt\n"


@pytest.fixture(scope="module")
def lasting_head() -> Iterator[Head]:
    """A head with one CPU, which nodes join and leave."""
    with ray_head(cpus=1) as started:
        yield started


@pytest.fixture
def repo(tmp_path: Path) -> KernelRepo:
    """Eight issues, and tools of which each takes two seconds until :func:`hurry` is called."""
    made = KernelRepo(tmp_path)
    made.write_issues(*({"id": str(number)} for number in range(1, 9)))
    write_tools(made, SLOW_TOOL)
    return made


def write_tools(repo: KernelRepo, text: str) -> None:
    for name in ("codex", "claude", "opencode"):
        repo.write_tool(name, text.format(hurry=repo.tools / "hurry"))


def hurry(repo: KernelRepo) -> None:
    """From now on its tools take no time: what is to be seen has been seen."""
    (repo.tools / "hurry").touch()


def command(repo: KernelRepo, head: Head, *more: object) -> tuple[object, ...]:
    return (
        "bench",
        repo.root,
        "--k",
        "1",
        "--full",
        "--cyntra",
        " ".join(SMALL_KERNEL),
        "--address",
        head.address,
        *more,
    )


def environment(repo: KernelRepo, head: Head) -> dict[str, str]:
    return {**head.environment, "PATH": f"{repo.tools}{os.pathsep}{head.environment['PATH']}"}


def progress(repo: KernelRepo) -> Progress:
    path = repo.root / ".cyntra/planner/bench/ledger.sqlite"
    if not path.exists():
        return Progress(0, 0, 0, 0, 0, 0, 0)
    with Ledger.read(path) as ledger:
        return ledger.progress()


def with_tools(repo: KernelRepo, head: Head) -> Head:
    """The head's nodes find the tools, as they do where a cluster's machines are alike."""
    return Head(head.address, head.dashboard, environment(repo, head), head.pid)


def test_a_node_that_joins_gets_its_share_of_a_running_bench(repo: KernelRepo, lasting_head: Head) -> None:
    head = with_tools(repo, lasting_head)
    write_tools(repo, WAITING_TOOL)
    process = start_planner(head.environment, *command(repo, head))
    wait_until(lambda: progress(repo).started == 1, 90, "a first execution")
    with ray_node(head):
        wait_until(lambda: progress(repo).started == 2, 90, "two executions side by side")
        hurry(repo)
        output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert progress(repo).passed == 8


def test_a_node_that_dies_during_a_bench_takes_nothing_with_it(repo: KernelRepo, lasting_head: Head) -> None:
    head = with_tools(repo, lasting_head)
    with ray_node(head) as kill:
        process = start_planner(head.environment, *command(repo, head))
        wait_until(lambda: progress(repo).started == 2 and progress(repo).finished >= 2, 90, "work on both nodes")
        kill()
        hurry(repo)
        output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    found = progress(repo)
    assert (found.finished, found.passed, found.faults, found.planned) == (8, 8, 0, 0)


ABLATION = ("ablate", "--arch", "mlp_planner", "--axes", "decoding")
COMPARISON = ("compare", "--policies", "mlp_planner")


@pytest.mark.parametrize(("name", "options"), [(one[0], one[1:]) for one in (ABLATION, COMPARISON)])
def test_a_node_that_dies_has_its_runs_trained_elsewhere_to_the_same_weights(
    lasting_head: Head, tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    dataset, out = FIXTURES / "frozen/dataset-v1", tmp_path / "out"
    settings = [word for setting in SMALL for word in ("--set", setting)]
    words = (name, dataset, *options, "--seeds", 2, *settings, "--out", out)
    environment = {**lasting_head.environment, "PYTHONPATH": str(REPO)}

    def starts() -> list[list[int]]:
        """By run, the epochs at which its training began."""
        calls = [heard(path.parent) for path in out.glob(f"runs/*/{HEARD}")]
        return sorted([call["start"]["next_epoch"] for call in one if "start" in call] for one in calls)

    process = start_planner(environment, *words, "--track", WAITS, "--address", lasting_head.address)
    with ray_node(lasting_head) as kill:
        wait_until(lambda: len(list(out.glob("runs/*/metrics.jsonl"))) == 2, 90, "an epoch on both nodes")
        kill()
        go_on(out / "runs/any")
        output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    assert starts() == [[0], [0, 1]], "the run of the lost node went on from its epoch"
    for run in out.glob("runs/*/"):
        alone = begin(tmp_path / run.name, dataset, f"seed={read_run(run).config['seed']}")
        train(alone)
        assert (weights(run), curve(run)) == (weights(alone), curve(alone))


@pytest.mark.skipif(not CAN_MOUNT, reason=CANNOT_MOUNT)
def test_a_node_without_the_tools_gets_no_work_and_is_named(repo: KernelRepo, lasting_head: Head) -> None:
    head = with_tools(repo, lasting_head)
    with ray_node(head, *hiding(repo.tools)):
        code, output = run_planner(head.environment, *command(repo, head, "--limit", "4"))
    assert code == 0, output
    assert "got no more work: claude, codex, opencode not on PATH there" in output
    found = progress(repo)
    assert (found.passed, found.faults, found.retried) == (4, 0, 0)


@pytest.mark.skipif(not CAN_MOUNT, reason=CANNOT_MOUNT)
def test_a_node_with_a_full_disk_spoils_no_execution_for_good_and_gets_no_more(
    repo: KernelRepo, lasting_head: Head, tmp_path: Path
) -> None:
    head, work = with_tools(repo, lasting_head), tmp_path / "work"
    work.mkdir()
    small_disk = f'mount -t tmpfs -o size=16k none {work} && exec "$@"'
    with ray_node(head, "unshare", "-m", "sh", "-c", small_disk, "sh"):
        code, output = run_planner(head.environment, *command(repo, head, "--limit", "4", "--work-dir", work))
    assert code == 0, output
    assert "got no more work: 2 executions in a row ended in a fault there" in output
    found = progress(repo)
    assert (found.passed, found.faults) == (4, 0) and found.retried > 0


def test_a_head_that_dies_ends_the_bench_with_the_command_that_goes_on_and_it_does(
    repo: KernelRepo, lasting_head: Head
) -> None:
    with ray_head(cpus=1) as started:
        head = with_tools(repo, started)
        process = start_planner(head.environment, *command(repo, head))
        wait_until(lambda: progress(repo).finished >= 1, 90, "a first outcome")
        os.killpg(head.pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=45)
        assert process.returncode == 1
        (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
        assert "what was finished is" in line and "give the same command" in line
    hurry(repo)
    head = with_tools(repo, lasting_head)
    code, output = run_planner(head.environment, *command(repo, head))
    assert code == 0, output
    assert progress(repo).passed == 8


@pytest.mark.parametrize("what", ["head", "gcs"])
def test_a_head_that_dies_ends_a_training_with_the_command_that_goes_on_and_it_does(
    what: str, lasting_head: Head, tmp_path: Path
) -> None:
    dataset, run = FIXTURES / "frozen/dataset-v1", tmp_path / "run"
    settings = [word for setting in SMALL for word in ("--set", setting)]
    words = ("train", dataset, "--out", run, "--workers", 1, *settings, "--arch", "mlp_planner", "--track", WAITS)
    with ray_head(cpus=1, PYTHONPATH=str(REPO)) as head:
        process = start_planner(head.environment, *words, "--address", head.address)
        wait_until(lambda: process.poll() is not None or (run / "metrics.jsonl").exists(), 90, "an epoch")
        if what == "head":
            os.killpg(head.pid, signal.SIGKILL)
        else:
            kill_gcs(head)
        output, _ = process.communicate(timeout=60)
        os.killpg(head.pid, signal.SIGKILL)  # without its GCS a head may take minutes to end
    assert process.returncode == 1, output
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert "what was finished is kept" in line and f"planner train {dataset}" in line
    go_on(run)
    environment = {**lasting_head.environment, "PYTHONPATH": str(REPO)}
    code, output = run_planner(environment, *words, "--address", lasting_head.address)
    assert code == 0, output
    train(begin(tmp_path / "whole", dataset))
    assert (weights(run), curve(run)) == (weights(tmp_path / "whole"), curve(tmp_path / "whole"))


def kill_gcs(head: Head) -> None:
    """Kill the head's process that knows the cluster, as where the head is another machine; its raylet lives on."""
    for pid in processes_with("RAY_TMPDIR", head.environment):
        if b"gcs_server" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
