"""What one execution says of the same plan with fewer minutes: most outcomes follow, and need not be run.

Of an agent that does not know its limit, a run of 60 minutes in which every agent ended by itself within 20 is also a
run of 30 minutes; one in which every agent still worked after 30 minutes would have been a timeout there. An agent that
is shown its limit works otherwise under another one: of its toolchain nothing is derived.
"""

from collections.abc import Collection, Iterable

from bench.executors.outcome import cut_launches, total_cost
from bench.executors.protocol import Timing
from planner.actions import Action
from planner.contracts.bench import BenchOutcome

REAL_MARGIN = 0.05
"""Share of the limit around which a real agent's end is too close to it: the kernel's clock is not ours."""


def same_but_minutes(action: Action, other: Action) -> bool:
    """Whether the two differ in nothing but their minutes."""
    return action._replace(max_minutes_bin=0) == other._replace(max_minutes_bin=0)


def derive(
    action: Action,
    known: Iterable[tuple[Action, str, BenchOutcome]],
    executor: Timing,
    shown_limit: Collection[str] = (),
) -> BenchOutcome | None:
    """The outcome of ``action`` as far as it follows from an execution under more minutes; None = it has to be run.

    ``known`` are (action, execution id, outcome) of the same case and repeat, none of them a fault. ``shown_limit`` are
    the toolchains whose agents are shown their limit.
    """
    limit_ms = executor.lane_limit_ms(action)
    if limit_ms is None:
        return None
    margin_ms = 0 if executor.instant else round(REAL_MARGIN * limit_ms)
    for other, execution_id, outcome in known:
        longer_ms = executor.lane_limit_ms(other)
        if not same_but_minutes(action, other) or longer_ms is None or longer_ms <= limit_ms or outcome.derived_from:
            continue
        if any(launch.tool in shown_limit for launch in outcome.launches):
            continue
        shorter = _shortened(outcome, limit_ms, margin_ms)
        if shorter is not None:
            plan = shorter.executed_plan
            seconds = None if action.max_minutes_bin == "NA" else action.max_minutes_bin * 60
            plan = None if plan is None else plan.model_copy(update={"timeout_seconds_executed": seconds})
            return shorter.model_copy(update={"derived_from": execution_id, "cpu_ms": None, "executed_plan": plan})
    return None


def _shortened(outcome: BenchOutcome, limit_ms: int, margin_ms: int) -> BenchOutcome | None:
    """The outcome as it would be if each agent had been stopped after ``limit_ms``; None where that is not certain."""
    if not outcome.launches:
        return None
    first = min(launch.started_ms for launch in outcome.launches)
    ends = [launch.started_ms - first + launch.duration_ms for launch in outcome.launches]
    if any(abs(end - limit_ms) < margin_ms for end in ends):
        return None
    if outcome.status == "stopped_early":
        return _shortened_early_stop(outcome, limit_ms, ends)
    if max(ends) <= limit_ms:
        return outcome
    if outcome.passed and min(ends) <= limit_ms:
        # One of those that ended in time may be the one that passed, or not.
        return None
    return _failed(outcome, limit_ms, ends)


def _shortened_early_stop(outcome: BenchOutcome, limit_ms: int, ends: list[int]) -> BenchOutcome | None:
    """A run that was stopped from outside shows that it would have been stopped there, or that it was not done yet."""
    if max(ends) <= limit_ms:
        return outcome
    return _failed(outcome, limit_ms, ends) if min(ends) > limit_ms else None


def _failed(outcome: BenchOutcome, limit_ms: int, ends: list[int]) -> BenchOutcome:
    """Nobody passed in time. What the agents did after the limit is taken off."""
    launches = cut_launches(outcome.launches, limit_ms)
    nobody_ended = min(ends) > limit_ms
    return outcome.model_copy(
        update={
            "passed": False,
            "status": "timeout" if nobody_ended else "failed",
            "stopped_by": None,
            "duration_ms": outcome.duration_ms - (max(ends) - limit_ms),
            "agent_ms": sum(launch.duration_ms for launch in launches),
            "cost_usd": total_cost(launches),
            "gates": [],
            "fail_codes": ["timeout"] if nobody_ended else [],
            "launches": launches,
        }
    )
