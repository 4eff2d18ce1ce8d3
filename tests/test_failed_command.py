"""A command that fails under --json prints one document that says why, and the sentence on stderr as ever."""

import io
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from planner.cli import main
from planner.failed_command import Failure, failure_of, write_document
from planner.standard_output import survive_closed_stdout
from schemas import load_schema
from tests.bench.ledgers import write_ledger

PLANNER = Path(sys.executable).with_name("planner")


def run(words: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line in this process."""
    monkeypatch.setattr(sys, "argv", ["planner", *words.split()])
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.FileIO(1, "w", closefd=False)))
    with pytest.raises(SystemExit) as ended:
        main()
    return (int(str(ended.value.code)), *capfd.readouterr())


def document_of(printed: str) -> Any:
    """The one document that a program finds on stdout."""
    document = orjson.loads(printed)
    Draft202012Validator(load_schema("command_error.v1")).validate(document)
    assert document.pop("schema_version") == "planner.error.v1"
    return document


@pytest.mark.parametrize(
    ("words", "kind", "code", "named"),
    [
        ("train nowhere", "DatasetError", 1, "nowhere: no dataset.json"),
        ("report nowhere", "UsageError", 2, "nowhere: no such file or directory"),
        ("relabel --by luck", "UsageError", 2, "'luck' is not one of"),
        ("nonsense", "UsageError", 2, "No such command 'nonsense'"),
        ("ls --nonsense", "UsageError", 2, "No such option: --nonsense"),
        ("relabel ledger.sqlite", "NothingToJudgeError", 3, "no case has two finished executions yet"),
        ("decide nowhere", "UsageError", 2, "nowhere: no metadata.json"),
    ],
)
def test_the_document_says_kind_message_and_exit_code(
    words: str,
    kind: str,
    code: int,
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_ledger(tmp_path / "ledger.sqlite", [])
    ended, printed, said = run(words, monkeypatch, capfd)
    assert ended == code and printed == "" and named in said, "without --json stdout stays empty"
    ended, printed, said_too = run(f"{words} --json", monkeypatch, capfd)
    document = document_of(printed)
    assert ended == document["exit_code"] == code
    assert document["kind"] == kind and named in document["message"]
    assert said_too == said, "the sentence is there for a person too"


def test_where_an_answer_stands_already_ctrl_c_adds_no_document(tmp_path: Path) -> None:
    words: list[str | Path] = [PLANNER, "decide", tmp_path / "nowhere", "--fallback", "--serve", "--json"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b'{"ping": 1}\n')
    process.stdin.flush()
    assert orjson.loads(process.stdout.readline())["ping"] == 1
    time.sleep(0.2)  # for it to wait for the next question
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.startswith(b"Stopped. ")
    assert printed == b"", "an answer stands there already"


def test_a_command_that_ctrl_c_ends_says_so_in_json(tmp_path: Path) -> None:
    words: list[str | Path] = [PLANNER, "decide", tmp_path / "nowhere", "--fallback", "--json"]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    # It reads its question once it has taken in the first of two halves that do not fit into the pipe together.
    process.stdin.write(b" " * 200_000)
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=60)
    document = document_of(printed.decode())
    assert process.returncode == document["exit_code"] == 130 and document["kind"] == "Interrupted"
    assert said.decode().strip() == document["message"] and "this begins again: planner decide" in document["message"]


def test_what_follows_a_double_dash_is_not_this_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)
    survive_closed_stdout()
    write_document(Failure("ClusterError", "no head", 1), ["submit", "--", "planner", "train", "--json"])
    assert stdout.getvalue() == ""
    write_document(Failure("ClusterError", "no head", 1), ["submit", "--json", "--", "planner", "train"])
    assert document_of(stdout.getvalue()) == {"kind": "ClusterError", "message": "no head", "exit_code": 1}


def test_a_mistake_of_ours_is_no_failure_that_a_user_can_mend() -> None:
    assert failure_of(ValueError("x")) is None
    missing = failure_of(ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert missing is not None and "'.[train]'" in missing.message and missing.exit_code == 1
