"""Tests of hostile input: what a repo holds and what a run writes is refused with a reason, and nothing hangs.

Everything is read in a process of its own whose memory is limited (RLIMIT_DATA), so that reading without bounds fails.
"""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from bench.containment.workdirs import remove_tree
from bench.executors.cyntra.clone import make_clone
from bench.executors.cyntra.toolchains import read_launches
from bench.planning.cases import select_issues
from planner.actions import Action
from planner.artifacts.repo import Repo
from planner.artifacts.universe import load_kernel_config
from planner.errors import ArtifactError, BenchError
from tests.bench.benches import cases_of, executor_of
from tests.bench.conftest import SMALL_KERNEL, KernelRepo
from tests.bench.test_executor import SERIAL, execute

MEGABYTES = 100
BOUND = 200 * 2**20
"""Bytes of data that a reader may have, the interpreter and our packages included."""
PATIENCE_S = 60


def bounded(code: str, *arguments: object) -> str:
    """What ``code`` prints in a process with little memory; it must end in time."""
    start = f"import resource, sys\nresource.setrlimit(resource.RLIMIT_DATA, ({BOUND}, {BOUND}))\n"
    imports = "from pathlib import Path\n"
    done = subprocess.run(
        [sys.executable, "-c", start + imports + textwrap.dedent(code), *map(str, arguments)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def sparse(path: Path) -> None:
    """A file of 100 MB that takes no room on the disk: one endless line."""
    with path.open("wb") as file:
        file.truncate(MEGABYTES * 10**6)


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def pipe(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path)


def link_out(path: Path) -> None:
    """A link to a file of the user: were it read, its issue or its text would show."""
    secret = path.parents[3] / "secret.json"
    times = {"started_at": "2026-01-01T00:00:00Z", "completed_at": "2026-01-01T00:01:00Z"}
    run = {"status": "success", "verification": {"all_passed": True}, "metadata": times}
    event = {"id": "s3cret", "type": "workcell.started", "workcell_id": "s3cret"}
    secret.write_bytes(orjson.dumps({**event, **run}) + b"\n")
    path.symlink_to(secret)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def directory(path: Path) -> None:
    path.mkdir()


SPOILERS = [sparse, pipe, loop, link_out, device, directory]
by_name = pytest.mark.parametrize("spoil", SPOILERS, ids=lambda spoil: spoil.__name__)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    root = tmp_path / "home" / "repo"
    for name in (".beads", ".cyntra/archives/wc-1", ".cyntra/runs", ".cyntra/logs"):
        (root / name).mkdir(parents=True)
    return root


READ_REPO = """
    import orjson
    from planner.artifacts.repo import Repo
    artifacts = Repo(Path(sys.argv[1])).read_all()
    runs = [run.run_id for run in artifacts.runs]
    print(orjson.dumps([list(artifacts.issues), runs, artifacts.quarantine.entries]).decode())
"""


@pytest.mark.parametrize(
    "place",
    [
        ".beads/issues.jsonl",
        ".cyntra/logs/events.jsonl",
        ".cyntra/archives/wc-1/manifest.json",
        ".cyntra/archives/wc-1/proof.json",
        ".cyntra/archives/wc-2",
        ".cyntra/runs/evolve_world.json",
    ],
)
@by_name
def test_whatever_stands_in_the_place_of_an_artifact_is_quarantined(
    repo: Path, place: str, spoil: Callable[[Path], None]
) -> None:
    spoil(repo / place)
    issues, runs, quarantine = orjson.loads(bounded(READ_REPO, repo))
    assert (issues, runs) == ([], [])
    entries = [entry for entry in quarantine if place.startswith(entry["path"].split(":")[0])]
    assert entries and all(entry["reason"] for entry in entries)
    assert "s3cret" not in str(quarantine)


@pytest.mark.parametrize("place", [".beads", ".cyntra/archives", ".cyntra/logs", ".cyntra/runs", ".cyntra/archives/x"])
def test_a_directory_that_is_a_link_out_of_the_repo_is_not_read(repo: Path, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    (outside / "wc-7").mkdir(parents=True)
    (outside / "issues.jsonl").write_text('{"id": "s3cret"}\n')
    (outside / "events.jsonl").write_text('{"type": "workcell.started", "workcell_id": "s3cret"}\n')
    proof = {"verification": {"all_passed": True}, "metadata": {}}
    times = {"started_at": "2026-01-01T00:00:00Z", "completed_at": "2026-01-01T00:01:00Z"}
    for target in (outside, outside / "wc-7"):
        (target / "proof.json").write_bytes(orjson.dumps({**proof, "metadata": times}))
    remove_tree(repo / place)
    (repo / place).symlink_to(outside)
    artifacts = Repo(repo).read_all()
    assert (artifacts.issues, artifacts.runs) == ({}, [])
    assert any(entry["path"].startswith(place) for entry in artifacts.quarantine.entries)


def test_the_parts_of_a_world_run_are_not_read_through_links(repo: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    manifest = {"world_id": "w", "created_at": "2026-01-01T00:00:00Z", "stages": []}
    (outside / "manifest.json").write_bytes(orjson.dumps(manifest))
    (outside / "gate_verdict.json").write_bytes(orjson.dumps({"verdict": "pass"}))
    run = repo / ".cyntra" / "runs" / "run-1"
    run.mkdir()
    (run / "manifest.json").write_bytes(orjson.dumps(manifest))
    (run / "verdict").symlink_to(outside)
    evolution = repo / ".cyntra" / "runs" / "evolution"
    evolution.mkdir()
    (repo / ".cyntra" / "runs" / "linked").symlink_to(outside)
    history = [{"candidates": [{"run_id": "linked", "passed": True}], "selected_run_id": "linked"}]
    document = {"history": history, "generated_at": "2026-01-02T00:00:00Z", "population_size": 1, "generations": 1}
    (evolution / "evolve_world.json").write_bytes(orjson.dumps(document))
    assert Repo(repo).read_all().runs == []


def test_one_huge_line_costs_that_line_alone(repo: Path) -> None:
    with (repo / ".beads/issues.jsonl").open("wb") as file:
        file.write(b'{"id": "1"}\n')
        file.seek(MEGABYTES * 10**6)
        file.write(b'\n{"id": "2"}\n' + nested(100_000) + b'\n{"id": "3"}')
    issues, _, quarantine = orjson.loads(bounded(READ_REPO, repo))
    assert issues == ["1", "2", "3"]
    assert [entry["path"] for entry in quarantine if "issues" in entry["path"]] == [
        ".beads/issues.jsonl:2",
        ".beads/issues.jsonl:4",
    ]


CONFIG = """
    from planner.artifacts.universe import load_kernel_config
    from planner.errors import ArtifactError
    try:
        load_kernel_config(Path(sys.argv[1]))
    except ArtifactError as error:
        print(error)
"""


@pytest.mark.parametrize("spoil", [sparse, pipe, loop, device, directory], ids=lambda spoil: spoil.__name__)
def test_whatever_stands_in_the_place_of_the_config_is_refused(repo: Path, spoil: Callable[[Path], None]) -> None:
    spoil(repo / "config.yaml")
    assert "config.yaml: " in bounded(CONFIG, repo / "config.yaml")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "a0: &a0 [x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(12)),
            "more than",
        ),
        ("a: " + "[" * 50_000, "not YAML"),
        ("a: " + "- " * 50_000, "not YAML"),
        ("a: &a [*a]", "not YAML"),
    ],
    ids=["aliases of aliases", "deep flow", "deep block", "contains itself"],
)
def test_a_config_that_grows_when_it_is_read_is_refused(repo: Path, text: str, reason: str) -> None:
    (repo / "config.yaml").write_text(text)
    assert reason in bounded(CONFIG, repo / "config.yaml")


@pytest.mark.parametrize(
    "issue_id",
    [
        "../../x",
        "..",
        "/etc/passwd",
        "-rf",
        "--config=x",
        "a\nb",
        "a\0b",
        "",
        "a" * 121,
        "\udcff",
        "~",
    ],
    ids=ascii,
)
def test_an_id_that_is_no_plain_file_name_is_set_aside_with_a_reason(issue_id: str) -> None:
    try:
        selection = select_issues({issue_id: {"id": issue_id, "status": "open"}})
    except UnicodeEncodeError:
        pytest.fail("an id that cannot be encoded must be set aside, too")
    assert selection.issue_ids == []
    assert selection.set_aside[issue_id]


def test_an_issue_that_cannot_be_written_again_is_a_fault(kernel_repo: KernelRepo) -> None:
    kernel_repo.write_issues({"id": "1"})
    text = (kernel_repo.root / ".beads/issues.jsonl").read_bytes()
    (kernel_repo.root / ".beads/issues.jsonl").write_bytes(text.replace(b'"id"', b'"deep": ' + nested(500) + b', "id"'))
    outcome = execute(kernel_repo, SERIAL)
    assert outcome.fault is not None and outcome.fault.startswith("issue '1' cannot be written again")


def test_links_in_a_repo_under_the_names_of_our_files_lead_nowhere(kernel_repo: KernelRepo, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "issues.jsonl").write_text("the user's own")
    (kernel_repo.root / ".gitignore").write_text("")
    (case, *_) = cases_of(kernel_repo.root, n_actions=1)
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in (".beads", ".cyntra", "universes"):
        (tree / name).symlink_to(outside)
    for arguments in (("add", "."), ("commit", "--quiet", "--message=links")):
        kernel_repo.git(f"--work-tree={tree}", *arguments)
    (kernel_repo.root / "universes").mkdir()
    linked = case.model_copy(update={"base_commit": kernel_repo.git("rev-parse", "HEAD")})
    make_clone(kernel_repo.root, linked, {"id": "1"}, tmp_path / "clone", copy_universes=True)
    assert not any((tmp_path / "clone" / name).is_symlink() for name in (".beads", ".cyntra", "universes"))
    assert [path.name for path in outside.iterdir()] == ["issues.jsonl"]
    assert (outside / "issues.jsonl").read_text() == "the user's own"


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("truncate -s 100M .cyntra/archives/wc-1/proof.json", "the run wrote more artifacts than are read"),
        ("mkdir -p .cyntra/logs; truncate -s 100M .cyntra/logs/events.jsonl", "the run wrote more artifacts"),
        ("mkdir -p .cyntra/logs; cd .cyntra/logs; seq 1 21000 | xargs touch", "the run wrote more artifacts"),
        ("mv .cyntra .c; ln -s .c .cyntra", "the run has replaced its .cyntra directory"),
        ("rm -r .cyntra; mkfifo .cyntra", "the run has replaced its .cyntra directory"),
        ("rm .cyntra/archives/wc-1/*; mkfifo .cyntra/archives/wc-1/proof.json", "Cyntra archived no run"),
        ("mv .cyntra/archives/wc-1 x; ln -s ../../x .cyntra/archives/wc-1", "Cyntra archived no run"),
        ("echo nonsense >> ../launches.jsonl", "the log of launches holds what no wrapper writes"),
        ('echo \'{"event": "start", "launch": []}\' >> ../launches.jsonl', "the log of launches holds"),
        ("echo '[]' >> ../launches.jsonl", "the log of launches holds"),
        ("truncate -s 100M ../launches.jsonl", "the log of launches cannot be read: larger than"),
        ("rm ../launches.jsonl; mkfifo ../launches.jsonl", "the log of launches cannot be read: not a regular file"),
        ("rm ../kernel.log; mkfifo ../kernel.log; exit 3", "Cyntra ended with exit code 3"),
        ("truncate -s 100M ../kernel.log; exit 3", "Cyntra ended with exit code 3"),
        (f"{sys.executable} -c 'import os; [(os.mkdir(str(1)), os.chdir(str(1))) for _ in range(3000)]'", ""),
    ],
)
def test_whatever_a_run_leaves_behind_its_outcome_has_a_reason(
    kernel_repo: KernelRepo, tmp_path: Path, script: str, reason: str
) -> None:
    kernel_repo.write_tool("codex", "#!/bin/sh\ncat > prompt.txt\necho done > solved.txt\n")
    kernel = tmp_path / "kernel"
    kernel.write_text(f'#!/bin/sh\n{sys.executable} {SMALL_KERNEL[-1]} "$@"\n{script}\n')
    kernel.chmod(0o755)
    outcome = execute(kernel_repo, SERIAL, command=[str(kernel)])
    if reason:
        assert outcome.fault is not None and outcome.fault.startswith(reason)
        assert len(outcome.fault) < 1000
    else:
        assert outcome.passed
    assert list((kernel_repo.root.parent / "work").iterdir()) == []


def test_an_endless_log_of_launches_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/zero")
    with pytest.raises(BenchError, match="not a regular file"):
        read_launches(tmp_path / "log", 0)


def test_a_universe_whose_id_looks_like_an_option_is_refused(kernel_repo: KernelRepo) -> None:
    with pytest.raises(BenchError, match="take its name for an option"):
        executor_of(kernel_repo.root, SMALL_KERNEL, universe_id="--config=/tmp/evil.yaml")


def test_texts_full_of_shell_reach_nobodys_shell(kernel_repo: KernelRepo) -> None:
    hostile = "`touch pwned`; $(touch pwned)\n| touch pwned && touch pwned #\0'\"--help"
    kernel_repo.write_issues({"id": "1", "title": hostile, "description": hostile, "tags": [hostile]})
    outcome = execute(kernel_repo, Action("serial_handoff", 1, 15, "NA"))
    assert outcome.fault is None
    assert not list(kernel_repo.root.parent.rglob("pwned"))


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file"):
        load_kernel_config(tmp_path / "config.yaml")
