"""A wrong word is answered by one line and before torch or Ray is loaded, which would take seconds."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from planner.cli import app
from planner.policies.registry import baselines
from planner.policy_names import BASELINES
from tune.ablate import AXES, DECODING
from tune.space import AXIS_NAMES

WRONG = [
    "dataset build nowhere",
    "dataset build nowhere --out file",
    "dataset check nowhere",
    "train nowhere",
    "train here --arch nonsense",
    "train here --set nonsense=1",
    "train here --set lr",
    "train here --init-from nowhere",
    "train here --teacher nowhere",
    "train here --out file",
    "train here --workers 0",
    "evaluate nowhere",
    "evaluate",
    "evaluate run --bench nowhere",
    "advise nowhere",
    "compare nowhere",
    "compare here --policies nonsense",
    "compare here --set nonsense=1",
    "calibrate nowhere",
    "export nowhere",
    "export run --out file",
    "decide nowhere",
    "decide nowhere --mode nonsense",
    "bundle check nowhere",
    "tune nowhere",
    "tune here --arch nonsense",
    "ablate nowhere",
    "ablate here --axes nonsense",
    "relabel nowhere",
    "export-table nowhere",
    "train here --track nowhere:Nobody",
    "report nowhere",
    "run nowhere",
    "evolve nowhere --issue 1",
    "bench nowhere",
    "bench nowhere --executor nonsense",
    "bench nowhere --executor simulate",
    "bench nowhere --k 0",
    "show nowhere",
    "clean --older-than 3",
    "quickstart file",
    "simulate file",
    "sandbox create file",
    "nonsense",
]
"""Command lines with one wrong word, where ``here`` is a dataset, ``run`` a trained run, and ``file`` a file."""
PROGRAM = """
import contextlib, io, sys
import orjson
from planner.cli import main
for words in WRONG:
    sys.argv = ["planner", *words.split()]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            main()
        code = 0
    except SystemExit as end:
        code = end.code
    loaded = [name for name in ("torch", "ray", "optuna") if name in sys.modules]
    print("ANSWER", orjson.dumps([words, code, said.getvalue(), loaded]).decode())
"""


def test_a_wrong_word_is_answered_without_torch_and_ray(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place, name in (("here", "dataset.json"), ("run", "run.json")):
        (tmp_path / place).mkdir()
        (tmp_path / place / name).write_text("{}")
    program = f"WRONG = {WRONG!r}\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = [orjson.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert [answer[0] for answer in answers] == WRONG
    for words, code, said, loaded in answers:
        assert code in (1, 2) and loaded == [], (words, code, said, loaded)
        assert said.splitlines()[-1].lower().startswith("error: ") and "Traceback" not in said, (words, said)


def test_the_names_that_are_checked_before_policies_are_loaded_are_those_there_are() -> None:
    assert tuple(baselines("compare")) == BASELINES
    assert (*AXES, DECODING) == AXIS_NAMES


@pytest.mark.parametrize("words", ["compare DATASET --policies random", "ablate DATASET --axes depth"])
def test_a_wrong_choice_names_those_there_are(corpus_dataset: Path, words: str) -> None:
    done = CliRunner().invoke(app, words.replace("DATASET", str(corpus_dataset)).split())
    assert "choose from" in str(done.exception) and ("nearest_neighbours" if "compare" in words else "loops") in str(
        done.exception
    )
