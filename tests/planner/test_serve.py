"""`planner decide`: no bundle is an error at start; --serve skips blank lines, keeps the order, pings, reloads, and
neither doubles nor cuts an answer when Ctrl-C comes."""

import fcntl
import random
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest

from planner.errors import INTERRUPTED_EXIT_CODE
from planner.files import staged_directory
from tests.conftest import FIXTURES
from tests.tune.processes import wait_until

PLANNER = Path(sys.executable).with_name("planner")
FROZEN = FIXTURES / "frozen" / "bundle-v1"
QUESTION: dict[str, Any] = orjson.loads((FROZEN / "planner_input.json").read_bytes())


class Server:
    """`planner decide --serve` on a copy of a bundle."""

    def __init__(self, bundle: Path) -> None:
        self._process = subprocess.Popen(
            [PLANNER, "decide", bundle, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def ask(self, *documents: Any) -> list[Any]:
        """The answers to as many documents; bytes are sent as they are."""
        assert self._process.stdin is not None and self._process.stdout is not None
        for one in documents:
            self._process.stdin.write(one if isinstance(one, bytes) else orjson.dumps(one) + b"\n")
        self._process.stdin.flush()
        return [orjson.loads(self._process.stdout.readline()) for one in documents if one not in (b"\n", b"  \n")]

    def end(self) -> bytes:
        """What it said on stderr; nothing more may have come on stdout."""
        out, said = self._process.communicate(timeout=30)
        assert (self._process.returncode, out) == (0, b"")
        return said


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    shutil.copytree(FROZEN / "bundle", tmp_path / "bundle")
    return tmp_path / "bundle"


def replace(bundle: Path, checkpoint_id: str) -> None:
    """Put another bundle in the place of this one, as export does."""
    with staged_directory(bundle) as staging:
        for path in bundle.iterdir():
            shutil.copyfile(path, staging / path.name)
        metadata = orjson.loads((bundle / "metadata.json").read_bytes()) | {"checkpoint_id": checkpoint_id}
        (staging / "metadata.json").write_bytes(orjson.dumps(metadata))


def issue(answer: Any) -> str:
    return str(answer["planner_action"]["input_hash"])


def test_answers_come_in_order_blank_lines_are_none_and_a_ping_says_what_is_loaded(bundle: Path) -> None:
    server = Server(bundle)
    other = {**QUESTION, "issue": {**QUESTION["issue"], "issue_id": "other"}}
    first, pong, second, third = server.ask(QUESTION, b"\n", {"ping": 7}, b"  \n", other, QUESTION)
    metadata = orjson.loads((bundle / "metadata.json").read_bytes())
    assert pong == {"ping": 7, "bundle": {"loaded": True, "checkpoint_id": metadata["checkpoint_id"]}}
    assert issue(first) == issue(third) != issue(second)
    server.end()


def test_a_bundle_that_was_replaced_decides_the_next_answer_and_a_broken_one_replaces_nothing(bundle: Path) -> None:
    server = Server(bundle)
    server.ask(QUESTION)
    replace(bundle, "newer")
    (answer,) = server.ask(QUESTION)
    assert answer["planner_action"]["model"]["checkpoint_id"] == "newer"
    replace(bundle, "broken")
    (bundle / "planner.onnx").write_bytes(b"no graph")
    (bundle / "metadata.json").write_text("{")
    (answer,) = server.ask(QUESTION)
    assert answer["planner_action"]["model"]["checkpoint_id"] == "newer"
    assert server.end().count(b"kept as it was: what replaced it cannot be loaded") == 1


def start_server(bundle: Path) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen([PLANNER, "decide", bundle, "--serve"], stdin=pipe, stdout=pipe, stderr=pipe)


def ping(number: int, length: int) -> bytes:
    return orjson.dumps({"ping": [number, "x" * length]}, option=orjson.OPT_APPEND_NEWLINE)


def pinged(answers: bytes) -> list[int]:
    """The numbers of pings that were answered; every line must be whole."""
    assert answers.endswith(b"\n")
    return [orjson.loads(line)["ping"][0] for line in answers.splitlines()]


def test_ctrl_c_while_an_answer_is_half_written_lets_it_be_finished(bundle: Path) -> None:
    with start_server(bundle) as server:
        assert server.stdin is not None and server.stdout is not None
        capacity, answers = fcntl.fcntl(server.stdout, fcntl.F_GETPIPE_SZ), server.stdout

        def lies_there() -> int:
            return int(struct.unpack("i", fcntl.ioctl(answers, termios.FIONREAD, b"1234"))[0])

        # Of the second answer not all has room in a pipe that nobody reads.
        length = capacity * 2 // 3
        server.stdin.writelines(ping(number, length) for number in range(2))
        server.stdin.flush()
        wait_until(lambda: lies_there() > length + 1000, 60, "a part of the second answer")
        server.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            server.wait(0.5)
        assert pinged(answers.read()) == [0, 1]
    assert server.returncode == INTERRUPTED_EXIT_CODE


def test_ctrl_c_at_any_moment_of_many_answers_doubles_and_cuts_none(bundle: Path) -> None:
    draw = random.Random(0)

    def interrupted_after(seconds: float) -> tuple[int | None, list[int]]:
        with start_server(bundle) as server:
            assert server.stdin is not None and server.stdout is not None
            server.stdin.write(b"".join(ping(number, 9) for number in range(2000)))
            server.stdin.flush()
            first = server.stdout.readline()
            threading.Timer(seconds, server.send_signal, [signal.SIGINT]).start()
            numbers = pinged(first + server.stdout.read())
        return server.returncode, numbers

    with ThreadPoolExecutor(4) as at_once:
        for code, numbers in at_once.map(interrupted_after, [draw.uniform(0, 0.03) for _ in range(6)]):
            assert code == INTERRUPTED_EXIT_CODE and numbers == list(range(len(numbers)))


def test_without_a_bundle_it_ends_with_two_unless_the_default_is_asked_for(tmp_path: Path) -> None:
    command = [str(PLANNER), "decide", str(tmp_path / "none")]
    question = orjson.dumps(QUESTION)
    refused = subprocess.run(command, input=question, capture_output=True)
    assert refused.returncode == 2 and refused.stdout == b""
    assert b"no metadata.json, so this is not a bundle; write one with `planner export`" in refused.stderr
    answered = subprocess.run([*command, "--fallback"], input=question, capture_output=True)
    assert answered.returncode == 0, answered.stderr
    assert orjson.loads(answered.stdout)["executed_plan"]["fallback_reason"]
