"""The one place that connects to Ray: embedded and quiet by default, a running cluster when an address is given."""

import logging
import os
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cluster.head_watch import HeadWatch
from cluster.raylet_workers import end_workers, workers_of_raylets
from planner.errors import ClusterError
from planner.manner import MANNER

EMBEDDED_OBJECT_STORE_BYTES = 512 * 1024 * 1024
"""Room for the largest intermediate blocks of a laptop's dataset; Ray's own default takes 30 % of the memory."""

STARTS = 2
"""How often an embedded Ray is started that does not come up."""
LONGEST_DIRECTORY = 40
"""Characters: what Ray adds for its sockets must stay below 107 in all."""

ANSWER_WITHIN_S = 5.0
"""How long a head may take to accept a connection; Ray itself would try for minutes before it gives up."""

_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DEDUP_LOGS": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_worker_niceness": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Ray's settings that make short local work quick, its output ours and Ctrl-C immediate; a user's own values win."""

_EMBEDDED = {
    "RAY_AUTH_MODE": "token",
    "RAY_enable_metrics_collection": "0",
    "RAY_event_stats": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_memory_monitor_refresh_ms": "1000",
    "RAY_raylet_client_connect_timeout_milliseconds": "20",
    "RAY_raylet_client_num_connect_attempts": "500",
    "LOG_NAME_UPDATE_INTERVAL_S": "60",
    "METRICS_RECORD_INTERVAL_S": "60",
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
}
"""The same for a Ray that only this process sees: without its dashboard nobody asks for metrics, task events and logs,
and collecting them takes 3 % of a core for as long as Ray is there. Nobody takes this one node away with a notice,
either; to watch for that is one more process in every training. Ray's raylet tries to connect to its own object store
before that listens, and tries again after a second by default, ten times: a second of every start."""


@contextmanager
def connect(address: str | None = None, num_cpus: int | None = None) -> Iterator[Any]:
    """Ray for the length of a ``with`` block; yields the ray module.

    ``address`` or RAY_ADDRESS names a running head ("auto" finds a local one); otherwise Ray starts inside this
    process with ``num_cpus`` CPUs (default: the cores this process may use) and is shut down at the end. That must
    happen in the main thread. A connection that is open already is used and left open. Raises ClusterError when nothing
    answers at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS") or None
    for name, value in (_QUIET if address else _QUIET | _EMBEDDED).items():
        os.environ.setdefault(name, value)
    if sys.flags.optimize > 1:
        raise ClusterError(
            "Python drops docstrings (PYTHONOPTIMIZE=2 or -OO), without which Ray does not work: unset it"
        )
    if address not in (None, "auto") and "ray" not in sys.modules:
        # Before Ray, which takes a second to import, is there at all.
        _require_answer(str(address))
    import ray

    if ray.is_initialized():
        yield ray
        return
    if address is None:
        _start_embedded(ray, num_cpus or usable_cpus())
    else:
        _attach(ray, address)
    watch = None if address is None else HeadWatch(ray)
    try:
        yield ray
    finally:
        if watch is not None:
            watch.close()
        workers = workers_of_raylets() if address is None else {}
        ray.shutdown()
        end_workers(workers)


@contextmanager
def connect_where_it_pays(pays: bool, address: str | None = None) -> Iterator[Any]:
    """As :func:`connect`, but yields None and starts nothing where an embedded Ray does not pay."""
    if pays or address or os.environ.get("RAY_ADDRESS"):
        with connect(address) as ray:
            yield ray
    else:
        yield None


def usable_cpus() -> int:
    """The cores this process may run on: fewer than the machine has, in a container or under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start_embedded(ray: Any, num_cpus: int) -> None:
    if threading.current_thread() is not threading.main_thread():
        # The kernel ends Ray's processes together with the thread that started them.
        raise RuntimeError("connect() without an address must be called in the main thread")
    _require_token()
    directory = _short_directory()
    for attempt in range(STARTS):
        try:
            with _workers_look_elsewhere():
                ray.init(
                    # Never a head that happens to run on this machine: that is what --address auto asks for.
                    address="local",
                    num_cpus=num_cpus,
                    include_dashboard=False,
                    object_store_memory=EMBEDDED_OBJECT_STORE_BYTES,
                    logging_level=logging.INFO if MANNER.verbose else logging.ERROR,
                    log_to_driver=MANNER.verbose,
                    _temp_dir=directory,
                )
            _end_autoscaler(ray)
            return
        except Exception as error:  # Ray raises a bare Exception when its processes do not come up in time
            ray.shutdown()
            if attempt + 1 == STARTS:
                raise ClusterError(
                    f"Ray did not start inside this command, tried {STARTS} times: {_first_line(error)}: give the "
                    "command again when the machine is less busy, or name a running head with --address"
                ) from None


def _end_autoscaler(ray: Any) -> None:
    """It has no nodes to add. At the end it would wait for what ended before it, until Ray kills it a second later.

    The way to it is Ray's own (2.60): where it is another one, the end takes the second.
    """
    with suppress(Exception):
        ray._private.worker.global_worker.node.kill_monitor(check_alive=False)


def _require_token() -> None:
    """Let nobody in who lacks a token that only this process and those it starts know, unless the user has a mode.

    Ray listens on the machine's own address: who reaches it runs what he likes there, as this user.
    """
    if os.environ["RAY_AUTH_MODE"] != "token":
        return
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined] # compiled, without stubs

    # Where ray was imported before, it has read mode and token already.
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _workers_look_elsewhere() -> Iterator[None]:
    """Start Ray from the directory of our own packages: its workers import from where it was started first of all.

    In a repo that has a numpy.py, or is such a package, they would import that, die, and be started again for ever.
    """
    try:
        before: Path | None = Path.cwd()
    except FileNotFoundError:
        before = None
    os.chdir(Path(__file__).parents[1])
    try:
        yield
    finally:
        if before is not None:
            os.chdir(before)


def _short_directory() -> str | None:
    """Where Ray keeps its sockets and logs: None for its own choice, else a directory of ours that serves.

    Its own choice does not where TMPDIR or RAY_TMPDIR is too long for a socket's path, is no directory, or is somebody
    else's.
    """
    chosen = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR")
    if _is_usable(Path(chosen or "/tmp") / "ray"):
        return None
    for base in (Path("/tmp"), Path("/dev/shm"), Path.home()):
        own = base / f"planner-ray-{os.getuid()}"
        if _is_usable(own):
            own.mkdir(mode=0o700, exist_ok=True)
            return str(own)
    raise ClusterError(
        "no directory for Ray's sockets: set RAY_TMPDIR to a directory of your own with a path of at most "
        f"{LONGEST_DIRECTORY} characters"
    )


def _is_usable(directory: Path) -> bool:
    """Whether Ray can make its sockets below a directory, which need not exist yet."""
    if len(os.fsencode(directory.absolute())) > LONGEST_DIRECTORY:
        return False
    place = directory if directory.exists() else directory.parent
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def _attach(ray: Any, address: str) -> None:
    if address == "auto":
        address = _head_on_this_machine()
    else:
        _require_answer(address)
    try:
        with _workers_look_elsewhere():
            level = logging.INFO if MANNER.verbose else logging.ERROR
            ray.init(address=address, logging_level=level, log_to_driver=MANNER.verbose)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"Ray at {address}: {_first_line(error)} Start a head with `ray start --head`, or leave out --address and "
            "RAY_ADDRESS to run Ray inside this command"
        ) from None


def _head_on_this_machine() -> str:
    """The address that `ray start --head` left on this machine; ClusterError when there is none, or nobody answers.

    Ray itself would go on to look among all processes, and so join the private Ray of another command.
    """
    from ray._private.utils import get_ray_address_file

    path = Path(get_ray_address_file(None))
    try:
        address = path.read_text().strip()
    except OSError:
        raise ClusterError(
            f"Ray at auto: `ray start --head` has left no address in {path}: start a head, name yours as HOST:PORT, or "
            "leave out --address and RAY_ADDRESS to run Ray inside this command"
        ) from None
    try:
        _require_answer(address)
    except ClusterError as error:
        raise ClusterError(f"{path} is left over from a head that is gone, remove it: {error}") from None
    return address


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _require_answer(address: str) -> None:
    host, separator, port = address.rpartition("://")[2].rpartition(":")
    if not separator or not port.isdigit():
        raise ClusterError(f"Ray at {address}: not an address; write HOST:PORT, or auto for a head on this machine")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_WITHIN_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(
            f"Ray at {address}: nothing answers ({error}); start a head with `ray start --head --port {port}`, or "
            "leave out --address and RAY_ADDRESS to run Ray inside this command"
        ) from None
