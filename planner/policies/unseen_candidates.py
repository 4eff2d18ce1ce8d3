"""Candidates of which nobody recorded whether they passed, though one of their run did: the share of a pass of each.

Were they left out, a tool would seem to pass as often as runs with several candidates do.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.dataset.trials import Trials

Array: TypeAlias = NDArray[np.float64]
STEPS = 20
PRIOR_PASSES, PRIOR_TRIALS = 1.0, 2.0
TOOL_TRIALS = 2.0
"""For how many trials the tool's own rate stands beside those of the issue."""


def pass_shares(trials: Trials) -> Array:
    """Of each trial (t,) whether it passed, or where that is not known and it was not cut, how likely it did; NaN where
    nothing is known.

    Expectation-maximisation over the pass rates of tools and issues: of m candidates with rate p, one of which passed
    at least, m p / (1 - (1 - p)^m) are expected to have passed; less those that are known, they are shared among the
    others. The rate is the issue's, drawn towards the tool's: where one tool solved an issue, another is likelier to.
    """
    tools, tool = np.unique(trials.tool, return_inverse=True)
    issue = np.unique([subject.issue_id for subject in trials.subjects], return_inverse=True)[1]
    known, asked = np.isfinite(trials.passed) & ~trials.cut, trials.one_of_several
    found = np.where(known, trials.passed, np.nan)
    counted = known | asked
    m, passers = trials.candidates[asked], trials.known_passers[asked]
    trials_of_issue = np.bincount(issue[counted], minlength=issue.max(initial=-1) + 1)
    p = np.full(len(m), 0.5)
    for _ in range(STEPS):
        found[asked] = np.clip((m * p / (1 - (1 - p) ** m) - passers) / (m - passers), 0.0, 1.0)
        passes = np.bincount(tool[counted], found[counted], len(tools))
        rates = (passes + PRIOR_PASSES) / (np.bincount(tool[counted], minlength=len(tools)) + PRIOR_TRIALS)
        of_issue = np.bincount(issue[counted], found[counted], len(trials_of_issue))
        of_both = of_issue[issue[asked]] + TOOL_TRIALS * rates[tool[asked]]
        p = of_both / (trials_of_issue[issue[asked]] + TOOL_TRIALS)
    return found
