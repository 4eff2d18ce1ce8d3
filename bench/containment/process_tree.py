"""A command and everything it started: started, watched, ended as a whole, however far its processes detach themselves.

Only used by the supervisor's own program (``supervisor``), which needs nothing but the standard library.
"""

import ctypes
import errno
import os
import resource
import select
import signal
import time
from signal import SIGKILL, SIGTERM

from bench.containment.control_group import ControlGroup

DEFAULTED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTERM, signal.SIGXFSZ)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
KILL_PATIENCE_S = 30.0
"""How long processes that SIGKILL does not end (stuck in the operating system) are waited for."""
WATCH_INTERVAL_S = 0.1
WATCH_SHARE = 0.02
"""Part of one CPU that looking at the processes of a run may take."""
FULL_BYTES = 2**20
"""A file system with less space than this counts as full: what a tool or a test writes next fails."""
OOM_SCORE = 500
"""Of -1000 to 1000: when the machine itself is out of memory, it is to end the run and not the bench."""


class ProcessTree:
    """All descendants of this process, which must be their subreaper: :func:`become_subreaper` makes it so."""

    def __init__(self, enclosed: bool = False, group: ControlGroup | None = None) -> None:
        """``enclosed``: the command only stands before the real one, and all ends in an instant if it does.

        ``group``: the cgroup that the command is started in, and which all it starts is in as well.
        """
        self._enclosed = enclosed
        self._group = group
        self.cpu_s = 0.0
        """Of the processes that have ended and were waited for by their parents, or by us."""
        self.status: int | None = None
        """Of the command, as wait gives it."""
        self.left = 0
        """Processes that could not be killed."""
        self.root = 0

    def start(self, command: list[str], run_dir: str) -> None:
        """Start ``command`` in ``run_dir`` in a session of its own; OSError when that is not possible."""
        self.root = _start(command, run_dir, self._group)

    def wait(self, handles: dict[int, str], limits: "Deadlines", watch: "Watch") -> str | None:
        """Wait for the command's end; returns why it is to be ended before, or None when it ended by itself.

        ``handles`` are file descriptors with the reason to stop when one of them becomes readable;
        ``limits.source`` is read as new limits arrive there, and its end means "cancelled".
        """
        root_handle = os.pidfd_open(self.root)
        poller = select.poll()
        for descriptor in (root_handle, limits.source, *handles):
            poller.register(descriptor, select.POLLIN)
        try:
            while (remaining := limits.at - time.monotonic()) > 0:
                ready = dict(poller.poll(min(remaining, WATCH_INTERVAL_S) * 1000))
                if root_handle in ready:
                    return None
                if limits.source in ready and not limits.read():
                    return "cancelled"
                for descriptor, reason in handles.items():
                    if descriptor in ready:
                        return reason
                if (exceeded := watch.exceeded()) is not None:
                    return exceeded
            return limits.reason
        finally:
            os.close(root_handle)

    def end(self, grace_s: float, watch: "Watch") -> None:
        """End every process: SIGTERM, then after the grace, or when the watch finds too much, :meth:`kill`."""
        if self.is_over():
            return
        _send(SIGTERM, [found for found in descendants() if not (self._enclosed and found.number == self.root)])
        grace_ends = time.monotonic() + grace_s
        while time.monotonic() < grace_ends and watch.exceeded() is None:
            if self.is_over():
                return
            time.sleep(0.02)
        self.kill()

    def kill(self) -> None:
        """SIGKILL in rounds until no process is left: each round takes what was born during the one before."""
        if self._group is not None:
            self._group.kill()
        patience_ends = time.monotonic() + KILL_PATIENCE_S
        before: set[int] = set()
        while not self.is_over():
            found = descendants()
            if time.monotonic() > patience_ends:
                self.left = len(found)
                return
            _kill_groups(found)
            _send(SIGKILL, found)
            processes = {process.number for process in found}
            if processes <= before:
                # All of them have their signal: they only need time to end.
                time.sleep(0.01)
            before = processes

    def is_over(self) -> bool:
        """Collect the children that have ended; whether none is left. Orphans of the tree become our children."""
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


class Deadlines:
    """The earliest of the limits of time: the one given, and those that arrive at ``source`` as lines.

    A line is ``REASON SECONDS``, counted from ``started`` (on the clock of time.monotonic) as the first limit is.
    """

    def __init__(self, source: int, started: float, wall_s: float) -> None:
        self.source = source
        self.at = started + wall_s
        self.reason = "walltime"
        self._started = started
        self._unread = b""

    def read(self) -> bool:
        """Take in what has arrived; False when the other end is closed."""
        data = os.read(self.source, 4096)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            reason, seconds = line.decode().split()
            at = self._started + float(seconds)
            if at < self.at:
                self.at, self.reason = at, reason
        return bool(data)


class Watch:
    """Compares what the descendants of this process use with limits, None = no such limit; and looks at their disk.

    A cgroup keeps its limits itself, and is only asked. Without one: a run can use no more than the whole machine does,
    which one look shows (0.03 ms): processes are only looked at when the machine's use is above a limit, and then for
    at most WATCH_SHARE of a CPU.
    """

    def __init__(
        self, memory_bytes: int | None, max_tasks: int | None, directory: str, group: ControlGroup | None = None
    ) -> None:
        self._memory_bytes = memory_bytes
        self._max_tasks = max_tasks
        self._group = group
        # Kept open: a run may remove or replace the directory that it works in.
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        self._next_look = 0.0

    def met(self) -> str | None:
        """What we need not look at processes for: "disk" when that is full; the limit that a cgroup has come to."""
        if self.disk_is_full():
            return "disk"
        return None if self._group is None else self._group.exceeded()

    def exceeded(self) -> str | None:
        """The limit that the tree exceeds, "memory" or "processes"; "disk" when that is full; or None."""
        met = self.met()
        if met is not None or self._group is not None:
            return met
        memory_possible = self._memory_bytes is not None and _machine_memory() > self._memory_bytes
        tasks_possible = self._max_tasks is not None and machine_tasks() > self._max_tasks
        if not (memory_possible or tasks_possible) or time.monotonic() < self._next_look:
            return None
        began = time.process_time()
        try:
            found = descendants()
            if self._max_tasks is not None and sum(process.n_tasks for process in found) > self._max_tasks:
                return "processes"
            if self._memory_bytes is not None and self._uses_more_memory(found, self._memory_bytes):
                return "memory"
            return None
        finally:
            self._next_look = time.monotonic() + (time.process_time() - began) / WATCH_SHARE

    def disk_is_full(self) -> bool:
        """Whether no space is left where the run works, whoever took it."""
        disk = os.fstatvfs(self._directory)
        # What is kept for root is there for root.
        blocks, files = (disk.f_bavail, disk.f_favail) if os.geteuid() else (disk.f_bfree, disk.f_ffree)
        # A file system that makes files as needed reports 0 of 0.
        return blocks * disk.f_frsize < FULL_BYTES or (disk.f_files > 0 and files == 0)

    @staticmethod
    def _uses_more_memory(found: list["Process"], limit: int) -> bool:
        """By resident memory, which counts shared pages once per process; only when that is too much, exactly."""
        if sum(process.resident_bytes for process in found) <= limit:
            return False
        return sum(_own_memory(process) for process in found) > limit


class Process:
    """One living process, as /proc shows it. Resident memory in bytes; tasks are its threads."""

    __slots__ = ("group", "n_tasks", "number", "resident_bytes", "session")

    def __init__(self, number: int, group: int, session: int, n_tasks: int, resident_bytes: int) -> None:
        self.number = number
        self.group = group
        self.session = session
        self.n_tasks = n_tasks
        self.resident_bytes = resident_bytes


def descendants() -> list[Process]:
    """All processes below this one, ended ones that nobody has waited for included."""
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    children: dict[int, list[Process]] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - thousands of them, of which only names are wanted
        if entry[0] not in "123456789":
            continue
        text = _read(f"/proc/{entry}/stat")
        # The name in parentheses may itself hold any characters.
        fields = text[text.rfind(b")") + 1 :].split()
        if len(fields) > 21:
            process = Process(int(entry), int(fields[2]), int(fields[3]), int(fields[17]), int(fields[21]) * page_bytes)
            children.setdefault(int(fields[1]), []).append(process)
    found: list[Process] = []
    frontier = [os.getpid()]
    while frontier:
        below = children.get(frontier.pop(), [])
        found += below
        frontier += [process.number for process in below]
    return found


def become_subreaper() -> None:
    """Make this process the parent of every descendant whose own parent ends. It is kept across exec, not by a fork."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Have this process killed when the thread that forked it ends, which is the only one of our programs.

    It is kept across exec, but not by set-uid programs; children do not inherit it.
    """
    _prctl(PR_SET_PDEATHSIG, SIGKILL)


def take_name(name: str) -> None:
    """Be called ``name`` (at most 15 characters) where processes are listed, instead of as the one that forked us."""
    try:
        descriptor = os.open("/proc/self/comm", os.O_WRONLY)
    except OSError:
        return
    os.write(descriptor, name.encode())
    os.close(descriptor)


def take_precedence() -> None:
    """Run before all ordinary processes, where we may: a thousand busy ones of a run leave little time to others."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except OSError:
        return


def machine_tasks() -> int:
    """Threads of the whole machine; 0 where that is not known."""
    try:
        return int(_read("/proc/loadavg").split()[3].partition(b"/")[2])
    except (IndexError, ValueError):
        return 0


def limit_resources(file_bytes: int | None, max_tasks: int | None) -> None:
    """Set the limits that the operating system itself keeps, for this process and all that it starts."""
    if file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    if max_tasks is not None:
        # It counts all tasks of the user, other runs included, and does not bind root: no more than a backstop for
        # what grows in between two looks of the watch, and wide enough that runs do not meet it together.
        backstop = machine_tasks() + 2 * max_tasks
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        if hard == resource.RLIM_INFINITY or backstop < hard:
            resource.setrlimit(resource.RLIMIT_NPROC, (backstop, backstop))


def _start(command: list[str], run_dir: str, group: ControlGroup | None) -> int:
    """Fork and exec by hand, for posix_spawn cannot set the death signal."""
    ourselves = os.getpid()
    error_read, error_write = os.pipe()
    child = os.fork()
    if child:
        os.close(error_write)
        code = os.read(error_read, 16)
        os.close(error_read)
        if code:
            os.waitpid(child, 0)
            raise OSError(int(code), os.strerror(int(code)))
        return child
    try:
        os.setsid()
        die_with_parent()
        if os.getppid() != ourselves:
            os._exit(127)
        _prefer_for_oom()
        if group is not None:
            group.enter()
        # The command must find signals at their defaults: Python ignores some, and so may whoever started the bench.
        for number in DEFAULTED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.chdir(run_dir)
        os.execvpe(command[0], command, os.environ)
    except OSError as error:
        os.write(error_write, b"%d" % (error.errno or errno.EINVAL))
    finally:
        os._exit(127)


def _prefer_for_oom() -> None:
    try:
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(descriptor, b"%d" % OOM_SCORE)
        os.close(descriptor)
    except OSError:
        # Refused where the whole container already has a higher score.
        return


def _kill_groups(found: list[Process]) -> None:
    """SIGKILL process groups: unlike a walk over processes, that is one step, from which no fork in the group escapes.

    A group lies in one session, and only descendants of a session's leader are in it: none of another tree is hit.
    """
    own_session = os.getsid(0)
    for group in {process.group for process in found if process.session != own_session}:
        try:
            os.killpg(group, SIGKILL)
        except OSError:
            continue


def _send(number: int, processes: list[Process]) -> None:
    """Send a signal to processes of which some may be gone."""
    for process in processes:
        try:
            os.kill(process.number, number)
        except OSError:
            continue


def _own_memory(process: Process) -> int:
    """Bytes of its anonymous and shared memory, divided by those who share it; pages of files can be given up."""
    counted = 0
    for line in _read(f"/proc/{process.number}/smaps_rollup").splitlines():
        if line.startswith((b"Pss_Anon:", b"Pss_Shmem:")):
            counted += int(line.split()[1]) * 1024
    return counted


def _machine_memory() -> int:
    """Bytes in use on the whole machine that cannot be given up; no limit is below 0, where that is not known."""
    known = {}
    for line in _read("/proc/meminfo").splitlines()[:5]:
        name, _, value = line.partition(b":")
        known[name] = int(value.split()[0]) * 1024
    return known.get(b"MemTotal", 0) - known.get(b"MemAvailable", 0)


def _read(path: str) -> bytes:
    """The start of a file of /proc; nothing when the process has just ended."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 8192)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None).prctl(option, value, 0, 0, 0):
        raise OSError(errno.EINVAL, f"prctl({option}) is refused")
