"""The one sentence that a page begins with: which policy, how much better, how sure; and what to do next."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from bench.report.grid import Grid, fate_of
from bench.report.sources import Sources
from bench.report.standing import RULE, SINGLE_BEST, Standing, Standings
from bench.report.words import amount, dollars, gain, plural, share, won
from planner.evaluation.regret_report import Gain

MIN_PROBLEMS = 10
"""Of fewer unseen problems nothing is said to be sure, whatever the interval."""
Verdict = Literal["follow", "fixed", "open", "nothing"]
"""follow: a learned policy pays. fixed: one action for all cases does. open: chance may explain it. nothing: no two
actions were compared."""


Source = Literal["run", "recorded", "simulated"]
"""Where outcomes come from: agents that ran, trials that were recorded before, a simulated world."""


@dataclass(frozen=True)
class Cost:
    """What the bench took."""

    executions: int
    agent_minutes: float
    dollars: float | None
    source: Source

    @property
    def text(self) -> str:
        """In words."""
        outcomes = plural(self.executions, "outcome")
        if self.source == "recorded":
            return f"{outcomes} were looked up in recorded trials, which cost nothing new"
        if self.source == "simulated":
            return f"{outcomes} were drawn from a simulated world, which says nothing about real agents"
        dollars = "" if self.dollars is None else f" and ${self.dollars:,.2f}"
        spent = f"{amount(self.agent_minutes)} agent minutes{dollars}"
        return f"Knowing this cost {spent} of {plural(self.executions, 'execution')}"


@dataclass(frozen=True)
class Answer:
    """What a reader should take away."""

    verdict: Verdict
    sentence: str
    evidence: tuple[str, ...]
    """On what it was judged, what policies came to, how sure that is, and what it cost to know."""
    next_steps: tuple[str, ...]


def source_of(grid: Grid) -> Source:
    """Where the outcomes of a ledger come from, by what it was bound to."""
    # A replay of a simulated bench says both.
    if "simulation" in grid.settings:
        return "simulated"
    return "recorded" if "replay" in grid.settings else "run"


def cost_of(grid: Grid, minute_ms: float) -> Cost:
    """What all executions of a ledger took; a derived outcome took nothing."""
    ran = [
        one.outcome for one in grid.executions if one.outcome is not None and fate_of(one) not in ("planned", "derived")
    ]
    dollars = [outcome.cost_usd for outcome in ran if outcome.cost_usd is not None]
    return Cost(
        executions=len(ran),
        agent_minutes=sum(outcome.agent_ms for outcome in ran) / minute_ms,
        dollars=sum(dollars) if dollars else None,
        source=source_of(grid),
    )


def answer(sources: Sources, standings: Standings | None, cost: Cost | None) -> Answer:
    """What can be said."""
    if standings is None:
        return _nothing(sources)
    best = _best_run(standings)
    evidence = _evidence(standings, best, cost)
    if best is None:
        return _without_runs(sources, standings, evidence)
    return _with_run(sources, standings, best, evidence)


def _evidence(standings: Standings, best: Standing | None, cost: Cost | None) -> tuple[str, ...]:
    lines = [
        f"Judged on {plural(standings.n_cases, 'unseen case')} of {plural(standings.n_problems, 'problem')}, with "
        f"{plural(standings.learning_cases, 'other case')} to learn from."
    ]
    shown = [one for one in (best, standings.get(SINGLE_BEST), standings.get(RULE)) if one is not None]
    came_to = [_came_to(one) for one in shown]
    if any(came_to):
        lines.append(f"On average {'; '.join(one for one in came_to if one)}.")
    pairs = [(SINGLE_BEST, RULE)] if best is None else [(best.name, RULE), (best.name, SINGLE_BEST)]
    gains = [(over, standings.gain(name, over)) for name, over in pairs]
    known = [f"{gain(found)} over {_named(standings, over)}" for over, found in gains if found is not None]
    if known:
        lines.append(f"Utility won, with 95 % intervals: {', '.join(known)}.")
    executed = _share_executed(standings.get(SINGLE_BEST))
    if executed < 1:
        lines.append(
            f"That action was executed in {share(executed)} of the unseen cases; in the others the best of those that "
            "were stands for it."
        )
    if cost is not None:
        lines.append(f"{cost.text}.")
    return tuple(lines)


def _came_to(one: Standing) -> str:
    if one.passed is None or one.agent_minutes is None:
        return ""
    name = "the best fixed action" if one.name == SINGLE_BEST else one.label
    cost = "" if one.dollars is None else f" and {dollars(one.dollars.mean)}"
    return f"{name} passes {share(one.passed.mean)} for {amount(one.agent_minutes.mean)} agent minutes{cost} a case"


def _named(standings: Standings, name: str) -> str:
    if name == SINGLE_BEST:
        return f"the best fixed action, {_fixed_action(standings)}"
    found = standings.get(name)
    return name if found is None else found.label


def _best_run(standings: Standings) -> Standing | None:
    runs = [one for one in standings.policies if one.kind == "run" and one.regret is not None]
    return min(runs, key=lambda one: one.regret.mean if one.regret else math.inf, default=None)


def _with_run(sources: Sources, standings: Standings, best: Standing, evidence: tuple[str, ...]) -> Answer:
    over_rule, over_fixed = standings.gain(best.name, RULE), standings.gain(best.name, SINGLE_BEST)
    fixed_over_rule = standings.gain(SINGLE_BEST, RULE)
    cases = plural(standings.n_cases, "unseen case")
    action = _fixed_action(standings)
    if standings.n_problems < MIN_PROBLEMS or over_rule is None:
        return Answer(
            "open",
            f"Nothing can be said yet: {_too_few(standings.n_problems)} to tell a better policy from chance.",
            evidence,
            (_bench_more(MIN_PROBLEMS * 3 - standings.n_problems),),
        )
    if over_rule.low > 0 and over_fixed is not None and over_fixed.low > 0:
        return Answer(
            "follow",
            f"Follow “{best.label}”: on {cases} it is worth {won(over_rule)} of utility more than today's rule and "
            f"{won(over_fixed)} more than the best fixed action, both more than chance explains.",
            evidence,
            _to_serve(sources, best),
        )
    if fixed_over_rule is not None and fixed_over_rule.low > 0 and (over_fixed is None or over_fixed.low <= 0):
        return Answer(
            "fixed",
            f"Take one action for every issue, {action}: on {cases} it is worth {won(fixed_over_rule)} of utility more "
            f"than today's rule, and {_not_better(best, over_fixed)}.",
            evidence,
            (_bench_more(_cases_wanted(over_fixed, standings.n_cases)),),
        )
    if over_rule.low > 0:
        return Answer(
            "follow",
            f"Follow “{best.label}” rather than today's rule: on {cases} it is worth {won(over_rule)} of utility more, "
            f"which chance does not explain; {_not_better(best, over_fixed)}.",
            evidence,
            (*_to_serve(sources, best), _bench_more(_cases_wanted(over_fixed, standings.n_cases))),
        )
    if over_rule.high < 0:
        return Answer(
            "open",
            f"Keep today's rule: on {cases} the best trained run, “{best.label}”, is worth {won(over_rule)} of utility "
            "less.",
            evidence,
            (_bench_more(None),),
        )
    return Answer(
        "open",
        f"Nothing can be said yet: on {cases} the best trained run, “{best.label}”, and today's rule differ by "
        f"{won(over_rule)} of utility, which may be chance.",
        evidence,
        (_bench_more(_cases_wanted(over_rule, standings.n_cases)),),
    )


def _not_better(best: Standing, over_fixed: Gain | None) -> str:
    if over_fixed is None:
        return f"how “{best.label}” compares with the best fixed action is not known"
    if over_fixed.high < 0:
        return f"the best trained run, “{best.label}”, is worth less than that"
    return f"whether “{best.label}” is better than the best fixed action is open"


def _without_runs(sources: Sources, standings: Standings, evidence: tuple[str, ...]) -> Answer:
    found = standings.gain(SINGLE_BEST, RULE)
    cases = plural(standings.n_cases, "unseen case")
    train = (
        "Judge a learned policy on the same cases: planner relabel, planner train --arch structural, then "
        f"planner evaluate RUN --bench {sources.ledger}"
    )
    if found is None or standings.n_problems < MIN_PROBLEMS:
        return Answer(
            "open",
            f"Nothing can be said yet: {_too_few(standings.n_problems)} to tell a better action from chance.",
            evidence,
            (_bench_more(MIN_PROBLEMS * 3 - standings.n_problems), train),
        )
    if found.low > 0:
        return Answer(
            "fixed",
            f"Take one action for every issue, {_fixed_action(standings)}: on {cases} it is worth {won(found)} of "
            "utility more than today's rule, which chance does not explain; no learned policy was judged.",
            evidence,
            (train,),
        )
    return Answer(
        "open",
        f"Keep today's rule for now: on {cases} the best fixed action differs from it by {won(found)} of utility, "
        "which may be chance, and no learned policy was judged.",
        evidence,
        (train, _bench_more(_cases_wanted(found, standings.n_cases))),
    )


def _nothing(sources: Sources) -> Answer:
    if sources.ledger is not None:
        return Answer(
            "nothing",
            "Nothing can be said yet: the bench has too few cases of which two actions can be compared.",
            (f"The ledger is {sources.ledger}.",),
            (_bench_more(None),),
        )
    return Answer(
        "nothing",
        "Nothing can be said yet about what decisions are worth: no bench is among these records.",
        ("The page shows how training went and how policies imitate what was run.",),
        ("Measure what actions come to: planner bench --k 4", "Or ask the logs alone: planner advise"),
    )


def _too_few(n_problems: int) -> str:
    return f"{plural(n_problems, 'unseen problem')} {'is' if n_problems == 1 else 'are'} too few"


def _fixed_action(standings: Standings) -> str:
    """The action that the single best takes most: where it was not executed, it takes its next one."""
    most = _taken(standings.get(SINGLE_BEST)).most_common(1)
    return most[0][0] if most else "the single best one"


def _share_executed(fixed: Standing | None) -> float:
    """In what share of the cases the best fixed action was there to be taken; 1 where that is not known."""
    taken = _taken(fixed)
    return taken.most_common(1)[0][1] / taken.total() if taken else 1.0


def _taken(one: Standing | None) -> Counter[str]:
    return Counter() if one is None else Counter(one.chosen.values())


def _cases_wanted(found: Gain | None, n_cases: int) -> int | None:
    """How many more cases would set the gain apart from nothing, if it stayed as it is: an interval narrows with the
    root of their number."""
    if found is None or found.won <= 0 or found.low > 0 or found.won == found.low:
        return None
    wanted = n_cases * ((found.won - found.low) / found.won) ** 2
    return max(1, math.ceil(wanted - n_cases))


def _bench_more(cases: int | None) -> str:
    number = "more cases" if not cases or cases < 0 or cases > 5000 else f"about {plural(cases, 'more case')}"
    return f"Measure {number}: planner bench --k 4, then evaluate again with --bench"


def _to_serve(sources: Sources, best: Standing) -> tuple[str, ...]:
    run = next((run for run in sources.runs if run.resolve().name == best.name), None)
    serve = "planner run --planner-enabled --planner-checkpoint .cyntra/planner/bundle"
    return (f"Put it to work: planner export {run or 'RUN'}, then {serve}",)
