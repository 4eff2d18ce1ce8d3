"""Who imports whom: the readers and the decision need neither torch nor ray, and planner stands on nothing of ours."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

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
    "planner.decision",
    "planner.config",
)
HEAVY = ("torch", "ray", "pyarrow", "pandas", "optuna", "safetensors")
UPSTAIRS = ("bench", "tune", "cluster")


def heavy_after(statement: str) -> list[str]:
    """Which heavy packages a fresh interpreter has loaded after ``statement``."""
    code = f"{statement}\nimport sys\nprint([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return ast.literal_eval(done.stdout.strip().splitlines()[-1])


def test_readers_contexts_tokens_and_the_rule_load_neither_torch_nor_ray() -> None:
    assert heavy_after("import " + ", ".join(LIGHT)) == []


def test_the_check_itself_would_notice() -> None:
    assert "safetensors" in heavy_after("import safetensors")


def test_help_loads_neither_torch_nor_ray() -> None:
    show_help = "sys.argv = ['planner', '--help']\ntry:\n main()\nexcept SystemExit:\n pass"
    assert heavy_after(f"import sys\nfrom planner.cli import main\n{show_help}") == []


def imported(path: Path) -> set[str]:
    """Top-level packages that a source file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


SOURCES = sorted((ROOT / "planner").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_planner_imports_nothing_of_ours_but_schemas(path: Path) -> None:
    if path == ROOT / "planner" / "cli.py":
        pytest.skip("the command line mounts the others' commands")
    assert not imported(path) & set(UPSTAIRS)
