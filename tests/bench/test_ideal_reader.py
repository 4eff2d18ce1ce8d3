"""What a simulated world reckons is what its runs come to; the ideal reader reads nothing that the tracker hides."""

from dataclasses import replace

import numpy as np
import pytest

from bench.testbeds.simulation.ideal_reader import known, outcomes, read
from bench.testbeds.simulation.world import DAY_MS, START_MS, World
from planner.actions import Action
from planner.scoring.plan_outcome import plan_of

WORLD, AT_MS = World(3, 10), START_MS + 4 * DAY_MS
ACTIONS = [Action("speculate_vote", lanes, minutes, "NA") for lanes in (1, 3) for minutes in (15, 120)]
PLANS = [plan_of(action, 1.0) for action in ACTIONS]


@pytest.mark.parametrize("issue_id", ["1", "5"])
def test_what_is_reckoned_is_what_runs_come_to_on_average(issue_id: str) -> None:
    issue = WORLD.issue(issue_id)
    reckoned = outcomes(known(WORLD, issue, AT_MS), issue.document.get("dk_tool_hint"), PLANS)
    for at, action in enumerate(ACTIONS):
        runs = [WORLD.run(issue, action, trial, AT_MS) for trial in range(1500)]
        assert reckoned.passed[at] == pytest.approx(np.mean([run.passed for run in runs]), abs=0.05)
        assert reckoned.wall[at] == pytest.approx(np.mean([run.duration_ms for run in runs]) / 60_000, rel=0.06)
        assert reckoned.agent[at] == pytest.approx(np.mean([run.agent_ms for run in runs]) / 60_000, rel=0.06)


def test_an_ideal_reader_believes_the_same_of_issues_that_differ_in_what_is_hidden() -> None:
    issue = WORLD.issue("1")
    other = replace(issue, difficulty=9.0, affinity=dict.fromkeys(issue.affinity, 5.0), log_minutes={})
    beliefs = [read(WORLD, one, AT_MS) for one in (issue, other)]
    assert np.array_equal(beliefs[0].logit, beliefs[1].logit)
    assert np.array_equal(beliefs[0].log_minutes, beliefs[1].log_minutes)


def test_an_ideal_reader_is_right_on_average() -> None:
    """Over many issues its expectation of passes is how many pass."""
    issues = [WORLD.issue(str(number)) for number in range(300)]
    expected, came = (
        np.mean([outcomes(side(WORLD, issue, AT_MS), None, PLANS).passed for issue in issues], axis=0)
        for side in (read, known)
    )
    assert expected == pytest.approx(came, abs=0.07)
