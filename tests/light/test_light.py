"""Reading a repo and deciding need numpy and onnxruntime, neither torch nor Ray; the public names are pinned.

.ci/check_wheel runs this file against the installed wheel, where torch and Ray do not exist, on every Python there is.
"""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import orjson
import pytest

import planner
from tests.conftest import FIXTURES, copy_corpus

FROZEN = FIXTURES / "frozen" / "bundle-v1"
PUBLIC = [
    "ActionError",
    "ArtifactError",
    "BenchError",
    "Bundle",
    "BundleError",
    "Caps",
    "CheckpointError",
    "ClusterError",
    "ConfigError",
    "ContextBuilder",
    "ContractError",
    "Dataset",
    "DatasetError",
    "Decision",
    "PlannerError",
    "Repo",
    "TrainConfig",
    "TrainingError",
    "UsageError",
    "build_dataset",
    "calibrate_run",
    "decide",
    "evaluate_run",
    "export_bundle",
    "get_model_source_path",
    "load_bundle",
    "load_config",
    "load_dataset",
    "load_model_class",
    "record_decision",
    "start_run",
    "train",
]
HEAVY = {
    "Dataset",
    "build_dataset",
    "calibrate_run",
    "evaluate_run",
    "export_bundle",
    "get_model_source_path",
    "load_dataset",
    "load_model_class",
    "start_run",
    "train",
}
"""Public names that need the extra `train`."""


def loaded_after(statement: str) -> set[str]:
    """Top-level modules of a fresh interpreter after ``statement``."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_public_names_are_these_and_no_others() -> None:
    assert planner.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(planner))
    with pytest.raises(AttributeError, match=r"'decides'; public names are in planner\.__all__"):
        planner.decides  # noqa: B018


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - HEAVY))
def test_a_light_public_name_is_there_without_torch_and_ray(name: str) -> None:
    assert not loaded_after(f"from planner import {name}") & {"torch", "ray", "pyarrow", "pandas"}


def test_every_public_name_is_documented() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "python.md"
    if not page.exists():
        pytest.skip("an installed wheel has no docs")
    text = page.read_text("utf-8")
    assert [name for name in PUBLIC if f"`{name}" not in text] == []


def test_importing_planner_loads_nothing_of_size() -> None:
    assert not loaded_after("import planner") & {"numpy", "onnxruntime", "pydantic", "torch", "ray"}


def test_the_command_line_starts_without_what_only_the_report_needs() -> None:
    assert not loaded_after("import planner.cli") & {"matplotlib", "jinja2", "numpy", "torch", "ray"}


def test_a_bundle_decides_as_on_the_day_it_was_written() -> None:
    question = orjson.loads((FROZEN / "planner_input.json").read_bytes())
    bundle = planner.load_bundle(FROZEN / "bundle")
    assert isinstance(bundle, planner.Bundle)
    decision = asdict(planner.decide(question, bundle))
    wanted = orjson.loads((FROZEN / "decision.json").read_bytes())
    assert decision["executed_plan"] == wanted["executed_plan"]
    for key in ("swarm_id", "budgets", "input_hash"):
        assert decision["planner_action"][key] == wanted["planner_action"][key]
    assert decision["planner_action"]["confidence"] == pytest.approx(wanted["planner_action"]["confidence"], abs=1e-5)


def test_the_command_line_decides_without_torch_and_ray() -> None:
    command = [str(Path(sys.executable).with_name("planner")), "decide", str(FROZEN / "bundle")]
    question = (FROZEN / "planner_input.json").read_bytes()
    done = subprocess.run(command, input=question, capture_output=True)
    assert done.returncode == 0, done.stderr
    wanted = orjson.loads((FROZEN / "decision.json").read_bytes())
    assert orjson.loads(done.stdout)["executed_plan"] == wanted["executed_plan"]


def test_a_repo_is_read_without_torch_and_ray(tmp_path: Path) -> None:
    repo = planner.Repo(copy_corpus(tmp_path / "corpus"))
    assert len(repo.runs) > 20 and len(repo.quarantine.entries) > 3


def test_a_missing_extra_is_answered_by_a_line_that_the_readme_has(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = sys.modules['pyarrow'] = None; from planner.cli import main; main()"
    (tmp_path / "dataset.json").write_text("{}")
    command = [sys.executable, "-c", code, "train", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "pip install -c constraints.txt torch==2.13.0 '.[train]'" in done.stderr
