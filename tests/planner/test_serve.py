"""`planner decide`: no bundle is an error at start; --serve skips blank lines, keeps the order, pings and reloads."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from planner.files import staged_directory
from tests.conftest import FIXTURES

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


def test_without_a_bundle_it_ends_with_two_unless_the_default_is_asked_for(tmp_path: Path) -> None:
    command = [str(PLANNER), "decide", str(tmp_path / "none")]
    question = orjson.dumps(QUESTION)
    refused = subprocess.run(command, input=question, capture_output=True)
    assert refused.returncode == 2 and refused.stdout == b""
    assert b"no metadata.json, so this is not a bundle; write one with `planner export`" in refused.stderr
    answered = subprocess.run([*command, "--fallback"], input=question, capture_output=True)
    assert answered.returncode == 0, answered.stderr
    assert orjson.loads(answered.stdout)["executed_plan"]["fallback_reason"]
