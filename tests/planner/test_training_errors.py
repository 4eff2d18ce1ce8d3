"""What may go wrong in training: numbers that are none, broken files, wrong settings; each is named at once."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch

from planner.config import TrainConfig
from planner.dataset.storage import load_dataset
from planner.errors import CheckpointError, ConfigError, DatasetError, PlannerError, TrainingError
from planner.runs.batches import batch_positions
from planner.runs.learned import LearnedPolicy
from planner.training.__main__ import main
from planner.training.driver import train_with_ray, trainer
from planner.training.hardware import autocast, check_precision, has_bf16_units
from planner.training.loop import start_run, train
from tests.planner.mutations import damaged_copy
from tests.planner.small_runs import begin, command


@pytest.fixture(scope="module")
def dataset(synthetic: tuple[Path, Path]) -> Path:
    """The synthetic dataset."""
    return synthetic[1]


def test_a_loss_that_is_no_number_stops_and_names_the_examples(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = damaged_copy(dataset, tmp_path / "dataset")
    path = copy / "train" / "context_features.npy"
    features = np.load(path)
    features[7, 0] = np.nan
    np.save(path, features)
    name = load_dataset(copy).splits["train"].table["example_id"][7]
    with pytest.raises(TrainingError, match=rf"nan in epoch 0, examples \['{name}'\]"):
        train(begin(tmp_path / "run", copy))
    monkeypatch.setattr(sys, "argv", command(copy, tmp_path / "command"))
    assert main() == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and name in printed


def test_a_gradient_that_is_no_number_stops_and_names_the_batch(dataset: Path, tmp_path: Path) -> None:
    broken = TrainConfig(class_path="tests.planner.models_for_tests@RootOfZero", batch_size=3, epochs=1)
    start_run(tmp_path / "run", broken, dataset, init_from=None, workers=1, resume=False)
    split = load_dataset(dataset).splits["train"]
    first = next(batch_positions(len(split), 3, broken.seed, 0))
    names = ", ".join(f"'{split.table['example_id'][i]}'" for i in first)
    with pytest.raises(TrainingError, match=rf"gradient norm is (nan|inf) in epoch 0, batch \[{names}\]"):
        train(tmp_path / "run")


def test_bf16_is_refused_on_a_cpu_without_units_for_it_and_auto_is_fp32_there(dataset: Path, tmp_path: Path) -> None:
    if has_bf16_units(torch.device("cpu")):
        pytest.skip("this CPU has bf16 units")
    with pytest.raises(ConfigError, match="7 to 11 times slower"):
        begin(tmp_path / "run", dataset, "precision=bf16")
    assert not (tmp_path / "run").exists()
    with autocast("auto", torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_bf16_is_used_on_a_cpu_that_has_units_for_it() -> None:
    if not has_bf16_units(torch.device("cpu")):
        pytest.skip("this CPU has no bf16 units")
    check_precision("bf16", torch.device("cpu"))
    with autocast("auto", torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_there_must_be_a_block_to_compile(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no transformer block"):
        begin(tmp_path / "run", dataset, "compile=true")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"config": 1}'])
def test_a_broken_run_json_is_a_clear_error(text: str, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(text)
    for use in (train, LearnedPolicy):
        with pytest.raises(CheckpointError, match=r"run\.json"):
            use(tmp_path / "run")


def test_a_run_json_whose_settings_make_no_sense_is_a_clear_error(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    document = orjson.loads((tmp_path / "run" / "run.json").read_bytes())
    document["config"]["lr"] = "fast"
    (tmp_path / "run" / "run.json").write_bytes(orjson.dumps(document))
    with pytest.raises(CheckpointError, match=r"run\.json"):
        train(tmp_path / "run")


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "policy.json"])
@pytest.mark.parametrize("content", [b"", b"\x08\x00\x00\x00\x00\x00\x00\x00garbage!", None])
def test_a_broken_checkpoint_is_a_clear_error(name: str, content: bytes | None, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    document = orjson.loads((tmp_path / "run" / "run.json").read_bytes())
    file = tmp_path / "run" / document["last"] / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    with pytest.raises(CheckpointError, match="epoch"):
        if name == "optimizer.safetensors":
            (tmp_path / "run" / "run.json").write_bytes(orjson.dumps({**document, "finished": False}))
            train(tmp_path / "run")
        else:
            LearnedPolicy(tmp_path / "run" / document["last"])


def test_weights_from_another_action_space_are_refused(dataset: Path, trained: Path, tmp_path: Path) -> None:
    space = load_dataset(dataset).info.action_space.model_dump()
    other = damaged_copy(
        dataset, tmp_path / "renamed", action_space={**space, "swarm_ids": ["serial_handoff", "round_table"]}
    )
    with pytest.raises(CheckpointError, match="swarm_ids"):
        begin(tmp_path / "run", other, init_from=trained)
    wider = damaged_copy(
        dataset, tmp_path / "wider", action_space={**space, "swarm_ids": [*space["swarm_ids"], "third"]}
    )
    with pytest.raises(CheckpointError, match="swarm_ids"):
        begin(tmp_path / "run", wider, init_from=trained)
    with pytest.raises(CheckpointError, match="weights do not fit"):
        begin(tmp_path / "run", dataset, "model.hidden=8", init_from=trained)
    assert not (tmp_path / "run").exists()


def test_a_runs_directory_is_never_overwritten(dataset: Path, trained: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="--fresh starts anew"):
        begin(trained, dataset)
    with pytest.raises(CheckpointError, match=r"lr is .* there, 0\.5 now: --fresh"):
        begin(trained, dataset, "lr=0.5", resume=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="other files"):
        begin(tmp_path / "home", dataset)
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("lr=fast", "lr"),
        ("lr=-1", "lr"),
        ("learning_rate=1", "learning_rate"),
        ("model.width=3", "model.width"),
        ("model.dropout=1", "model.dropout"),
        ("n_similar=99", "n_similar"),
        ("class_path=planner.models.mlp@Nothing", "Nothing"),
        ("class_path=nowhere@Nothing", "nowhere"),
        ("epochs", "key=value"),
    ],
)
def test_a_wrong_setting_is_named(override: str, named: str, dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=named):
        begin(tmp_path / "run", dataset, override)
    assert not (tmp_path / "run").exists()


def test_a_dataset_that_is_none_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="planner dataset build"):
        begin(tmp_path / "run", tmp_path)


def test_more_workers_than_cpus_are_refused_and_not_waited_for(dataset: Path, tmp_path: Path, ray_cluster: Any) -> None:
    run = begin(tmp_path / "run", dataset, workers=64)
    with pytest.raises(PlannerError, match="64 CPU"):
        train_with_ray(run, workers=64)
    with pytest.raises(PlannerError, match="GPU"):
        train_with_ray(run, workers=1, gpu=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_named_before_a_run_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(PlannerError, match="finds no GPU here"), trainer(1, gpu=True):
        pytest.fail("nothing is to be trained")
