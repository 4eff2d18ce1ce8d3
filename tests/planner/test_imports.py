"""Who imports whom: the readers and the decision need neither torch nor ray, and no import goes up the floors."""

import ast
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.floors import offences, offences_of

ROOT = Path(__file__).parents[2]
LIGHT = (
    "schemas",
    "planner.contracts.schemas",
    "planner.actions",
    "planner.artifacts.repo",
    "planner.history",
    "planner.context",
    "planner.encoding.tokens",
    "planner.encoding.features",
    "planner.encoding.encode",
    "planner.policies.heuristic",
    "planner.bundle",
    "planner.decision",
    "planner.config",
    "planner.bundle_check",
    "planner.places",
    "planner.serve",
    "bench.dispatch.loop",
    "bench.dispatch.evolutions",
)
HEAVY = ("torch", "ray", "pyarrow", "pandas", "optuna", "safetensors")


def heavy_after(statement: str, heavy: Sequence[str] = HEAVY) -> list[str]:
    """Which of the ``heavy`` packages a fresh interpreter has loaded after ``statement``."""
    code = f"{statement}\nimport sys\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return ast.literal_eval(done.stdout.strip().splitlines()[-1])


def test_readers_contexts_tokens_the_rule_and_planner_run_load_neither_torch_nor_ray() -> None:
    assert heavy_after("import " + ", ".join(LIGHT)) == []


def test_the_check_itself_would_notice() -> None:
    assert "safetensors" in heavy_after("import safetensors")


def test_the_stand_in_kernel_starts_without_numpy_and_onnxruntime() -> None:
    kernel = "import bench.testbeds.sandbox.kernel, bench.testbeds.sandbox.planning"
    assert heavy_after(kernel, ("numpy", "onnxruntime", *HEAVY)) == []


def test_help_loads_neither_torch_nor_ray() -> None:
    show_help = "sys.argv = ['planner', '--help']\ntry:\n main()\nexcept SystemExit:\n pass"
    assert heavy_after(f"import sys\nfrom planner.cli import main\n{show_help}") == []


def test_every_import_goes_down_the_floors() -> None:
    assert [str(offence) for offence in offences(ROOT)] == []


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("bench/engine/run.py", "import sys\n\nfrom bench.testbeds import cli", "bench.testbeds.cli: that goes up"),
        (
            "bench/executors/replay.py",
            "def run():\n    pass\n    import bench.judging.results",
            "bench.judging.results",
        ),
        ("planner/encoding/tokens.py", "if TYPE_CHECKING:\n\n    from planner.dataset import split", "planner.dataset"),
        ("planner/policies/trees.py", "# like a network\n\nfrom planner.models.base import x", "that goes across"),
        (
            "planner/training/loop.py",
            "\n\nfrom ..evaluation import metrics",
            "evaluation.metrics: that goes up",
        ),
        (
            "planner/decision.py",
            "\n\nfrom planner.policies.trees import BoostedTrees",
            "only planner.policies.heuristic",
        ),
        ("planner/files.py", "\n\nimport bench", "that goes up"),
        ("cluster/connect.py", "\n\nfrom planner.config import load_config", "only ('planner.command_app', "),
        ("planner/newcomer.py", "\n\nfrom planner.errors import PlannerError", "has no floor"),
    ],
)
def test_an_import_that_goes_up_is_named_with_its_file_and_line(path: str, source: str, found: str) -> None:
    (offence,) = offences_of(source, Path(path))
    assert str(offence).startswith(f"{path}:3: ")
    assert found in str(offence)


def test_imports_that_go_down_or_stay_in_their_room_are_none_of_them() -> None:
    source = "import numpy\nfrom planner.actions import Action\nfrom . import decisions"
    assert list(offences_of(source, Path("planner/evaluation/compare.py"))) == []
