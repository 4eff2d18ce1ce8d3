"""The program that stands over one kernel run: limits its time and leaves none of its processes behind.

Started by ``bench.supervised`` as ``python -S -E supervisor.py LIVENESS REPORT LOCK WALL_S GRACE_S RUN_DIR WORK_DIR
COMMAND...``, where the first three are inherited file descriptors. Stdlib only, for a fast start.
"""

import ctypes
import os
import select
import sys
import time

SIGKILL, SIGTERM = 9, 15
DEFAULTED = (1, 2, 3, 13, 15, 25)
"""SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGXFSZ."""
PR_SET_CHILD_SUBREAPER = 36
KILL_PATIENCE_S = 30.0
"""How long processes that SIGKILL does not end (stuck in the operating system) are waited for."""


def main(arguments: list[str]) -> None:
    """Detach from the worker, run the command to its end or limit, kill what is left, report one JSON line."""
    liveness, report, lock = (int(number) for number in arguments[:3])
    wall_limit_s, grace_s = float(arguments[3]), float(arguments[4])
    run_dir, work_dir, command = arguments[5], arguments[6], arguments[7:]
    # Ray kills a worker's direct children with it: only a grandchild in a session of its own outlives the worker.
    if os.fork():
        os._exit(0)
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for descriptor in (liveness, report, lock):
        os.set_inheritable(descriptor, False)
    started = time.monotonic()
    try:
        os.chdir(run_dir)
        tree = ProcessTree(command)
    except OSError as error:
        os.write(report, b'{"error":"%s"}\n' % (error.strerror or "unknown").encode())
        return
    stopped_by = tree.wait(liveness, started + wall_limit_s)
    wall_ms = round((time.monotonic() - started) * 1000)
    tree.end(grace_s)
    worker_alive = is_open(liveness)
    if worker_alive:
        write_report(report, tree, wall_ms, stopped_by)
    else:
        # Nobody else knows of this directory any more. Imported here because a normal run does without.
        import shutil

        os.chdir("/")
        shutil.rmtree(work_dir, ignore_errors=True)


class ProcessTree:
    """The command and everything it started, however far those processes have detached themselves."""

    def __init__(self, command: list[str]) -> None:
        self.cpu_s = 0.0
        self.status: int | None = None
        self.left = 0
        # The command must find signals at their defaults: Python ignores some, and so may whoever started the bench.
        self.root = os.posix_spawnp(command[0], command, os.environ, setsid=True, setsigdef=DEFAULTED)

    def wait(self, liveness: int, deadline: float) -> str | None:
        """Wait for the command's end; returns why we stop it before, or None when it ended by itself."""
        root_handle = os.pidfd_open(self.root)
        poller = select.poll()
        poller.register(root_handle, select.POLLIN)
        poller.register(liveness, select.POLLIN)
        try:
            while (remaining := deadline - time.monotonic()) > 0:
                ready = {descriptor for descriptor, _ in poller.poll(min(remaining, 3600.0) * 1000)}
                if root_handle in ready:
                    return None
                if liveness in ready:
                    return "cancelled"
            return "walltime"
        finally:
            os.close(root_handle)

    def end(self, grace_s: float) -> None:
        """End every process of the tree: SIGTERM, then after the grace SIGKILL until none is left."""
        if self._reap():
            return
        send(SIGTERM, descendants())
        grace_ends = time.monotonic() + grace_s
        while time.monotonic() < grace_ends:
            if self._reap():
                return
            time.sleep(0.02)
        patience_ends = time.monotonic() + KILL_PATIENCE_S
        while not self._reap():
            remaining = descendants()
            if time.monotonic() > patience_ends:
                self.left = len(remaining)
                return
            send(SIGKILL, remaining)
            time.sleep(0.01)

    def _reap(self) -> bool:
        """Collect ended children; whether none is left. Orphans of the tree become our children (subreaper)."""
        while True:
            try:
                process, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if process == 0:
                return False
            self.cpu_s += usage.ru_utime + usage.ru_stime
            if process == self.root:
                self.status = status


def descendants() -> list[int]:
    """All living processes below this one, from /proc."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - pathlib costs a third of this program's start
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:  # noqa: PTH123
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry))
    found: list[int] = []
    frontier = [os.getpid()]
    while frontier:
        below = children.get(frontier.pop(), [])
        found += below
        frontier += below
    return found


def send(number: int, processes: list[int]) -> None:
    """Send a signal to processes of which some may be gone."""
    for process in processes:
        try:
            os.kill(process, number)
        except OSError:
            continue


def is_open(liveness: int) -> bool:
    """Whether the worker still holds the other end of the liveness pipe."""
    poller = select.poll()
    poller.register(liveness, select.POLLIN)
    return not poller.poll(0)


def write_report(report: int, tree: ProcessTree, wall_ms: int, stopped_by: str | None) -> None:
    """One JSON line: exit code (minus the signal if killed), wall and CPU ms, our reason for stopping, what is left."""
    exit_code = "null" if tree.status is None else os.waitstatus_to_exitcode(tree.status)
    reason = "null" if stopped_by is None else f'"{stopped_by}"'
    line = (
        f'{{"exit_code":{exit_code},"wall_ms":{wall_ms},"cpu_ms":{round(tree.cpu_s * 1000)},'
        f'"stopped_by":{reason},"left":{tree.left}}}\n'
    )
    try:
        os.write(report, line.encode())
    except BrokenPipeError:
        return


if __name__ == "__main__":
    main(sys.argv[1:])
    os._exit(0)
