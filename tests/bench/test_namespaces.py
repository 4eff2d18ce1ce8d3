"""Runs in namespaces of their own: what they see, what they can write, and that nothing of them is left."""

import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench.containment.limits import Limits
from bench.containment.namespaces import Namespaces, find_bubblewrap, name_service, network_problem, why_not
from bench.containment.network import NetworkMode, asks_this_machine, own_addresses
from bench.containment.run_supervised import RunReport, run_supervised
from bench.containment.workdirs import remove_tree
from planner.errors import BenchError
from tests.bench.benches import executor_of
from tests.bench.conftest import SMALL_KERNEL, KernelRepo
from tests.bench.test_limits import BOMB
from tests.bench.test_supervised import parent_of, python, until

pytestmark = pytest.mark.skipif(find_bubblewrap() is None, reason=f"no namespaces here: {why_not()}")


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    (tmp_path / "work" / "tmp").mkdir(parents=True)
    return tmp_path / "work"


def run(work_dir: Path, namespaces: Namespaces, script: str, wall_limit_s: float = 20, grace_s: float = 5) -> RunReport:
    """Run a shell script in namespaces; what it prints is in work_dir/log."""
    return run_supervised(
        ["sh", "-c", script],
        run_dir=work_dir,
        work_dir=work_dir,
        environment={"PATH": os.environ["PATH"], "TMPDIR": str(work_dir / "tmp")},
        log_path=work_dir / "log",
        limits=Limits(wall_limit_s),
        grace_s=grace_s,
        namespaces=namespaces,
    )


def output(work_dir: Path) -> str:
    return (work_dir / "log").read_text()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's home with a key, a repo, and in it a directory that the repo's runs need."""
    for name in ("key", "repo/secret", "repo/objects/one", "tool/login"):
        (tmp_path / "home" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "home" / name).write_text(f"this is {name}\n")
    return tmp_path / "home"


def test_it_sees_and_writes_what_it_needs_and_nothing_else_of_the_users(home: Path, work_dir: Path) -> None:
    # The places of tests lie below /tmp, which is the run's own: all is hidden that is not named.
    repo = home / "repo"
    namespaces = Namespaces(hidden=(home, repo), shown=(repo / "objects",), writable=(home / "tool",))
    script = f"""
        cat {home}/key {repo}/secret && echo READ
        cat {repo}/objects/one {home}/tool/login
        for place in {repo}/objects/one {repo}/secret /etc/passwd /usr/new; do
            (echo changed > $place) 2>/dev/null && echo WROTE $place
        done
        echo renewed > {home}/tool/login && echo result > result
        ls -A {home} {repo}
    """
    assert run(work_dir, namespaces, script).exit_code == 0
    found = output(work_dir)
    assert "READ" not in found and "this is repo/objects/one\nthis is tool/login\n" in found
    # What stands in for a hidden directory is the run's own; nothing that it writes there is kept.
    assert [line for line in found.splitlines() if line.startswith("WROTE")] == [f"WROTE {repo}/secret"]
    assert (repo / "secret").read_text() == "this is repo/secret\n"
    assert (repo / "objects" / "one").read_text() == "this is repo/objects/one\n"
    assert (home / "tool" / "login").read_text() == "renewed\n"
    assert (work_dir / "result").read_text() == "result\n"


def test_a_hidden_place_within_one_that_is_shown_stays_hidden(home: Path, work_dir: Path) -> None:
    run(work_dir, Namespaces(hidden=(home / "repo",), shown=(home,)), f"cat {home}/key; cat {home}/repo/secret")
    assert "this is key" in output(work_dir) and "this is repo" not in output(work_dir)


def test_it_sees_its_own_processes_alone_and_signals_no_other(work_dir: Path) -> None:
    script = f"ls -d /proc/[0-9]* | wc -l; kill -9 {os.getpid()} || echo nobody; cat /proc/{os.getpid()}/environ"
    run(work_dir, Namespaces(hidden=()), script)
    lines = output(work_dir).splitlines()
    # Bubblewrap, the shell, and the two programs of the pipe.
    assert int(lines[0]) <= 4 and "nobody" in lines
    assert "PYTEST_CURRENT_TEST" not in output(work_dir)


def test_what_it_left_in_the_background_ends_with_it(work_dir: Path) -> None:
    script = "(setsid sh -c 'trap \"\" TERM; cd /; exec sleep 307' >/dev/null 2>&1 &) ; sleep 0.2; exit 7"
    report = run(work_dir, Namespaces(hidden=()), script)
    assert (report.exit_code, report.left) == (7, 0)
    assert not running("sleep\x00307")


def running(command_line: str) -> list[int]:
    """Processes of this machine with such a command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if command_line.encode() in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("victims", [["worker"], ["supervisor"], ["guard"], ["guard", "supervisor"]], ids="+".join)
def test_killing_those_who_stand_over_it_even_in_one_instant_leaves_nothing(work_dir: Path, victims: list[str]) -> None:
    """Without namespaces, a process that forgot its environment outlives guard and supervisor killed at once."""
    script = (
        "import sys; from pathlib import Path; from tests.bench.test_namespaces import *\n"
        "run(Path(sys.argv[1]), Namespaces(hidden=()), 'exec env -i setsid sleep 308')"
    )
    words = [sys.executable, "-c", script, str(work_dir)]
    worker = subprocess.Popen(words, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    until(lambda: running("sleep\x00308"))
    supervisor = running("sleep\x00308")[0]
    while comm(supervisor) != "run-supervisor":
        supervisor = parent_of(supervisor)
    numbers = {"worker": worker.pid, "supervisor": supervisor, "guard": parent_of(supervisor)}
    if victims == ["guard", "supervisor"]:
        os.kill(numbers["guard"], signal.SIGSTOP)
    for name in reversed(victims):
        os.kill(numbers[name], signal.SIGKILL)
    worker.wait(20)
    until(lambda: not running("sleep\x00308"))


def comm(process: int) -> str:
    return Path(f"/proc/{process}/comm").read_text().strip()


def test_at_its_limit_it_has_its_grace(work_dir: Path) -> None:
    script = "trap 'echo writes what it has > kept; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    report = run(work_dir, Namespaces(hidden=()), script, wall_limit_s=0.7)
    assert (report.stopped_by, report.exit_code, report.left) == ("walltime", 3, 0)
    assert (work_dir / "kept").read_text() == "writes what it has\n"


def test_it_is_counted_against_its_limits(work_dir: Path) -> None:
    script = f"exec {sys.executable} -S -c \"kept = b'x' * 300_000_000; import time; time.sleep(60)\""
    report = run_supervised(
        ["sh", "-c", script],
        run_dir=work_dir,
        work_dir=work_dir,
        environment={"PATH": os.environ["PATH"]},
        log_path=work_dir / "log",
        limits=Limits(30, memory_bytes=100_000_000),
        namespaces=Namespaces(hidden=(), shown=(Path(sys.prefix), Path(sys.base_prefix))),
    )
    assert report.stopped_by == "memory"


@pytest.mark.parametrize("kind", ["group", "sessions", "orphans"])
def test_a_fork_bomb_in_it_is_stopped_and_leaves_nothing(work_dir: Path, kind: str) -> None:
    report = run_supervised(
        python(BOMB, kind, work_dir),
        run_dir=work_dir,
        work_dir=work_dir,
        environment={"PATH": os.environ["PATH"]},
        log_path=work_dir / "log",
        limits=Limits(30, processes=100),
        namespaces=Namespaces(hidden=(), shown=(Path(sys.prefix), Path(sys.base_prefix))),
    )
    # Orphans of a command that has ended are none of its own running time.
    assert (report.stopped_by, report.left) == (None if kind == "orphans" else "processes", 0)
    assert not running(str(work_dir))


def test_no_file_of_it_grows_beyond_its_limit_and_it_may_remove_the_directory_it_works_in(work_dir: Path) -> None:
    report = run_supervised(
        ["sh", "-c", 'yes > big; wc -c < big; rm -rf "$PWD"; exit 3'],
        run_dir=work_dir,
        work_dir=work_dir,
        environment={"PATH": os.environ["PATH"]},
        log_path=work_dir.parent / "log",
        limits=Limits(20, file_bytes=1_000_000),
        namespaces=Namespaces(hidden=()),
    )
    assert (report.exit_code, report.left) == (3, 0)
    assert "1000000\n" in (work_dir.parent / "log").read_text()


def test_files_in_shared_memory_and_temporary_ones_are_its_own(work_dir: Path) -> None:
    name = f"planner-test-{os.getpid()}"
    run(work_dir, Namespaces(hidden=()), f"echo x > /dev/shm/{name}; echo y > /tmp/{name}; cat /tmp/{name}")
    assert output(work_dir) == "y\n"
    assert not Path("/dev/shm", name).exists() and not Path("/tmp", name).exists()
    assert (work_dir / "tmp" / name).read_text() == "y\n"


def test_it_finds_no_socket_of_a_service(work_dir: Path) -> None:
    """Neither docker's nor systemd's, at's or cron's."""
    namespaces = Namespaces(hidden=(), shown=name_service())
    run(work_dir, namespaces, "find /run /var/run/ -type s; ls -A /run")
    assert set(output(work_dir).split()) <= {place.relative_to("/run").parts[0] for place in name_service()}


def test_it_can_neither_mount_into_its_clone_nor_make_a_file_that_stays(work_dir: Path, home: Path) -> None:
    script = f"""
        mkdir mine; mount --bind {home} mine; unshare -Urm mount --bind {home} mine
        touch file; chattr +i file
    """
    run(work_dir, Namespaces(hidden=(), writable=(home,)), script)
    assert not list((work_dir / "mine").iterdir())
    remove_tree(work_dir)
    assert not work_dir.exists() and (home / "key").exists()


PASTA_PROBLEM = network_problem("loopback-blocked")
WITH_PASTA = pytest.param(
    "loopback-blocked", marks=pytest.mark.skipif(PASTA_PROBLEM is not None, reason=f"no pasta: {PASTA_PROBLEM}")
)


@pytest.mark.parametrize("network", ["on", "off", WITH_PASTA])
def test_ports_of_this_machine_answer_on_its_own_network_alone(work_dir: Path, network: NetworkMode) -> None:
    addresses = ["127.0.0.1", *own_addresses(Path("/proc/net/fib_trie").read_text())]
    program = """
import os, socket, sys
print(os.getuid(), *[socket.socket().connect_ex((address, int(sys.argv[1]))) == 0 for address in sys.argv[2:]])
print(sum(line.split()[1] == "00000000" for line in open("/proc/net/route")))
"""
    with socket.create_server(("0.0.0.0", 0)) as server:
        words = [str(Path(sys.executable).resolve()), "-S", "-c", program, str(server.getsockname()[1]), *addresses]
        namespaces = Namespaces(hidden=(), shown=(Path(sys.base_prefix), *name_service()), network=network)
        report = run(work_dir, namespaces, shlex.join(words))
    assert (report.exit_code, report.left) == (0, 0), output(work_dir)
    reached, ways_out = output(work_dir).splitlines()
    assert reached.split() == [str(os.getuid()), *([str(network == "on")] * len(addresses))]
    assert (ways_out == "0") is (network == "off")
    assert not running("pasta\x00--foreground")


def test_a_network_that_nothing_here_can_keep_is_refused_with_its_cure(
    kernel_repo: KernelRepo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match=r"^--network loopback-blocked: pasta is not installed: install passt \(.*$"):
        executor_of(kernel_repo.root, SMALL_KERNEL, sandbox="auto", network="loopback-blocked")
    with pytest.raises(BenchError, match="--network off is kept by namespaces: leave out --sandbox off"):
        executor_of(kernel_repo.root, SMALL_KERNEL, sandbox="off", network="off")


def test_an_address_that_is_taken_away_is_refused_by_its_own_route() -> None:
    program = """
import errno, fcntl, socket
from bench.containment.own_network import SIOCADDRT, rejecting_route
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), SIOCADDRT, rejecting_route("192.0.2.7"))
for last in (6, 7):
    print(errno.errorcode[socket.socket().connect_ex((f"192.0.2.{last}", 80))])
"""
    command = ["unshare", "--map-root-user", "--net", sys.executable, "-c", program]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.stdout.split() == ["ENETUNREACH", "EHOSTUNREACH"], done.stderr


def test_the_own_addresses_of_a_machine_are_read_without_its_loopback() -> None:
    trie = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.2
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
     |-- 172.17.0.1
        /32 host LOCAL
Local:
        |-- 192.0.2.2
           /32 host LOCAL
"""
    assert own_addresses(trie) == ["192.0.2.2", "172.17.0.1"]


@pytest.mark.parametrize(
    ("text", "here"),
    [
        ("nameserver 127.0.0.53\noptions edns0\n", True),
        ("# nameserver 192.0.2.1\n", True),
        ("nameserver 127.0.0.1\nnameserver 192.0.2.1\n", False),
        ("search example.org\nnameserver 192.0.2.1", False),
    ],
)
def test_a_resolver_on_this_machine_is_known_from_its_settings(text: str, here: bool) -> None:
    assert asks_this_machine(text) is here
