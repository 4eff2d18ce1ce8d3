"""A further action dimension costs a row: one is added from outside, in its own process, and everything follows."""

import subprocess
import sys

import pytest

from planner.actions import HEADS, Action, ActionSpace, executed_label, executed_plan
from planner.dimensions import DIMENSIONS
from tests.conftest import FIXTURES

ADD_ONE = f"""
import dataclasses, sys
from pathlib import Path
import planner.dimensions as dimensions
dimensions.DIMENSIONS += (dimensions.Dimension(
    name="toolchain_set", kind="choice", executed_field="toolchain_set_executed", summary_field="toolchain_set",
    token="TOOLCHAIN_SET", bins=("all", "cheap"), fallback="all", short="t", title="tools", size_factor=False,
    default="all",
),)
import numpy as np, orjson
from planner.actions import *
from planner.actions import FALLBACK, HEADS, action_document, action_from_document
FROZEN = Path({str(FIXTURES / "frozen")!r})
QUESTION = orjson.loads((FROZEN / "bundle-v1" / "planner_input.json").read_bytes())
SPACE = ActionSpace.default(["serial_handoff", "speculate_vote"])
"""


def with_one_more(code: str) -> str:
    """What ``code`` prints where there is a fifth dimension, the toolchains that an issue may use."""
    done = subprocess.run([sys.executable, "-c", ADD_ONE + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_four_heads_are_the_table_in_its_order() -> None:
    assert HEADS == ("swarm_id", "max_candidates_bin", "max_minutes_bin", "max_iterations_bin")
    assert tuple(dimension.name for dimension in DIMENSIONS) == HEADS == Action._fields
    assert str(Action("serial_handoff", 1, 60, "NA")) == "serial_handoff c=1 m=60 i=NA"


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(900, 15), (None, "NA"), (930, None)], ids=["minutes", "none", "no whole minutes"]
)
def test_a_plan_becomes_the_action_that_makes_it(seconds: int | None, minutes: int | str | None) -> None:
    space = ActionSpace.default(["serial_handoff"])
    plan = {**executed_plan(Action("serial_handoff", 1, 15, "NA")), "timeout_seconds_executed": seconds}
    label, reason = executed_label(plan, space, "code")
    if minutes is None:
        assert label is None and reason == "executed timeout is no whole number of minutes"
    else:
        assert label is not None and label.max_minutes_bin == minutes
        assert executed_plan(label) == plan


def test_a_fifth_dimension_is_in_space_rules_documents_and_plans() -> None:
    with_one_more("""
assert HEADS[4] == "toolchain_set" and SPACE.widths == (2, 4, 6, 5, 2)
five = Action("speculate_vote", 2, 30, "NA", "cheap")
assert str(five) == "speculate_vote c=2 m=30 i=NA t=cheap"
assert Action("serial_handoff", 1, 60, "NA").toolchain_set == "all" == FALLBACK.toolchain_set
document = SPACE.to_document()
assert document["toolchain_sets"] == ["all", "cheap"]
assert ActionSpace.from_document(document) == SPACE == ActionSpace.union([SPACE, SPACE])
ruled = {**document, "validity_rules": document["validity_rules"]
         + [{"if": {"swarm_id": "speculate_vote"}, "then": {"toolchain_set": "all"}}]}
assert SPACE.is_valid(five, "code") and not ActionSpace.from_document(ruled).is_valid(five, "code")
written = action_document(five)
assert written["toolchain_set"] == "cheap" and "toolchain_set" not in written["budgets"]
assert action_from_document(written) == five == action_from_document(five._asdict())
del written["toolchain_set"]
assert action_from_document(written) == five._replace(toolchain_set="all")
plan = executed_plan(five)
assert plan["toolchain_set_executed"] == "cheap" and plan["timeout_seconds_executed"] == 1800
assert executed_label(plan, SPACE, "code") == (five, "")
del plan["toolchain_set_executed"]
assert executed_label(plan, SPACE, "code")[0].toolchain_set == "all"
from planner.artifacts.summaries import executed_action
assert executed_action(executed_plan(five))["toolchain_set"] == "cheap"
from planner.caps import Caps, objection, within
assert within(Caps(1, 15, 1), five) == Action("speculate_vote", 1, 15, "NA", "cheap")
assert objection(five, 1.0, 0.0, Caps(max_minutes=15)) == "timeout_exceeds_cap"
from bench.judging.objective import plan_size
assert plan_size(five) == 60
""")


def test_a_fifth_dimension_is_decoded_jointly() -> None:
    with_one_more("""
heads = [np.log(np.full(width, 1 / width)) for width in SPACE.widths]
assert SPACE.valid_indices("code").shape[1] == 5
heads[4] = np.log(np.array([0.1, 0.9]))
heads[2] = np.log(np.array([0.5, 0.1, 0.1, 0.1, 0.1, 0.1]))
best = SPACE.decode(heads, "code")
assert best.toolchain_set == "cheap" and best.max_minutes_bin == 15
joint = SPACE.joint_log_probs(heads, "code")
assert abs(np.exp(joint).sum() - 1) < 1e-9
assert len(SPACE.valid_actions("code")) == 2 * (4 + 1) * 6
""")


def test_a_fifth_dimension_is_in_the_tokens_and_old_contexts_are_read() -> None:
    with_one_more("""
from planner.encoding.tokens import own_segment, run_tokens
old = own_segment(QUESTION)
assert old[-3:] == ["[KEY:TOOLCHAIN_SETS]", "[VAL:all]", "[SEP]"]
assert ActionSpace.from_document(QUESTION["action_space"]).bins("toolchain_set") == ("all",)
new = own_segment({**QUESTION, "action_space": SPACE.to_document()})
assert new[-4:] == ["[KEY:TOOLCHAIN_SETS]", "[VAL:all]", "[VAL:cheap]", "[SEP]"]
run = {"action_executed": {"swarm_id": "serial_handoff", "max_candidates": 1, "max_minutes": 5, "max_iterations": None,
       "toolchain_set": "cheap"}, "outcome": {"status": "success", "fail_codes": [], "gates": []},
       "runtime": {"duration_ms": 5}}
tokens = run_tokens(run)
assert tokens[tokens.index("[KEY:TOOLCHAIN_SET]") + 1] == "[VAL:cheap]"
""")


@pytest.mark.parametrize("head", ["four", "joint"])
def test_a_fifth_dimension_is_learned(head: str) -> None:
    """An MLP's forward pass and loss on examples of which one is labelled with the new dimension's second value."""
    with_one_more(f"""
import torch
from planner.config import TrainConfig
from planner.dataset.examples import Example
from planner.dataset.split import SPLITS
from planner.dataset.storage import inputs_of_split, load_dataset
from planner.dataset.write import write_dataset
from planner.encoding.profiles import encode
from planner.models.base import ModelSpec
from planner.models.load import build_model
from planner.runs.batches import batcher_for
from planner.training.losses import Loss
import tempfile
labels = [Action("serial_handoff", 1, 60, "NA", "cheap"), Action("speculate_vote", 2, 30, "NA", "all")]
context = {{**QUESTION, "action_space": SPACE.to_document()}}
examples = [Example.of(context, example_id=str(i), label=label, decided_ms=i, issue_id="1", job_type="code",
            domain="code", status="success", duration_ms=5, cost_usd=None) for i, label in enumerate(labels)]
out = Path(tempfile.mkdtemp()) / "dataset"
write_dataset(out, examples=examples, encoded=[encode([context] * 2, 16, "planner")],
    splits={{"train": range(0, 2), "val": range(2, 2), "test": range(2, 2)}}, space=SPACE, vocabulary=None,
    seen_issues=set(), n_similar=16, account=dict(label_source="executed_plans", base_dataset_hash=None,
    kernel_config={{}}, minute_seconds=60.0, counts={{}}, contexts={{}}, unlabelled={{}}, quarantine=[]))
dataset = load_dataset(out)
assert dataset.space == SPACE
train = dataset.splits["train"]
assert train.labels.shape == (2, 5) and train.labels[:, 4].tolist() == [1, 0]
config = TrainConfig(class_path="planner.models.mlp@FeatureMLP", model={{"hidden": 4, "action_head": {head!r}}})
assert len(config.head_weights) == 5
model = build_model(config.class_path, config.model, ModelSpec.of(dataset.info))
batch = batcher_for(model, inputs_of_split(train), 16, torch.device("cpu")).batch(np.arange(2))
loss = Loss(train, model, config, torch.device("cpu"))(model(batch), np.arange(2)).sum()
loss.backward()
assert torch.isfinite(loss) and model.heads.linear.weight.grad.abs().sum() > 0
assert len(model.outputs) == (5 if {head!r} == "four" else 1)
from planner.dataset.storage import label_of
row = {{key: values[0] for key, values in train.table.items()}}
assert label_of(row) == labels[0]
""")
