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
    "train here --init-from nowhere",
    "train here --teacher nowhere",
    "train here --out file",
    "evaluate nowhere",
    "evaluate",
    "evaluate run --bench nowhere",
    "advise nowhere",
    "compare nowhere",
    "calibrate nowhere",
    "export nowhere",
    "export run --out file",
    "decide nowhere",
    "bundle check nowhere",
    "tune nowhere",
    "ablate nowhere",
    "relabel nowhere",
    "export-table nowhere",
    "report nowhere",
    "run nowhere",
    "evolve nowhere --issue 1",
    "bench nowhere",
    "bench nowhere --executor simulate",
    "show nowhere",
    "quickstart file",
    "simulate file",
    "sandbox create file",
]
"""Command lines with a wrong path, where ``here`` is a dataset, ``run`` a trained run, and ``file`` a file."""
NO_SUCH_CHOICE = [
    "nonsense",
    "dataset build here --nonsense",
    "train here --arch nonsense",
    "train here --arch mlp_planner --set model.loops=2",
    "train here --set model.loops=none",
    "train here --set model.heads=3",
    "train here --set nonsense=1",
    "train here --set lr",
    "train here --workers 0",
    "train here --teacher run --set nonsense=1",
    "train here --teacher run --arch structural",
    "train here --track nowhere:Nobody",
    "train here --arch structural --set foo=1",
    "evaluate run --by nonsense",
    "compare here --policies nonsense",
    "compare here --policies heuristic --set nonsense=1",
    "compare here --set model.loops=2",
    "compare here --track nowhere:Nobody",
    "tune here --arch nonsense",
    "tune here --track nowhere:Nobody",
    "ablate here --arch nonsense",
    "ablate here --axes nonsense",
    "ablate here --set model.nonsense=1",
    "ablate here --track nowhere:Nobody",
    "decide nowhere --mode nonsense",
    "bench here --executor nonsense",
    "bench here --objective nonsense",
    "bench nowhere --k 0",
    "relabel nowhere --by nonsense",
    "report here --by nonsense",
    "run here --mode nonsense",
    "evolve here --mode nonsense",
    "quickstart new --k none",
    "simulate new --runs 0",
    "sandbox nonsense",
    "sandbox create new --runs none",
    "clean --older-than 3",
    "explain nonsense",
    "cluster raycluster --image x --toleration nonsense:x:y",
    "config show --nonsense",
]
"""Command lines that ask for something that there is not."""
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
    every = [*WRONG, *NO_SUCH_CHOICE]
    program = f"WRONG = {every!r}\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = [orjson.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert [answer[0] for answer in answers] == every
    for words, code, said, loaded in answers:
        assert code in ((2,) if words in NO_SUCH_CHOICE else (1, 2)) and loaded == [], (words, code, said, loaded)
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
