"""Ten seconds of fuzzing of every part, and the corpus of what was found before."""

import shutil
from pathlib import Path

import orjson
import pytest

from tests.conftest import CORPUS
from tests.fuzz import decide, readers
from tests.fuzz.__main__ import PARTS, fuzz

FOUND = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("part", PARTS)
def test_ten_seconds_of_fuzzing_find_nothing(part: str, tmp_path: Path) -> None:
    # A commit is judged by what it changes, so the seed stays; python -m tests.fuzz draws another each time.
    assert fuzz(part, 10.0, 2026, tmp_path) > 0


@pytest.mark.parametrize("path", sorted((FOUND / "decide").iterdir()), ids=lambda path: path.stem)
def test_an_input_that_once_broke_a_decision_is_answered(path: Path) -> None:
    change = orjson.loads(path.read_bytes())
    decide.check({**decide.contexts()[0], **change})


@pytest.mark.parametrize("path", sorted((FOUND / "readers").iterdir()), ids=lambda path: path.stem)
def test_a_file_that_once_broke_a_reader_is_set_aside_or_one_sentence(path: Path, tmp_path: Path) -> None:
    root = tmp_path / "repo"
    shutil.copytree(CORPUS, root)
    # The file's name says where it belongs: its folders joined by "+", and a number before.
    target = root / path.name.partition("-")[2].replace("+", "/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    readers.check(root, target)
