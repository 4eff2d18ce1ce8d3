"""What would become of a policy's decisions at run time: caps cut them, doubt leaves them to today's rule."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.judging.results import RECORDED
from planner.actions import HEADS, Action, ActionSpace
from planner.caps import Caps, objection, within
from planner.contracts.bench import BenchCase
from planner.dataset.outcomes import Outcomes
from planner.evaluation.regret_report import OnlineReport
from planner.scoring.preferences import Preference
from planner.scoring.regret import score
from planner.scoring.utility import Metrics


@dataclass(frozen=True)
class Decided:
    """A policy's decisions on n cases: its favourites, and how sure it is of them, (n,)."""

    actions: Sequence[Action]
    confidence: NDArray[np.float64]
    threshold: float | None
    """Below it the policy abstains; None when it was never calibrated, and then it never does."""


def caps_of(case: BenchCase, max_run_minutes: int | None) -> Caps:
    """No more candidates than there are toolchains, no more minutes than the universe allows.

    In a replay one agent works in every lane, so there its being the only toolchain caps nothing.
    """
    state = None if case.base_commit == RECORDED else case.context.system_state
    toolchains = (state.available_toolchains if state else None) or []
    return Caps(max_candidates=len(toolchains) or None, max_minutes=max_run_minutes)


def act(decided: Decided, cases: Sequence[BenchCase], caps: Sequence[Caps]) -> tuple[list[Action], list[str | None]]:
    """What would be executed in each case, and why it would not be what the policy decided (None: it would).

    By the rules of planner.caps, with the case's first action as what today's rule would run.
    """
    executed: list[Action] = []
    reasons: list[str | None] = []
    for case, action, confidence, cap in zip(cases, decided.actions, decided.confidence, caps, strict=True):
        offered = ActionSpace.from_document(case.context.action_space.model_dump())
        reason: str | None = "action_space_mismatch"
        if offered.is_valid(action, case.context.job_type):
            threshold = -1.0 if decided.threshold is None else decided.threshold
            reason = objection(action, float(confidence), threshold, cap)
        default = Action(**case.actions[0].model_dump())
        executed.append(within(cap, action if reason is None else default))
        reasons.append(reason)
    return executed, reasons


def exceeds(action: Action, caps: Caps) -> bool:
    """Whether a budget of the action lies above its cap."""
    return objection(action, confidence=1.0, threshold=0.0, caps=caps) is not None


def online_report(
    name: str,
    decided: Decided,
    preference: Preference,
    default: Preference,
    cases: Sequence[BenchCase],
    caps: Sequence[Caps],
    outcomes: Outcomes,
    clusters: NDArray[np.int64] | None = None,
    metrics: Metrics | None = None,
) -> OnlineReport:
    """How many of a policy's decisions caps would cut and how many it leaves to today's rule, and what that costs.

    ``default`` is today's rule's preference, ``metrics`` the objective's. All regrets are means of utility (see
    planner.scoring.regret).
    """
    executed, reasons = act(decided, cases, caps)
    counts = Counter(reason for reason in reasons if reason is not None)
    abstained = np.array([reason == "low_confidence" for reason in reasons], dtype=bool)
    left = np.array([reason is not None for reason in reasons], dtype=bool)
    obeyed = Preference(np.where(left[outcomes.example], default.of_action, preference.of_action))
    online = score(name, obeyed, outcomes, clusters=clusters, metrics=metrics)
    known = (abstained & outcomes.comparable).any()
    theirs, own = (
        score(name, one, outcomes, examples=abstained, metrics=metrics) if known else None
        for one in (default, preference)
    )
    return OnlineReport(
        policy=name,
        decisions=len(cases),
        wanted_more_than_caps=sum(exceeds(a, cap) for a, cap in zip(decided.actions, caps, strict=True)),
        executed_more_than_caps=sum(exceeds(a, cap) for a, cap in zip(executed, caps, strict=True)),
        left_to_todays_rule=dict(counts),
        threshold=decided.threshold,
        abstained=int(abstained.sum()),
        abstained_regret_of_todays_rule=None if theirs is None else theirs.regret,
        abstained_regret_of_todays_rule_at_most=None if theirs is None else theirs.regret_at_most,
        abstained_regret_of_policy=None if own is None else own.regret,
        abstained_regret_of_policy_at_most=None if own is None else own.regret_at_most,
        regret=online.regret,
        regret_low=online.regret_low,
        regret_high=online.regret_high,
        regret_at_most=online.regret_at_most,
    )


def kernel_confidence(
    heads: Sequence[NDArray[np.float64]], actions: Sequence[Action], space: ActionSpace
) -> NDArray[np.float64]:
    """How sure the kernel would be: the smallest of an action's four probabilities, (n,)."""
    positions = np.array([space.index(action) for action in actions]).reshape(-1, len(HEADS))
    rows = np.arange(len(positions))
    return np.exp(np.min([head[rows, positions[:, i]] for i, head in enumerate(heads)], axis=0))
