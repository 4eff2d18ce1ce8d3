"""One setting varied at a time: variants share their runs, and the tables hold every one of them."""

import csv
from pathlib import Path
from typing import Any

import pytest

from planner.errors import ClusterError, ConfigError
from planner.runs.checkpoint import read_run
from planner.training import many
from tune.ablate import ablate


def test_every_variant_is_trained_once_and_judged(ray_cluster: Any, corpus_dataset: Path, tmp_path: Path) -> None:
    overrides = ["epochs=1", "model.hidden=8", "n_similar=4"]
    settings: dict[str, Any] = {"arch": "mlp_planner", "seeds": 2, "overrides": overrides}
    report = ablate(f"file://{corpus_dataset}", tmp_path, **settings).to_json()
    rows = [row for row in report["rows"] if row["split"] == "val" and row["issues"] == "all"]
    assert [(row["axis"], row["policy"]) for row in rows if row["axis"] != "action_head"] == [
        *(("n_similar", f"n_similar={n}") for n in (0, 1, 4, 8, 16)),
        ("decoding", "joint"),
        ("decoding", "head by head"),
    ]
    # The base settings are a variant of n_similar and both decoders': five numbers of neighbours, two seeds each.
    runs = [read_run(path.parent) for path in tmp_path.glob("runs/*/run.json")]
    assert sorted(run.config["n_similar"] for run in runs if run.config["model"].get("action_head") is None) == sorted(
        2 * [0, 1, 4, 8, 16]
    )
    assert all(run.finished and run.dataset == f"file://{corpus_dataset}" for run in runs)
    by_name = {(row["axis"], row["policy"]): row for row in rows}
    assert by_name["n_similar", "n_similar=4"]["log_likelihood"] == by_name["decoding", "joint"]["log_likelihood"]
    with (tmp_path / "ablation.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(report["rows"])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/run.json")}
    assert ablate(corpus_dataset, tmp_path, **settings).to_json()["rows"] == report["rows"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_whose_worker_always_dies_ends_it_with_a_sentence(
    ray_cluster: Any, corpus_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "MAX_DEATHS", 0)
    kills = ["tests.planner.recording_tracker:Kills"]
    with pytest.raises(ClusterError, match=r"^a run's worker or node has died 1 times: .*; what was finished is kept"):
        ablate(corpus_dataset, tmp_path, arch="mlp_planner", axes=["decoding"], seeds=1, track=kills)


def test_an_axis_that_the_architecture_lacks_is_named(corpus_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"loops: .*FeatureMLP has none; choose from n_similar, "):
        ablate(corpus_dataset, tmp_path, arch="mlp_planner", axes=["loops"])
