"""The program behind every agent tool during an execution: runs the real tool and logs its start and end.

Stdin, stdout, stderr, arguments, signals and the exit code pass through. It runs once per launch, from a script that
``fast_script`` of bench.containment makes, so it imports built-in modules only: ``signal`` or ``json`` would double
its cost.
"""

import _signal  # type: ignore[import-not-found] # without the enums of signal, which would double its cost
import os
import sys
import time

FORWARDED_SIGNALS = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGUSR1, _signal.SIGUSR2)
CHUNK_BYTES = 65536
TAIL_BYTES = 4 * CHUNK_BYTES
"""How much of the tool's stdout is kept to find its last JSON line."""


def main(log_path: str, tool: str, executable: str) -> None:
    """Run ``executable`` with this process's arguments in our place; ends the way the tool ended."""
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    launch = Launch(log, tool)
    guard = start_guard(launch)
    output_read, output_write = os.pipe()
    for number in FORWARDED_SIGNALS:
        _signal.signal(number, lambda received, _frame: launch.forward(received))
    try:
        launch.process = os.posix_spawn(
            executable,
            [executable, *sys.argv[1:]],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, output_write, 1)],
            # Python ignores these two; a tool must find them as the kernel would have left them.
            setsigdef=[_signal.SIGPIPE, _signal.SIGXFSZ],
        )
    except OSError as error:
        os.write(2, f"{executable}: {error.strerror}\n".encode())
        launch.log_end(127, b"")
        os.write(guard, b"end")
        os._exit(127)
    os.close(output_write)
    os.write(guard, b"%d\n" % launch.process)
    tail = copy_output(output_read)
    _, status = os.waitpid(launch.process, 0)
    exit_code = os.waitstatus_to_exitcode(status)
    launch.log_end(exit_code, last_json_line(tail))
    os.write(guard, b"end")
    end_like(exit_code)


class Launch:
    """One start of the tool and its two lines in the log."""

    def __init__(self, log: int, tool: str) -> None:
        self.log = log
        self.process = 0
        self.started_ns = time.monotonic_ns()
        self.key = f"{os.getpid()}-{self.started_ns}"
        self._write(f'"event":"start","tool_hex":"{tool.encode().hex()}","at_ms":{time.time_ns() // 1_000_000}')

    def log_end(self, exit_code: int | None, json_line: bytes) -> None:
        """Log the end; ``exit_code`` is null when the tool was killed together with this program."""
        elapsed_ms = (time.monotonic_ns() - self.started_ns) // 1_000_000
        code = "null" if exit_code is None else exit_code
        self._write(f'"event":"end","elapsed_ms":{elapsed_ms},"exit_code":{code},"json_line_hex":"{json_line.hex()}"')

    def forward(self, number: int) -> None:
        """Pass a signal on to the tool."""
        if self.process:
            os.kill(self.process, number)

    def _write(self, fields: str) -> None:
        # One write with O_APPEND: lines of candidates that run side by side never mix.
        os.write(self.log, f'{{"launch":"{self.key}",{fields}}}\n'.encode())


def start_guard(launch: Launch) -> int:
    """Fork the guard and return the pipe to it.

    The kernel ends a tool by SIGKILL, which nobody can forward: the guard sees the pipe close without the word "end",
    kills the tool in our place and logs when that was. It is nobody's child and in a session of its own, so that it
    survives a kernel that kills the tool's whole tree or group.
    """
    guard_read, guard_write = os.pipe()
    middle = os.fork()
    if middle:
        os.close(guard_read)
        os.waitpid(middle, 0)
        return guard_write
    if os.fork():
        os._exit(0)
    os.setsid()
    for number in FORWARDED_SIGNALS:
        _signal.signal(number, _signal.SIG_IGN)
    os.close(guard_write)
    # The kernel waits for the end of the tool's output: the guard must not hold it open.
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    message = b""
    while chunk := os.read(guard_read, 64):
        message += chunk
    if not message.endswith(b"end"):
        if message:
            kill_quietly(int(message))
        launch.log_end(None, b"")
    os._exit(0)


def kill_quietly(process: int) -> None:
    """SIGKILL a process that may already be gone."""
    try:
        os.kill(process, _signal.SIGKILL)
    except ProcessLookupError:
        return


def copy_output(source: int) -> list[bytes]:
    """Copy the tool's stdout to ours until it ends; returns its last chunks."""
    tail: list[bytes] = []
    size = 0
    while chunk := os.read(source, CHUNK_BYTES):
        tail.append(chunk)
        size += len(chunk)
        while size - len(tail[0]) >= TAIL_BYTES:
            size -= len(tail.pop(0))
        try:
            while chunk:
                chunk = chunk[os.write(1, chunk) :]
        except OSError:
            # Nobody reads any more: the tool is to feel it as if it wrote there itself.
            os.close(source)
            break
    return tail


def last_json_line(tail: list[bytes]) -> bytes:
    """The last line that looks like a JSON object, or nothing."""
    for line in reversed(b"".join(tail).splitlines()):
        if line.startswith(b"{") and line.rstrip().endswith(b"}"):
            return line
    return b""


def end_like(exit_code: int) -> None:
    """End this process with the tool's exit code or by the tool's signal."""
    if exit_code < 0:
        if -exit_code not in (_signal.SIGKILL, _signal.SIGSTOP):
            _signal.signal(-exit_code, _signal.SIG_DFL)
        os.kill(os.getpid(), -exit_code)
    os._exit(exit_code)
