"""The action space: decoding never leaves the valid tuples, and nothing about it is written into code."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from planner.actions import DEFAULT_RULES, HEADS, Action, ActionSpace, executed_label
from planner.dataset.storage import load_dataset
from planner.errors import ActionError, PlannerError

BINS = st.lists(st.one_of(st.integers(1, 200), st.just("NA")), min_size=1, max_size=5, unique=True)
SWARMS = st.lists(
    st.sampled_from(["serial_handoff", "speculate_vote", "relay", "jury", "solo"]), min_size=1, max_size=4, unique=True
)
JOB_TYPES = st.sampled_from(["code", "fab-world", "review"])


@st.composite
def spaces(draw: Any) -> ActionSpace:
    """Arbitrary spaces with arbitrary well-formed rules over their own values, strange values and job types."""
    document: dict[str, Any] = {
        "swarm_ids": draw(SWARMS),
        "max_candidates_bins": draw(BINS),
        "max_minutes_bins": draw(BINS),
        "max_iterations_bins": draw(BINS),
    }
    fields = {head: [*document[f"{head}s"], "nowhere"] for head in HEADS}
    rules = list(draw(st.sampled_from([(), DEFAULT_RULES])))
    for _ in range(draw(st.integers(0, 3))):
        condition = {
            key: draw(st.sampled_from(fields[key])) for key in draw(st.lists(st.sampled_from(HEADS), max_size=2))
        }
        if draw(st.booleans()):
            condition["job_type"] = draw(JOB_TYPES)
        head = draw(st.sampled_from(HEADS))
        values = draw(st.one_of(st.sampled_from(fields[head]), st.lists(st.sampled_from(fields[head]), min_size=1)))
        rules.append({"if": condition, "then": {head + draw(st.sampled_from(["", "_not"])): values}})
    return ActionSpace.from_document({**document, "validity_rules": rules})


def obeys(action: Action, job_type: str, rules: list[dict[str, Any]]) -> bool:
    """The rules' meaning, written down a second time."""
    facts = {**action._asdict(), "job_type": job_type}

    def among(value: Any, wanted: Any) -> bool:
        return value in wanted if isinstance(wanted, list) else value == wanted

    for rule in rules:
        if all(among(facts[key], wanted) for key, wanted in rule["if"].items()):
            for key, wanted in rule["then"].items():
                forbidden = key.endswith("_not")
                if among(facts[key.removesuffix("_not")], wanted) == forbidden:
                    return False
    return True


def valid_or_skip(space: ActionSpace, job_type: str) -> tuple[Action, ...]:
    """The valid actions; the example is given up when the rules leave none."""
    try:
        return space.valid_actions(job_type)
    except ActionError:
        assume(False)
        raise


@settings(max_examples=150, deadline=None)
@given(spaces(), JOB_TYPES, st.integers(0, 2**32 - 1), st.sampled_from(["plain", "infinite", "nan", "equal"]))
def test_decoding_never_leaves_the_valid_set(space: ActionSpace, job_type: str, seed: int, kind: str) -> None:
    valid_or_skip(space, job_type)
    random = np.random.default_rng(seed)
    heads = [random.normal(0, 50, width) for width in space.widths]
    if kind == "infinite":
        heads = [np.where(random.random(len(head)) < 0.6, -np.inf, head) for head in heads]
    elif kind == "nan":
        heads = [np.where(random.random(len(head)) < 0.3, np.nan, head) for head in heads]
    elif kind == "equal":
        heads = [np.zeros(len(head)) for head in heads]
    action = space.decode(heads, job_type)
    assert all(value in space.bins(head) for head, value in zip(HEADS, action, strict=True))
    assert obeys(action, job_type, space.validity_rules)


@settings(max_examples=150, deadline=None)
@given(spaces(), JOB_TYPES, st.integers(0, 2**32 - 1))
def test_decoding_finds_the_best_valid_tuple(space: ActionSpace, job_type: str, seed: int) -> None:
    valid = valid_or_skip(space, job_type)
    heads = [np.random.default_rng(seed + i).normal(size=width) for i, width in enumerate(space.widths)]

    def score(action: Action) -> float:
        return sum(float(head[i]) for head, i in zip(heads, space.index(action), strict=True))

    assert score(space.decode(heads, job_type)) == pytest.approx(max(map(score, valid)))
    assert np.exp(space.joint_log_probs(heads, job_type)).sum() == pytest.approx(1)


@settings(max_examples=100, deadline=None)
@given(spaces(), JOB_TYPES)
def test_masks_admit_exactly_the_values_of_valid_tuples(space: ActionSpace, job_type: str) -> None:
    valid = valid_or_skip(space, job_type)
    for place, (head, mask) in enumerate(zip(HEADS, space.masks(job_type), strict=True)):
        admitted = [value for value, ok in zip(space.bins(head), mask, strict=True) if ok]
        assert set(admitted) == {action[place] for action in valid}
    assert all(space.is_valid(action, job_type) and obeys(action, job_type, space.validity_rules) for action in valid)


@settings(max_examples=50, deadline=None)
@given(spaces())
def test_a_space_survives_the_way_through_its_document(space: ActionSpace) -> None:
    assert ActionSpace.from_document(space.to_document()) == space


def test_cyntras_rules_hold_in_its_default_space() -> None:
    space = ActionSpace.default(["speculate_vote", "serial_handoff"])
    assert space.swarm_ids == ("serial_handoff", "speculate_vote")
    code = space.valid_actions("code")
    assert {a.max_candidates_bin for a in code if a.swarm_id == "serial_handoff"} == {1}
    assert {a.max_iterations_bin for a in code} == {"NA"}
    worlds = space.valid_actions("fab-world")
    assert "NA" not in {a.max_candidates_bin for a in worlds}
    assert {1, 5} <= {a.max_iterations_bin for a in worlds}


@pytest.mark.parametrize(
    "rule",
    [
        {"description": "no condition", "then": {"max_candidates_bin": 1}},
        {"if": {"swarm_id": "x"}},
        {"if": [], "then": {}},
        {"if": {"colour": "red"}, "then": {"max_candidates_bin": 1}},
        {"if": {}, "then": {"job_type": "code"}},
        {"if": {}, "then": {"max_candidates_bin_never": 1}},
    ],
)
def test_a_malformed_rule_is_refused(rule: dict[str, Any]) -> None:
    document = {**ActionSpace.default(["a"]).to_document(), "validity_rules": [rule]}
    with pytest.raises(ActionError, match="rule"):
        ActionSpace.from_document(document, "somewhere.json")


@pytest.mark.parametrize(
    "changes",
    [
        {"swarm_ids": []},
        {"swarm_ids": ["a", "a"]},
        {"max_minutes_bins": [15, 0]},
        {"max_minutes_bins": [15, True]},
        {"max_iterations_bins": ["ALL"]},
        {"max_candidates_bins": [1, 1]},
    ],
)
def test_a_malformed_space_is_refused_with_its_source(changes: dict[str, Any]) -> None:
    with pytest.raises(PlannerError, match="somewhere"):
        ActionSpace.from_document({**ActionSpace.default(["a"]).to_document(), **changes}, "somewhere.json")


def test_rules_that_leave_nothing_are_an_error_and_not_an_empty_decision() -> None:
    rule = {"if": {}, "then": {"max_candidates_bin": 7}}
    space = ActionSpace.from_document({**ActionSpace.default(["a"]).to_document(), "validity_rules": [rule]})
    with pytest.raises(ActionError, match="no valid action"):
        space.masks("code")


def test_the_union_of_spaces_holds_all_their_values_in_order() -> None:
    first, second = ActionSpace.default(["b"]), ActionSpace.default(["c", "a"])
    wider = ActionSpace.from_document({**second.to_document(), "max_candidates_bins": ["NA", 8, 2]})
    union = ActionSpace.union([first, wider])
    assert union.swarm_ids == ("a", "b", "c")
    assert union.bins("max_candidates_bin") == (1, 2, 3, 8, "NA")
    assert union == ActionSpace.union([wider, first])


def plan(**changes: Any) -> dict[str, Any]:
    """An executed plan of three candidates in half an hour, with changes."""
    return {
        "schema_version": "cyntra.executed_plan.v1",
        "swarm_id_executed": "speculate_vote",
        "max_candidates_executed": 3,
        "timeout_seconds_executed": 1800,
        "max_iterations_executed": None,
        "fallback_applied": False,
        "fallback_reason": None,
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, Action("speculate_vote", 3, 30, "NA")),
        ({"timeout_seconds_executed": None}, Action("speculate_vote", 3, "NA", "NA")),
        ({"timeout_seconds_executed": 2}, None),
        ({"timeout_seconds_executed": 899}, None),
        ({"timeout_seconds_executed": 901}, None),
        ({"timeout_seconds_executed": 60}, None),
        ({"max_candidates_executed": 4}, None),
        ({"swarm_id_executed": "serial_handoff"}, None),
        ({"swarm_id_executed": "unheard_of"}, None),
        ({"max_iterations_executed": 2}, None),
    ],
)
def test_a_plan_is_a_label_only_when_it_is_exactly_in_the_space(changes: dict[str, Any], label: Action | None) -> None:
    space = ActionSpace.default(["serial_handoff", "speculate_vote"])
    found, reason = executed_label(plan(**changes), space, "code")
    assert found == label
    assert bool(reason) == (label is None)


@given(spaces(), JOB_TYPES)
def test_a_joint_heads_tuples_are_those_valid_for_some_job_type(space: ActionSpace, job_type: str) -> None:
    found = [space.action(row) for row in space.tuples.tolist()]
    everything = itertools.product(*(space.bins(head) for head in HEADS))
    known = ("code", "fab-world", "review", "anything else")
    assert found == [
        Action(*values)
        for values in everything
        if any(obeys(Action(*values), name, space.validity_rules) for name in known)
    ]
    assert space.tuple_rows(space.tuples).tolist() == list(range(len(found)))
    try:
        valid = space.valid_indices(job_type)
    except ActionError:
        return
    assert [found[row] for row in space.tuple_rows(valid)] == list(space.valid_actions(job_type))


def test_an_action_that_is_valid_for_no_job_type_has_no_row() -> None:
    space = ActionSpace.default(["serial_handoff", "speculate_vote"])
    parallel_serial = np.array(space.index(Action("serial_handoff", 3, 30, "NA")))
    assert space.tuple_rows(parallel_serial) == -1


@given(st.integers(0, 2**32 - 1), st.sampled_from(["code", "fab-world", "other"]))
def test_a_joint_head_that_knows_the_sum_of_four_decides_as_they_do(seed: int, job_type: str) -> None:
    space = ActionSpace.default(["serial_handoff", "speculate_vote", "relay"])
    random = np.random.default_rng(seed)
    heads = [np.log(random.dirichlet(np.ones(width), size=3)) for width in space.widths]
    summed = sum(head[:, space.tuples[:, i]] for i, head in enumerate(heads))
    np.testing.assert_allclose(
        space.joint_log_probs([np.asarray(summed)], job_type), space.joint_log_probs(heads, job_type), atol=1e-12
    )


def test_marginals_add_up_the_tuples_that_share_a_value() -> None:
    space = ActionSpace.default(["serial_handoff", "speculate_vote"])
    random = np.random.default_rng(0)
    joint = random.dirichlet(np.ones(len(space.tuples)), size=4)
    with np.errstate(divide="ignore"):
        heads = space.marginals(np.log(np.where(np.arange(len(space.tuples)) < 30, joint, 0.0)))
    for head, log_probs in enumerate(heads):
        for value in range(space.widths[head]):
            rows = (space.tuples[:, head] == value) & (np.arange(len(space.tuples)) < 30)
            np.testing.assert_allclose(np.exp(log_probs[:, value]), joint[:, rows].sum(axis=1), atol=1e-12)
    assert np.isneginf(heads[0][:, 1]).all(), "only the first swarm's tuples have any probability"


def test_a_new_swarm_in_the_catalogue_reaches_the_dataset_without_a_code_change(
    corpus: Path, tmp_path: Path, ray_cluster: Any
) -> None:
    from planner.dataset.build import build_dataset

    swarms = corpus / "universes" / "medica" / "swarms.yaml"
    swarms.write_text(swarms.read_text() + "\n  relay_race:\n    type: relay\n    population_size: 4\n")
    for path in corpus.glob(".cyntra/runs/evolve_world_*/evolve_world.json"):
        path.write_text(path.read_text().replace('"serial_handoff"', '"relay_race"'))
    build_dataset(corpus, tmp_path / "dataset")
    dataset = load_dataset(tmp_path / "dataset")
    assert "relay_race" in dataset.space.swarm_ids
    labels = [swarm for split in dataset.splits.values() for swarm in split.table["swarm_id"]]
    assert "relay_race" in labels
