"""From recorded trials to a bundle: relabel, fit, judge, export and decide, on tables whose truth is planted."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest

from bench.judging.relabel import relabel
from planner.bundle import load_bundle
from planner.dataset.storage import load_dataset
from planner.dataset.trials import read_trials
from planner.decision import decide
from planner.errors import CheckpointError, ExportError
from planner.export.bundle import export_bundle
from planner.runs.checkpoint import checkpoint_path
from planner.runs.fitted import fit_run, load_run_policy
from planner.scoring.utility import limit_ms
from tests.bench.grouped import HOLDOUT, N_TRIALS, bench_tables
from tests.bench.ledgers import judged, rows_of
from tests.bench.test_replay import write_tables


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty problems with three agents: some pass quickly, some after an hour, some never and take long to fail."""
    directory = tmp_path_factory.mktemp("trials")
    draw = np.random.default_rng(0)
    kinds = ((0.9, 4, 12), (0.9, 50, 70), (0.0, 90, 110))
    trials: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    for number in range(30):
        passes, least, most = kinds[number % 3]
        for agent in ("x", "y", "z"):
            came = [(bool(draw.random() < passes), float(draw.uniform(least, most))) for _ in range(N_TRIALS)]
            trials[f"problem-{number}", agent] = came
    return bench_tables(write_tables(directory / "tables", trials), directory)


@pytest.fixture(scope="module")
def winners(ledger: Path) -> Path:
    """The dataset of the ledger's winners. Tests must not change it."""
    directory = ledger.parent / "winners"
    relabel(ledger, None, directory, holdout=HOLDOUT, by="pair")
    return directory


def test_what_trials_teach_beats_the_best_fixed_action_and_decides_without_scipy_or_torch(
    ledger: Path, winners: Path, tmp_path: Path
) -> None:
    dataset = load_dataset(winners)
    assert dataset.info.trials == {"whole": 90 * N_TRIALS, "cut": 0, "partly_known": 0}
    trials = read_trials(winners)
    held_out = set(dataset.splits["test"].table["example_id"])
    assert len(held_out) == 18
    assert (trials.split == "test").sum() == 18 * N_TRIALS

    runs = {arch: tmp_path / arch for arch in ("structural", "both")}
    for arch, run in runs.items():
        fit_run(run, arch, winners)
    report = judged(ledger, runs, holdout=HOLDOUT, by="pair")
    regret = {name: row["regret"] for name, row in rows_of(report).items()}
    assert regret["structural"] < 0.8 * regret["single best"]
    for arch in runs:
        # With the gate shut a policy is the best fixed action, and no worse.
        assert regret[arch] <= regret["single best"]
        assert regret[arch] < regret["heuristic"]
    # Over orders nobody profits from a lucky draw: the best per case passes less often than it did as recorded.
    recorded = rows_of(report, "recorded_order")
    assert recorded["best per case"]["pass_rate"] >= rows_of(report)["best per case"]["pass_rate"]
    assert recorded["structural"]["cases"] == 18

    metadata = export_bundle(runs["structural"], tmp_path / "bundle")
    assert metadata["check"]["disagreements"] == 0
    context = dataset.splits["test"].contexts()[0]
    decision = decide(context, load_bundle(tmp_path / "bundle"))
    assert decision.executed_plan["fallback_reason"] is None
    (tmp_path / "context.json").write_bytes(orjson.dumps(context))
    code = (
        "import sys, orjson; from pathlib import Path\n"
        "from planner.bundle import load_bundle; from planner.decision import decide\n"
        f"context = orjson.loads(Path({str(tmp_path / 'context.json')!r}).read_bytes())\n"
        f"plan = decide(context, load_bundle(Path({str(tmp_path / 'bundle')!r}))).executed_plan\n"
        "heavy = [n for n in ('scipy', 'sklearn', 'torch', 'ray', 'pyarrow') if n in sys.modules]\n"
        "print(orjson.dumps([plan, heavy]).decode())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert orjson.loads(done.stdout) == [decision.executed_plan, []]


def test_a_forest_is_no_bundle_and_a_fitted_run_has_no_checkpoint(ledger: Path, winners: Path, tmp_path: Path) -> None:
    relabel(ledger, None, tmp_path / "winners", by="problem")
    run = tmp_path / "forest"
    fit_run(run, "trial_forest", tmp_path / "winners")
    with pytest.raises(ExportError, match="--arch structural"):
        export_bundle(run, tmp_path / "bundle")
    with pytest.raises(CheckpointError, match="has no checkpoint"):
        checkpoint_path(run)
    with pytest.raises(CheckpointError, match="another --out leaves it alone"):
        fit_run(run, "structural", tmp_path / "winners")
    # The run is what it was fitted on: with another dataset in its place it is another policy.
    shutil.rmtree(tmp_path / "winners")
    shutil.copytree(winners, tmp_path / "winners")
    with pytest.raises(CheckpointError, match="has changed since"):
        load_run_policy(run)


def test_labels_are_what_is_expected_and_not_what_came_first(winners: Path) -> None:
    split = load_dataset(winners).splits["train"]
    shares = np.unique(np.round(np.asarray(split.outcomes.passed), 6))
    assert len(shares) > 2  # thirds of orders, not only 0 and 1
    assert (np.asarray(split.outcomes.agent_ms) <= 3 * limit_ms(60.0)).all()
