"""A model's class is found by its path, and a checkpoint names the code that made it."""

import hashlib
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

import planner
from planner.errors import CheckpointError, ConfigError
from planner.evaluation.evaluate import evaluate_run
from planner.models import get_model_source_path, load_model_class
from planner.models.mlp import FeatureMLP
from planner.runs.checkpoint import checkpoint_path, read_policy, read_run
from planner.runs.learned import LearnedPolicy
from tests.conftest import FIXTURES
from tests.trained_runs import trained

FROZEN = FIXTURES / "frozen"
OWN_MODEL = """
from planner.models.mlp import FeatureMLP

class Mine(FeatureMLP):
    pass

class Other:
    pass
"""


def test_a_class_is_found_with_and_without_a_prefix() -> None:
    for path, prefix in (
        ("planner.models.mlp@FeatureMLP", None),
        ("mlp@FeatureMLP", "planner.models"),
        ("mlp@FeatureMLP", "planner.models."),
    ):
        assert load_model_class(path, prefix) is FeatureMLP
        assert get_model_source_path(path, prefix) == Path(planner.__file__).parent / "models" / "mlp.py"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("mlp", "write module@Class, for instance"),
        ("@FeatureMLP", "write module@Class, for instance"),
        ("planner.models.mlp@", "write module@Class, for instance"),
        ("../mlp@FeatureMLP", "write module@Class, for instance"),
        ("planner.models.none@X", "no module planner.models.none"),
        ("nowhere.mlp@X", "no module nowhere"),
        ("planner.models.mlp@None_", "planner.models.mlp has no class None_; its policies are FeatureMLP"),
        ("planner.models.mlp@Standardise", "Standardise is no NeuralPolicy"),
        ("planner.models.mlp@torch", "torch is no NeuralPolicy"),
    ],
)
def test_what_is_no_model_is_named(path: str, reason: str) -> None:
    for ask in (load_model_class, get_model_source_path):
        with pytest.raises(ConfigError, match=reason):
            ask(path)


def test_a_module_that_breaks_when_it_is_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_model_of_a_test.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"broken_model_of_a_test cannot be imported.*a_package_that_is_not_there"):
        load_model_class("broken_model_of_a_test@X")


def test_a_checkpoint_names_its_code_and_evaluation_says_when_it_is_another(tmp_path: Path) -> None:
    run = trained(FROZEN / "dataset-v1", tmp_path / "run", "model.hidden=4")
    source = read_policy(checkpoint_path(run)).source
    file = Path(planner.__file__).parent / "models" / "mlp.py"
    assert source is not None and source.path == "planner/models/mlp.py"
    assert source.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert LearnedPolicy(run).source_change is None
    assert evaluate_run(run).to_json()["source_change"] is None

    document = checkpoint_path(run) / "policy.json"
    document.write_bytes(document.read_bytes().replace(source.sha256.encode(), b"0" * 64))
    change = evaluate_run(run).to_json()["source_change"]
    assert change.startswith(
        "trained with planner/models/mlp.py (sha256 000000000000), today's source is planner/models"
    )
    done = subprocess.run(
        [Path(sys.executable).parent / "planner", "evaluate", run], capture_output=True, text=True, check=True
    )
    assert f"note: {run}: {change}" in done.stderr


def test_a_users_own_model_is_named_from_its_package_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "own_models_of_a_test" / "deep"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "mine.py").write_text(OWN_MODEL)
    (tmp_path / "single_model_of_a_test.py").write_text(OWN_MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    from planner.models.load import model_source

    assert model_source("own_models_of_a_test.deep.mine@Mine").path == "own_models_of_a_test/deep/mine.py"
    assert model_source("single_model_of_a_test@Mine").path == "single_model_of_a_test.py"
    with pytest.raises(ConfigError, match="its policies are Mine"):
        load_model_class("deep.mine@Nothing", "own_models_of_a_test")


def test_a_run_of_before_names_no_code_and_none_is_missed() -> None:
    assert read_policy(FROZEN / "run-v1" / "checkpoints" / "epoch-000").source is None
    assert LearnedPolicy(FROZEN / "run-v1").source_change is None


def test_our_own_documents_of_a_version_that_nobody_knows_are_refused_in_one_sentence(tmp_path: Path) -> None:
    import shutil

    run = Path(shutil.copytree(FROZEN / "run-v1", tmp_path / "run"))
    state = orjson.loads((run / "run.json").read_bytes())
    (run / "run.json").write_bytes(orjson.dumps({**state, "of_later": 1}))
    assert read_run(run).model_dump()["of_later"] == 1
    (run / "run.json").write_bytes(orjson.dumps({**state, "schema_version": "cyntra.planner_run.v7"}))
    with pytest.raises(CheckpointError, match=r"run\.json: \$\.schema_version: 'cyntra.planner_run.v7' is no version"):
        read_run(run)
