"""Networks with a trial head on recorded trials whose truth is planted: trained, judged on the bench, and compared."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson

from planner.dataset.storage import load_dataset
from planner.evaluation.compare import compare
from planner.runs.checkpoint import read_run
from planner.runs.learned import LearnedPolicy
from planner.training.trial_examples import trials_of_examples
from tests.bench.grouped import N_TRIALS
from tests.trained_runs import trained

SETTINGS = ("model.action_head=trials", "epochs=40", "batch_size=16", "n_similar=0", "lr=0.01")


def test_a_case_of_recorded_trials_is_learned_from_all_of_them(grouped_winners: Path) -> None:
    dataset = load_dataset(grouped_winners)
    found = trials_of_examples(dataset, "train")
    assert (np.diff(found.bounds) == N_TRIALS).all()
    hints = [context["issue"]["dk_tool_hint"] for context in dataset.splits["train"].contexts()]
    assert found.tools.tolist() == [hint for hint in hints for _ in range(N_TRIALS)]


def test_the_gate_of_a_trial_head_opens_where_the_issues_group_tells(grouped_winners: Path, tmp_path: Path) -> None:
    gates = LearnedPolicy(trained(grouped_winners, tmp_path / "run", *SETTINGS)).reading
    assert gates is not None and gates.document.gates["known"].open


def test_a_recurrent_network_learns_to_foresee_trials(grouped_winners: Path, tmp_path: Path) -> None:
    small = ("model.d_model=32", "model.layers=1", "model.loops=2", "epochs=12")
    run = trained(grouped_winners, tmp_path / "run", *SETTINGS, *small, arch="urm_planner")
    first = orjson.loads((run / "metrics.jsonl").read_bytes().splitlines()[0])
    best = read_run(run).best_metric
    assert best is not None and best > first["val_trial_log_likelihood"] + 0.5


def test_where_the_gate_is_shut_the_best_fixed_action_is_taken(grouped_winners: Path, tmp_path: Path) -> None:
    # Trained for one step, it knows the issues no better than all of them together.
    run = trained(grouped_winners, tmp_path / "run", *SETTINGS[:1], "epochs=1", "batch_size=1000", "n_similar=0")
    policy = LearnedPolicy(run)
    assert policy.reading is not None
    document = policy.reading.document
    assert not document.gates["known"].open and not document.gates["new"].open
    contexts = load_dataset(grouped_winners).splits["test"].contexts()
    fixed = policy.space.valid_actions("code")[int(np.argmax(document.fixed))]
    heads = policy.log_probs_of(contexts)
    assert {policy.space.decode([head[at] for head in heads], "code") for at in range(len(contexts))} == {fixed}


def test_compare_trains_and_judges_it_like_any_other_policy(
    ray_cluster: Any, grouped_winners: Path, tmp_path: Path
) -> None:
    report = compare(
        grouped_winners, tmp_path, policies=["single_best", "mlp_planner"], seeds=1, overrides=list(SETTINGS)
    )
    regret = {
        row.policy: row.numbers["regret"] or 0.0 for row in report.rows if (row.split, row.issues) == ("test", "all")
    }
    assert regret["mlp_planner"] < 0.6 * regret["single best"]
