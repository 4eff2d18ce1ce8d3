"""`planner bundle check`: said beforehand what the environment that loads a bundle would keep silent about."""

import sys
import venv
from pathlib import Path

import orjson
import pytest

from planner.bundle_check import check_bundle
from planner.errors import UsageError
from tests.bench.scripted_bundle import write_scripted_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_scripted_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_an_environment_that_loads_the_bundle_is_fine_in_every_line(bundle: Path) -> None:
    checks = check_bundle(bundle, Path(sys.executable))
    assert [check.ok for check in checks] == [None, True, True, True, True, None]
    assert "loads and answers" in checks[3].text


def test_a_damaged_model_is_found_before_it_is_served(bundle: Path) -> None:
    (bundle / "planner.onnx").write_bytes(b"no model")
    checks = check_bundle(bundle, Path(sys.executable))
    assert [check.ok for check in checks] == [None, True, True, False, False, None]


def test_what_is_missing_is_named_with_its_cure(bundle: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    failed = [check.text for check in check_bundle(bundle, tmp_path / "venv") if check.ok is False]
    assert len(failed) == 3 and failed[0].endswith(f"{python} -m pip install numpy")
    assert failed[1].endswith(f"{python} -m pip install onnxruntime") and "planner is not installed" in failed[2]


def test_a_bundle_for_the_kernel_needs_the_kernel(bundle: Path) -> None:
    path = bundle / "metadata.json"
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), "token_profile": "kernel"}))
    texts = [check.text for check in check_bundle(bundle, Path(sys.executable))]
    assert any("Cyntra is not installed there" in text or text.startswith("Cyntra 0") for text in texts)
    assert "within the swarm and budgets of its own rule" in texts[-1]


def test_a_place_without_bundle_or_python_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a bundle"):
        check_bundle(tmp_path, Path(sys.executable))
    with pytest.raises(UsageError, match="no such Python"):
        check_bundle(bundle, tmp_path / "nowhere")
    with pytest.raises(UsageError, match="no Python that works"):
        check_bundle(bundle, Path("/bin/echo"))
