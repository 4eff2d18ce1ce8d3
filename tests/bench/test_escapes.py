"""What an agent may try of the user's and to outlive its run: in an execution with namespaces and in one without.

The attempts, which one execution makes together, are in ``escapes``; here also those that need a world of their own.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.containment.namespaces import find_bubblewrap, why_not
from bench.containment.workdirs import remove_tree
from planner.contracts.bench import BenchOutcome
from planner.errors import BenchError
from tests.bench.benches import executor_of
from tests.bench.conftest import SMALL_KERNEL, KernelRepo
from tests.bench.escapes import ESCAPES, HOME, ptrace_is_restricted, try_everything
from tests.bench.ordinary_user import ROOT, as_ordinary_user, is_root
from tests.bench.test_executor import SERIAL, execute
from tests.bench.test_supervised import python, supervise, until

pytestmark = pytest.mark.skipif(find_bubblewrap() is None, reason=f"no namespaces here: {why_not()}")

TOOL = """#!/bin/sh
{attempt} && touch solved.txt
echo '{{"cost": 0}}'
"""


@pytest.fixture(scope="module", params=["ourselves", "an ordinary user"])
def tried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All attempts, by this user, and by one without rights where this one is root: see try_everything."""
    if request.param == "ourselves":
        return try_everything(tmp_path_factory.mktemp("escapes"))
    if not is_root():
        pytest.skip("this user is the ordinary one")
    if subprocess.run(as_ordinary_user(["true"]), capture_output=True).returncode:
        pytest.skip("root may not become another user here")
    command = as_ordinary_user([sys.executable, "-B", "-m", "tests.bench.escapes"])
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("what", ESCAPES)
def test_an_agent_gets_nowhere_in_namespaces_and_where_the_documents_say_so_without(tried: Any, what: str) -> None:
    assert not tried["auto"]["worked"][what]
    if not (what.startswith("traces") and ptrace_is_restricted()):
        assert tried["off"]["worked"][what] is ESCAPES[what].without


@pytest.mark.parametrize("sandbox", ["auto", "off"])
@pytest.mark.parametrize("root", ["stay", "leave"])
def test_whatever_a_process_does_to_get_away_it_is_gone_when_the_run_ends(tried: Any, root: str, sandbox: str) -> None:
    assert tried[sandbox]["living"][root] == []


def test_every_attempt_is_in_the_documents_and_what_comes_of_it() -> None:
    text = (ROOT / "docs" / "containment.md").read_text()
    assert [what for what in ESCAPES if f"| {what} |" not in text] == []


def test_without_namespaces_limits_wait_while_supervisor_and_guard_are_stopped(tmp_path: Path) -> None:
    script = """
import os, signal, time
supervisor = os.getppid()
guard = int(open(f"/proc/{supervisor}/stat").read().rpartition(")")[2].split()[1])
os.kill(guard, signal.SIGSTOP)
os.kill(supervisor, signal.SIGSTOP)
time.sleep(1.5)
os.kill(supervisor, signal.SIGCONT)
os.kill(guard, signal.SIGCONT)
time.sleep(60)
"""
    report = supervise(tmp_path / "w", *python(script), wall_limit_s=0.3)
    assert report.stopped_by == "walltime" and report.wall_ms > 1400


def test_without_namespaces_a_run_that_holds_its_control_pipe_outlives_its_worker(tmp_path: Path) -> None:
    """Until its limit of time."""
    script = """
import os, signal, sys, time
place = f"/proc/{os.getppid()}/fd"
held = [os.open(f"{place}/{name}", os.O_RDWR) for name in os.listdir(place)
        if os.readlink(f"{place}/{name}").startswith("pipe:")]
os.kill(int(sys.argv[1]), signal.SIGKILL)
time.sleep(0.5)
open(sys.argv[2], "w").close()
time.sleep(60)
"""
    worker = (
        "import os, sys; from pathlib import Path; from tests.bench.test_supervised import *\n"
        "supervise(Path(sys.argv[1]), *python(sys.argv[2], os.getpid(), sys.argv[3]), wall_limit_s=2)"
    )
    outlived = tmp_path / "outlived"
    words = [sys.executable, "-c", worker, str(tmp_path / "w"), script, str(outlived)]
    assert subprocess.run(words, cwd=ROOT).returncode == -signal.SIGKILL
    until(outlived.exists)
    until(lambda: not (tmp_path / "w").exists())


def test_without_namespaces_a_file_that_root_makes_immutable_stays(tmp_path: Path) -> None:
    (tmp_path / "probe").touch()
    if subprocess.run(["chattr", "+i", tmp_path / "probe"], capture_output=True).returncode:
        pytest.skip("this user or this file system makes no file immutable")
    subprocess.run(["chattr", "-i", tmp_path / "probe"], check=True)
    supervise(tmp_path / "w", "sh", "-c", "touch file; chattr +i file")
    remove_tree(tmp_path / "w")
    assert (tmp_path / "w" / "file").exists()
    subprocess.run(["chattr", "-i", tmp_path / "w" / "file"], check=True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home with a key, and logins of the tools."""
    for name, text in HOME.items():
        (tmp_path / "home" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "home" / name).write_text(text)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def attempt(repo: KernelRepo, shell: str, **options: Any) -> BenchOutcome:
    """What came of an attempt by the tool codex: it passes if the attempt has worked."""
    repo.write_tool("codex", TOOL.format(attempt=shell))
    outcome = execute(repo, SERIAL, extra_path=[repo.tools], **options)
    assert outcome.fault is None, outcome.fault
    return outcome


def test_an_agent_finds_its_own_login_but_not_that_of_a_tool_which_is_not_used(
    home: Path, kernel_repo: KernelRepo
) -> None:
    (kernel_repo.tools / "claude").unlink()
    login = "$HOME/.codex/auth.json"
    shell = f'test ! -e "$HOME/.claude" && grep -q login "{login}" && echo new > "{login}"'
    assert attempt(kernel_repo, shell, sandbox="require").passed
    assert (home / ".codex/auth.json").read_text() == "new\n"


def test_a_place_that_is_allowed_is_read_and_is_written_only_where_that_is_allowed_too(
    home: Path, kernel_repo: KernelRepo
) -> None:
    read, write = f'grep -q secret "{home}/.ssh/id"', f'echo mine > "{home}/.ssh/id"'
    assert attempt(kernel_repo, read, sandbox="auto", allowed=[str(home / ".ssh")]).passed
    assert not attempt(kernel_repo, write, sandbox="auto", allowed=[str(home / ".ssh")]).passed
    assert attempt(kernel_repo, write, sandbox="auto", allowed=[f"{home / '.ssh'}:rw"]).passed
    with pytest.raises(BenchError, match="--allow-path /nowhere: there is no"):
        executor_of(kernel_repo.root, SMALL_KERNEL, sandbox="auto", allowed=["/nowhere"])
