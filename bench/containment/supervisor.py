"""The program that stands over one kernel run: limits it and leaves none of its processes behind.

Started by ``forkserver`` with the arguments ``CONTROL REPORT LOCK WALL_S GRACE_S MEMORY_BYTES PROCESSES
FILE_BYTES RUN_DIR WORK_DIR ENCLOSED GROUP COMMAND...``: the first three are inherited file descriptors, a limit may be
"none", 1 as ENCLOSED says that the command is bubblewrap, which runs the real one in namespaces, and GROUP is the path
of the cgroup to make for it, or "none".

It is two processes. The supervisor starts the command, is the subreaper of its tree, and ends it. The guard, its
parent, is a subreaper too and does nothing, unless the supervisor is killed: then the tree becomes its own and it ends
it. If the guard is killed, the supervisor ends the run. So no single SIGKILL, of worker, supervisor or guard, lets a
process escape, whatever that process did to its session, group, name or environment. Who kills guard and supervisor in
the same moment is left with ``strays``. What a run asks of others (docker, at, systemd-run) is not in its tree.
"""

import os
import select
import signal
import time
from pathlib import Path
from signal import SIGCONT

from bench.containment.control_group import ControlGroup
from bench.containment.mounts import detach_mounts
from bench.containment.process_tree import (
    Deadlines,
    ProcessTree,
    Watch,
    become_subreaper,
    limit_resources,
    take_name,
    take_precedence,
)

WITHOUT_GRACE = ("memory", "processes", "disk")
"""A run that takes the machine down is not asked to end first."""
DEATH_S = 1.0
"""How long a killed worker may take until its files are closed."""
LOST = "lost"
"""Stopped because the guard was: nobody stands over this program any more. The worker gets no report."""


def main(arguments: list[str]) -> None:
    """Run the command to its end or limit, kill what is left, report one JSON line; never returns."""
    control, report, lock = (int(number) for number in arguments[:3])
    work_dir, enclosed = arguments[9], arguments[10] == "1"
    group = None if arguments[11] == "none" else ControlGroup(Path(arguments[11]))
    os.setsid()
    become_subreaper()
    for descriptor in (control, report, lock):
        os.set_inheritable(descriptor, False)
    supervisor = os.fork()
    if supervisor:
        guard(supervisor, control, work_dir, group)
    supervise(control, report, arguments[3:9], work_dir, enclosed, group, arguments[12:])


def guard(supervisor: int, control: int, work_dir: str, group: ControlGroup | None) -> None:
    """Wait for the supervisor; when it was killed, end the run's processes. It is not to be stopped either."""
    take_name("run-guard")
    while os.WIFSTOPPED(status := os.waitpid(supervisor, os.WUNTRACED)[1]):
        os.kill(supervisor, SIGCONT)
    tree = ProcessTree(group=group)
    if not tree.is_over():
        tree.kill()
    if group is not None:
        group.remove()
    # Killed together with the supervisor, a worker takes its time to end. Else it is told now: it waits for our end.
    if not is_open(control, DEATH_S if os.WIFSIGNALED(status) else 0.0):
        remove(work_dir)
    os._exit(0)


def supervise(
    control: int,
    report: int,
    limits: list[str],
    work_dir: str,
    enclosed: bool,
    group: ControlGroup | None,
    command: list[str],
) -> None:
    """Run the command and write the report, unless nobody would read it."""
    take_name("run-supervisor")
    become_subreaper()
    take_precedence()
    guard_handle = os.pidfd_open(os.getppid())
    wall_s, grace_s = map(float, limits[:2])
    memory_bytes, max_tasks, file_bytes = (None if limit == "none" else int(limit) for limit in limits[2:5])
    tree, watch = ProcessTree(enclosed, group), Watch(memory_bytes, max_tasks, work_dir, group)
    started = time.monotonic()
    try:
        if group is not None:
            group.make(memory_bytes, max_tasks)
        limit_resources(file_bytes, max_tasks)
        tree.start(command, limits[5])
    except OSError as error:
        if group is not None:
            group.remove()
        write(report, f'{{"error":"{error.strerror or "unknown"}"}}\n')
        os._exit(0)
    stopped_by = tree.wait({guard_handle: LOST}, Deadlines(control, started, wall_s), watch)
    wall_ms = round((time.monotonic() - started) * 1000)
    if stopped_by is None:
        # How it ended says nothing: it may have failed for want of space, memory or processes before we looked.
        stopped_by = watch.met()
    if stopped_by in WITHOUT_GRACE:
        tree.kill()
    else:
        tree.end(grace_s, watch)
    if group is not None:
        group.remove()
    if not is_open(control):
        # Nobody else knows of this directory any more.
        remove(work_dir)
    elif stopped_by != LOST:
        write(report, report_line(tree, wall_ms, stopped_by))
    # The worker waits for the guard's end as well, which a run may have stopped.
    signal.pidfd_send_signal(guard_handle, SIGCONT)
    os._exit(0)


def is_open(control: int, patience_s: float = 0.0) -> bool:
    """Whether the worker still holds the other end of the control pipe, and does so for that long."""
    poller = select.poll()
    poller.register(control, 0)
    # Without asking for data, only its end is told.
    return not poller.poll(1000 * patience_s)


def remove(work_dir: str) -> None:
    """Remove the directory of a run whose worker is dead, unless something is mounted there that we may not detach."""
    os.chdir("/")
    if detach_mounts(work_dir):
        return
    # Unlike Python's, it removes directories however deep they are.
    os.waitpid(os.posix_spawnp("rm", ["rm", "-rf", "--", work_dir], os.environ), 0)


def report_line(tree: ProcessTree, wall_ms: int, stopped_by: str | None) -> str:
    """One JSON line: exit code (minus the signal if killed), wall and CPU ms, our reason for stopping, what is left."""
    exit_code = "null" if tree.status is None else os.waitstatus_to_exitcode(tree.status)
    reason = "null" if stopped_by is None else f'"{stopped_by}"'
    return (
        f'{{"exit_code":{exit_code},"wall_ms":{wall_ms},"cpu_ms":{round(tree.cpu_s * 1000)},'
        f'"stopped_by":{reason},"left":{tree.left}}}\n'
    )


def write(report: int, line: str) -> None:
    """Write to a worker that may be gone."""
    try:
        os.write(report, line.encode())
    except BrokenPipeError:
        return
