"""A Ray head of our own, started as a user starts one and stopped without touching anybody else's."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.tune.processes import BIN, assert_nothing_left, new_environment, processes_with, wait_until

START_S = 90.0
TERM_S = 3.0
"""How long a head may take to end by itself."""
UNSHARE = shutil.which("unshare")
CAN_MOUNT = UNSHARE is not None and subprocess.run([UNSHARE, "-m", "true"], capture_output=True).returncode == 0
CANNOT_MOUNT = "this user may not make a mount namespace (unshare -m)"
WORKER_PORTS = range(10002, 20000)
"""Ray's workers listen here."""


@dataclass(frozen=True)
class Head:
    """A running head: its address, that of its dashboard if it has one, the environment that finds it as `auto`."""

    address: str
    dashboard: str
    environment: dict[str, str]
    pid: int
    """Of `ray start`, which leads a process group of its own."""


@contextlib.contextmanager
def ray_head(*, with_dashboard: bool = False, cpus: int = 2, **variables: str) -> Iterator[Head]:
    """`ray start --head`, with the dashboard that takes jobs on demand; afterwards every process of it is gone.

    ``variables`` are of its environment.
    """
    # Not pytest's own directory: Ray puts sockets there, whose paths may have 107 characters at most.
    directory = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    # RAY_TMPDIR is where `auto` looks first for a head; without it, it might find somebody else's.
    # A node that is gone is seen after five looks that find nothing: by default three seconds apart.
    # Workers would be nice to the tests beside this one, and wait.
    environment = {
        **new_environment(),
        "RAY_TMPDIR": str(directory),
        "RAY_health_check_period_ms": "500",
        "RAY_worker_niceness": "0",
        **variables,
    }
    port, dashboard, client, agent = free_ports(4)
    command = f"""{BIN / "ray"} start --head --block --num-cpus {cpus} --object-store-memory 100000000
        --disable-usage-stats --temp-dir {directory / "ray"} --port {port} --include-dashboard {with_dashboard}
        --dashboard-port {dashboard} --ray-client-server-port {client} --dashboard-agent-listen-port {agent}"""
    with (directory / "head.log").open("w") as log:
        process = subprocess.Popen(
            command.split(), env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        for number in (port, dashboard) if with_dashboard else (port,):
            wait_until(partial(answers, number), START_S, f"an answer on port {number}")
        # Written last: until then `auto` takes any other Ray that runs on this machine, for instance this session's.
        wait_until((directory / "ray" / "ray_current_cluster").exists, START_S, "the head's address, for `auto`")
        yield Head(f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}", environment, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(TERM_S)
        except subprocess.TimeoutExpired:
            # A raylet gives an actor of Ray Train's half a minute.
            for pid in processes_with("RAY_TMPDIR", environment):
                with contextlib.suppress(OSError):
                    if b"/raylet/raylet" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        os.kill(pid, signal.SIGKILL)
            process.wait(60)
        assert_nothing_left(environment)
        shutil.rmtree(directory)


@contextlib.contextmanager
def ray_node(head: Head, *before: str, cpus: int = 1) -> Iterator[Callable[[], None]]:
    """A further node that joins ``head``; yields what kills it in an instant. ``before`` is put before its command."""
    directory = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    environment = {**head.environment, "RAY_TMPDIR": str(directory)}
    command = f"""{BIN / "ray"} start --address {head.address} --block --num-cpus {cpus}
        --object-store-memory 100000000 --disable-usage-stats --min-worker-port 0 --max-worker-port 0"""
    with (directory / "node.log").open("w") as log:
        process = subprocess.Popen(
            [*before, *command.split()],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def kill() -> None:
        """What a power cut does: every process of the node at once."""
        for pid in processes_with("RAY_TMPDIR", environment):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    try:
        text = "Ray runtime started"
        wait_until(lambda: text in (directory / "node.log").read_text(), START_S, "a node that has started")
        yield kill
    finally:
        kill()
        process.wait(60)
        shutil.rmtree(directory, ignore_errors=True)


def hiding(place: Path, *exports: str) -> tuple[str, ...]:
    """What to put before a command that is not to see what is in a directory; ``exports`` are NAME=VALUE."""
    script = " && ".join([f"mount -t tmpfs none {place}", *(f"export {pair}" for pair in exports), 'exec "$@"'])
    return ("unshare", "-m", "sh", "-c", script, "sh")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, outside of the workers' range."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            number = probe.getsockname()[1]
        if number not in WORKER_PORTS and number not in found:
            found.append(number)
    return found


def answers(port: int) -> bool:
    """Whether somebody listens on ``port``."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
