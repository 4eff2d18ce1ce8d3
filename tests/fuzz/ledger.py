"""Damaged ledgers: refused in one sentence, or read as they were; never with an execution less."""

import random
import tempfile
from functools import cache
from pathlib import Path

import orjson

from bench.ledger import Ledger
from planner.errors import PlannerError
from tests.bench.ledgers import ten_cases, write_ledger


@cache
def whole() -> bytes:
    """A ledger of some finished executions, as a file."""
    with tempfile.TemporaryDirectory() as directory:
        return write_ledger(Path(directory) / "ledger.sqlite", ten_cases()).read_bytes()


def attempt(draw: random.Random, directory: Path) -> None:
    """One damaged copy; AssertionError when it is read as another one."""
    path = directory / "ledger.sqlite"
    data = bytearray(whole())
    what = ""
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(data)) if data else 0
        if draw.random() < 0.3:
            del data[at:]
            what += f" cut at {at}"
        elif data:
            length = draw.choice((1, 8, 512))
            data[at : at + length] = bytes(draw.randrange(256) for _ in range(length))
            what += f" {length} bytes at {at}"
    check(bytes(data), path, what)


def check(data: bytes, path: Path, what: str) -> None:
    """AssertionError when a ledger of these bytes opens with fewer executions, or in anything but an error of ours."""
    for opened in (Ledger.read, Ledger.open):
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)
        path.write_bytes(data)
        try:
            with opened(path) as ledger:
                found = [execution.execution_id for execution in ledger.executions()]
                orjson.dumps([ledger.progress().finished, ledger.n_derived()])
                planned = len(ledger.planned())
        except PlannerError:
            continue
        except Exception as error:
            raise AssertionError(f"{opened.__name__}:{what}: {type(error).__name__}: {error}") from error
        assert len(found) + planned >= n_executions(), f"{opened.__name__}:{what}: {len(found)} executions are left"


@cache
def n_executions() -> int:
    """How many executions the whole ledger has."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.sqlite"
        path.write_bytes(whole())
        with Ledger.read(path) as ledger:
            return len(ledger.executions()) + len(ledger.planned())
