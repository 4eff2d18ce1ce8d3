"""Connecting to Ray: quick and clear when nothing answers, and nothing left after Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.cluster.heads import free_ports
from tests.tune.processes import assert_nothing_left, new_environment, run_planner, wait_until

WAITS = """
import sys, time
from pathlib import Path
from typing import Any
from cluster.connect import connect
def wait(ready):
    Path(ready).write_text("working")
    time.sleep(600)
with connect(num_cpus=1) as ray:
    ray.get(ray.remote(wait).remote(sys.argv[1]))
"""
LEAVES_STRAYS = """
import subprocess, sys, time
from cluster.connect import connect
STRAY = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], start_new_session=True)"
def start():
    # Each in a session of its own: nobody ends them with the worker.
    subprocess.Popen([sys.executable, "-c", PARENT, STRAY], start_new_session=True)
with connect(num_cpus=1) as ray:
    ray.get(ray.remote(start).remote())
    time.sleep(2)
"""
LETS_A_STRANGER_TRY = """
import os, subprocess, sys
import ray.tune.search  # reads mode and token, before connect sets them
from cluster.connect import connect
TRY = "import sys, ray; ray.init(address=sys.argv[1], logging_level='error'); print(ray.cluster_resources())"
with connect(num_cpus=1) as ray:
    command = [sys.executable, "-c", TRY, ray.get_runtime_context().gcs_address]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    tries = []
    # Side by side: Ray itself takes half a minute to say that it was refused.
    for token in (None, "0" * 64, os.environ["RAY_AUTH_TOKEN"]):
        mode = {"RAY_AUTH_MODE": "disabled"} if token is None else {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        tries.append(subprocess.Popen(command, env={**kept, **mode}, **quiet))
    for one in tries:
        print("refused" if one.wait() else "let in")
"""
IN_A_THREAD = """
import threading
from cluster.connect import connect
def start():
    with connect():
        pass
thread = threading.Thread(target=start)
thread.start()
thread.join()
"""


def test_who_lacks_the_token_does_not_get_into_an_embedded_ray() -> None:
    environment = {name: value for name, value in new_environment().items() if not name.startswith("RAY_AUTH")}
    done = subprocess.run([sys.executable, "-c", LETS_A_STRANGER_TRY], env=environment, capture_output=True, text=True)
    assert done.stdout.split("\n")[:-1] == ["refused", "refused", "let in"], done.stderr


def test_a_job_is_not_submitted_without_a_token_unless_that_is_said(tmp_path: Path) -> None:
    environment = {name: value for name, value in new_environment().items() if not name.startswith("RAY_AUTH")}
    words = ("submit", "--address", f"http://127.0.0.1:{free_ports(1)[0]}", "--", "true")
    code, output = run_planner({**environment, "HOME": str(tmp_path)}, *words)
    assert code == 1 and output.startswith("error: no token for the cluster"), output
    code, output = run_planner({**environment, "HOME": str(tmp_path), "RAY_AUTH_MODE": "disabled"}, *words)
    assert code == 1 and output.startswith("error: Ray at http://127.0.0.1"), output


def test_an_address_where_nothing_answers_is_reported_in_seconds(corpus_dataset: Path, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    begun = time.monotonic()
    code, output = run_planner(
        new_environment(), "tune", corpus_dataset, "--out", tmp_path / "tune", "--address", address
    )
    assert code == 1
    assert f"error: Ray at {address}: nothing answers" in output
    assert "Traceback" not in output
    # Ray itself needs more than two minutes to say so.
    assert time.monotonic() - begun < 60


def test_a_text_that_is_no_address_is_reported() -> None:
    environment = {**new_environment(), "RAY_ADDRESS": "myhead"}
    script = "from cluster.connect import connect; connect().__enter__()"
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    last = result.stderr.splitlines()[-1]
    assert last.startswith("planner.errors.ClusterError: Ray at myhead: not an address; write HOST:PORT")


def test_ctrl_c_ends_a_command_and_the_ray_inside_it(tmp_path: Path) -> None:
    environment = new_environment()
    ready = tmp_path / "ready"
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, str(ready)],
        env=environment,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(ready.exists, 90, "task started")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.strip().endswith("KeyboardInterrupt")
    assert_nothing_left(environment)


def test_what_a_worker_leaves_behind_ends_with_the_ray_inside_the_command() -> None:
    environment = new_environment()
    done = subprocess.run([sys.executable, "-c", LEAVES_STRAYS], env=environment, capture_output=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert_nothing_left(environment)


def test_an_embedded_ray_is_started_in_the_main_thread_only() -> None:
    result = subprocess.run(
        [sys.executable, "-c", IN_A_THREAD], env=new_environment(), capture_output=True, text=True, timeout=60
    )
    assert "must be called in the main thread" in result.stderr


ONE_TASK = """
from cluster.connect import connect
from planner.errors import PlannerError
import sys
def numpy_file():
    import numpy
    return numpy.__file__
try:
    with connect(sys.argv[1] if len(sys.argv) > 1 else None, num_cpus=1) as ray:
        print(ray.get(ray.remote(numpy_file).remote(), timeout=120))
except PlannerError as error:
    print("error:", error)
"""


def run_task(directory: Path, *arguments: str, **variables: str) -> str:
    """What one task on Ray says, of a process in ``directory``; nothing may be on stderr."""
    environment = {**new_environment(), **variables}
    command = [sys.executable, "-c", ONE_TASK, *arguments]
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert_nothing_left(environment)
    return done.stdout.strip()


def test_workers_do_not_import_what_lies_in_the_current_directory_and_long_paths_are_borne(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    too_long = tmp_path / ("x" * 85)
    too_long.mkdir()
    # `python -c` itself looks into the current directory first; the installed command does not.
    variables = {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    assert run_task(tmp_path, TMPDIR=str(too_long), **variables).endswith("numpy/__init__.py")


def test_auto_takes_a_head_that_was_started_as_one_and_no_private_ray(tmp_path: Path, ray_cluster: Any) -> None:
    (tmp_path / "ray").mkdir()
    root = Path(__file__).parents[2]
    assert "has left no address in" in run_task(root, "auto", RAY_TMPDIR=str(tmp_path))
    (tmp_path / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{free_ports(1)[0]}")
    answer = run_task(root, "auto", RAY_TMPDIR=str(tmp_path))
    assert answer.startswith(f"error: {tmp_path}/ray/ray_current_cluster is left over from a head that is gone")


def test_a_python_without_docstrings_is_refused_in_one_sentence(tmp_path: Path) -> None:
    assert "PYTHONOPTIMIZE" in run_task(Path(__file__).parents[2], PYTHONOPTIMIZE="2")
