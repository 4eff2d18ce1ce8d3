"""Caps and thresholds: when a decision is followed, and where a plan is cut."""

from dataclasses import replace

import pytest

from planner.actions import Action
from planner.caps import Caps, objection, within
from planner.errors import ConfigError


def test_a_decision_at_its_threshold_and_at_its_caps_is_followed() -> None:
    # The threshold is the confidence of an example that was accepted, and a cap is what may be used up.
    action, caps = Action("speculate_vote", 3, 60, 2), Caps(max_candidates=3, max_minutes=60, max_iterations=2)
    assert objection(action, 0.75, 0.75, caps) is None
    assert objection(action, 0.7499, 0.75, caps) == "low_confidence"
    assert objection(action, 0.75, 0.75, replace(caps, max_candidates=2)) == "max_candidates_exceeds_cap"
    assert objection(action, 0.75, 0.75, replace(caps, max_minutes=59)) == "timeout_exceeds_cap"
    assert objection(action, 0.75, 0.75, replace(caps, max_iterations=1)) == "max_iterations_exceeds_cap"
    assert objection(Action("speculate_vote", 3, "NA", "NA"), 0.75, 0.75, replace(caps, max_minutes=1)) is None


def test_a_plan_is_cut_where_it_exceeds_a_cap_and_nowhere_else() -> None:
    action = Action("speculate_vote", 3, 60, "NA")
    assert within(Caps(), action) == action
    assert within(Caps(max_minutes=15), action._replace(max_minutes_bin="NA")) == action._replace(max_minutes_bin=15)
    for caps in ({"max_minutes": -5}, {"max_candidates": 0}):
        with pytest.raises(ConfigError, match="1 or more"):
            Caps(**caps)
    assert within(Caps(max_candidates=2, max_minutes=90, max_iterations=1), action) == action._replace(
        max_candidates_bin=2
    )
    assert within(Caps(max_minutes=30), action) == action._replace(max_minutes_bin=30)
