"""`planner advise`: what a repo's own logs say about how its issues should be run, and what they cannot say yet."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from planner.dataset.storage import Dataset
from planner.dataset.trials import Trials, read_trials
from planner.errors import DatasetError
from planner.policies.informative import informative_plans
from planner.policies.questions import Question
from planner.policies.readings import TODAYS_RULE, Gate, Reading, by_utility
from planner.policies.registry import MIN_TRIALS
from planner.policies.trial_plans import CODE, plans_of_actions, plans_of_space
from planner.policies.trial_policy import known_outcomes
from planner.policies.trial_values import TrialValues, fit_trial_values
from planner.scoring.bootstrap import ratio_interval
from planner.scoring.episodes import PlanSequence, runs_of
from planner.scoring.plan_outcome import Plan, PlanOutcomes
from planner.scoring.utility import LIMIT_MINUTES, recorded_metrics

Array: TypeAlias = NDArray[np.float64]
MIN_ISSUES = 10
"""Issues that trials must be of, before anything is said."""
MAX_ROWS = 5
MAX_ASKED = 300
"""Of more issues, the latest are those that something may be measured of."""
MIN_OF_TOOL = 4
"""Trials of a tool on a group of issues, before it is shown."""
Z = 1.645
RULE, FIXED, MODEL = "today's rule", "best fixed plan", "the model's plans"


@dataclass(frozen=True)
class Interval:
    """A mean, with its 95 % interval over groups of issues."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class PlanRow:
    """What decisions by one way of deciding are expected to come to, per decision; minutes are those of the budget."""

    policy: str
    passed: float
    wall_minutes: float
    agent_minutes: float
    passes_won: Interval | None
    """Against today's rule, as the two below."""
    agent_minutes_saved: Interval | None
    utility_won: Interval | None


@dataclass(frozen=True)
class ToolRow:
    """How a tool fares on a group of issues; None: on all of them."""

    tool: str
    group: str | None
    trials: int
    passes: int
    low: float
    high: float
    """Of the pass rate: Wilson's 90 % interval."""
    cut: int
    """Further trials that were stopped at a limit: what they would have come to is not known."""


@dataclass(frozen=True)
class ToMeasure:
    """An issue, and the plans that may turn out better than what today's rule runs."""

    issue_id: str
    gain: float
    """Utility that knowing what these come to would win, in expectation."""
    actions: list[dict[str, Any]]


@dataclass(frozen=True)
class Advice:
    """All of it; the lists are empty where there is too little to say anything."""

    dataset: str
    decisions: int
    issues: int
    trials: dict[str, int]
    plans: list[PlanRow]
    foreseen: Interval | None
    """Passes that the model, without the issue's own trials, foresaw of the plans that were run, above those that
    came."""
    gates: dict[str, Gate]
    failing: list[ToolRow]
    tools: list[ToolRow]
    to_measure: list[ToMeasure]
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """All numbers by their names."""
        return asdict(self)


def advise(dataset: Dataset) -> Advice:
    """Advice from the trials of all splits, and from what came of their examples."""
    trials = read_trials(dataset.path)
    trials = trials.take(trials.job_type == CODE)
    usable = trials.take(trials.usable)
    issues = len({subject.issue_id for subject in usable.subjects})
    filled = [name for name, split in dataset.splits.items() if len(split)]
    known = known_outcomes(dataset, filled) if filled else None
    questions = [] if known is None else known.questions
    advice = Advice(
        dataset=str(dataset.path),
        decisions=len(questions),
        issues=issues,
        trials=dict(dataset.info.trials),
        plans=[],
        foreseen=None,
        gates={},
        failing=[],
        tools=_tools(usable),
        to_measure=[],
        sentence="",
    )
    whole = int((~usable.cut & usable.timed).sum())
    if known is None or not questions or whole < MIN_TRIALS or issues < MIN_ISSUES:
        return replace(
            advice,
            sentence=f"Too little to say anything: {_count(whole, 'whole trial')} of {_count(issues, 'issue')}, and it "
            f"takes {MIN_TRIALS} of {MIN_ISSUES} at least; keep today's rule and let Cyntra run more issues.",
        )
    plans = plans_of_space(dataset.space, dataset.info.kernel_config)
    try:
        values = fit_trial_values(
            usable, known, plans, LIMIT_MINUTES, ["structural"], minute_ms=1000 * dataset.info.minute_seconds
        )
    except DatasetError as error:
        return replace(advice, sentence=f"Too little to say anything: {error}")
    reading = by_utility(LIMIT_MINUTES, recorded_metrics(dataset.info.objective))
    foreseen = _foreseen(values)
    rows = _compare(values, foreseen, reading)
    off = _off(values, foreseen)
    to_measure = _to_measure(dataset, values, questions, reading)
    gates = {str(mode): gate for mode, gate in values.judged.gates(reading).items()}
    return replace(
        advice,
        plans=rows,
        foreseen=off,
        gates=gates,
        failing=_failing(usable),
        to_measure=to_measure,
        sentence=in_a_sentence(rows, gates, off, listed=bool(to_measure)),
    )


def _foreseen(values: TrialValues) -> PlanOutcomes:
    """What models that lack each question's own trials foresee of it, (n, plans)."""
    found = PlanOutcomes(*(kind.copy() for kind in values.judged.foreseen["new"]))
    known = values.judged.rows["known"]
    for whole, part in zip(found, values.judged.foreseen["known"], strict=True):
        whole[known] = part[known]
    return found


def _off(values: TrialValues, foreseen: PlanOutcomes) -> Interval:
    """Foreseen passes less those that came, of the plans that were run."""
    judged = values.judged
    tried = judged.tried
    off = np.where(tried, foreseen.passed - judged.came.passed, 0.0).sum(axis=1)
    return _interval(values, off, tried.sum(axis=1).astype(np.float64))


def _interval(values: TrialValues, sums: Array, counts: Array) -> Interval:
    """Sums over counts, (questions,) each."""
    places = np.unique(values.judged.groups, return_inverse=True)[1]
    return Interval(*ratio_interval(np.bincount(places, sums), np.bincount(places, counts)))


def _compare(values: TrialValues, foreseen: PlanOutcomes, reading: Reading) -> list[PlanRow]:
    """Today's rule, the best fixed plan, and the model's plans, chosen by models that lack each issue's own trials.

    What they come to is what the model believes that has these trials: nobody ran most of these plans.
    """
    judged = values.judged
    came, worth, rule = judged.came, reading(judged.came), judged.rule
    fixed = np.full(len(rule), worth.mean(axis=0).argmax())
    model = reading(foreseen).argmax(axis=1)
    at = np.arange(len(rule))

    def interval(gains: Array) -> Interval:
        return _interval(values, gains, np.ones(len(gains)))

    rows = []
    for name, chosen in ((RULE, rule), (FIXED, fixed), (MODEL, model)):
        passed, wall, agent = (kind[at, chosen] for kind in came)
        first = name == RULE
        rows.append(
            PlanRow(
                policy=name,
                passed=float(passed.mean()),
                wall_minutes=float(wall.mean()),
                agent_minutes=float(agent.mean()),
                passes_won=None if first else interval(passed - came.passed[at, rule]),
                agent_minutes_saved=None if first else interval(came.agent[at, rule] - agent),
                utility_won=None if first else interval(worth[at, chosen] - worth[at, rule]),
            )
        )
    return rows


def _tools(trials: Trials) -> list[ToolRow]:
    """Each tool on all issues, the worst first."""
    rows = [_tool_row(trials, trials.tool == tool, tool, None) for tool in np.unique(trials.tool).tolist()]
    return sorted(rows, key=lambda row: row.passes / max(row.trials, 1))


def _failing(trials: Trials) -> list[ToolRow]:
    """Tools on groups of issues where they surely pass less often than all trials do."""
    groups = np.array([subject.group for subject in trials.subjects])
    overall = np.nanmean(trials.passed) if np.isfinite(trials.passed).any() else 0.0
    pairs = sorted(set(zip(trials.tool.tolist(), groups.tolist(), strict=True)))
    rows = [_tool_row(trials, (trials.tool == tool) & (groups == group), tool, group) for tool, group in pairs if group]
    sure = [row for row in rows if row.passes < row.trials >= MIN_OF_TOOL and row.high < overall]
    return sorted(sure, key=lambda row: row.high)[:MAX_ROWS]


def _tool_row(trials: Trials, mine: NDArray[np.bool_], tool: str, group: str | None) -> ToolRow:
    """Of the trials that are ``mine`` (t,) and known to have passed or failed."""
    ended = mine & np.isfinite(trials.passed)
    n, passes, cut = int(ended.sum()), int(trials.passed[ended].sum()), int((mine & trials.cut).sum())
    if not n:
        return ToolRow(tool, group, 0, 0, 0.0, 1.0, cut)
    rate, scale = passes / n, 1 + Z**2 / n
    centre, spread = rate + Z**2 / (2 * n), Z * np.sqrt(rate * (1 - rate) / n + Z**2 / (4 * n**2))
    low, high = max(0.0, float((centre - spread) / scale)), min(1.0, float((centre + spread) / scale))
    return ToolRow(tool, group, n, passes, low, high, cut)


def _to_measure(
    dataset: Dataset, values: TrialValues, questions: Sequence[Question], reading: Reading
) -> list[ToMeasure]:
    """The issues of which knowing more than what today's rule comes to would better the decision most."""
    latest = {question.subject.issue_id: at for at, question in enumerate(questions)}
    # "NA" stands for a concrete plan: the bench runs these alone.
    valid = [action for action in dataset.space.valid_actions(CODE) if action.count("NA") < 2]
    plans = plans_of_actions(valid, dataset.info.kernel_config)
    found = []
    for issue_id, at in list(latest.items())[-MAX_ASKED:]:
        tried = [_plan(values.plans[values.judged.rule[at]])]
        best = informative_plans(values.structural, questions[at], plans, tried, reading, 2)
        if best:
            found.append(ToMeasure(issue_id, sum(g for _, g in best), [valid[one]._asdict() for one, _ in best]))
    return sorted(found, key=lambda row: (-row.gain, row.issue_id))[:MAX_ROWS]


def _plan(one: Plan | PlanSequence) -> Plan:
    return runs_of(one)[0]


def in_a_sentence(rows: Sequence[PlanRow], gates: dict[str, Gate], off: Interval, *, listed: bool) -> str:
    """What to do, and why: the rule stays unless the model can be trusted and the gain over the rule is sure."""
    do = "measure what is listed" if listed else "let Cyntra run more issues"
    # From logs alone nobody knows which fixed plan is best.
    by_model = any(gate.open or gate.over == TODAYS_RULE for gate in gates.values())
    row = next(row for row in rows if row.policy == (MODEL if by_model else FIXED))
    won = row.utility_won
    assert won is not None
    what = "the model's plans" if by_model else "the best fixed plan (the model's gate is shut)"
    passes, saved = row.passes_won, row.agent_minutes_saved
    assert passes is not None and saved is not None
    numbers = f"{won.mean:+.3f} [{won.low:+.3f}, {won.high:+.3f}] of utility"
    price = f"{abs(saved.mean):.1f} agent minutes {'less' if saved.mean >= 0 else 'more'}"
    # As far as the model is wrong about plans that were run, it may be about others.
    may_be_off = max(-off.low, off.high)
    if won.low > may_be_off:
        return f"Leave today's rule for {what}: {numbers}, {passes.mean:+.3f} passes and {price} for each decision."
    if not off.low <= 0 <= off.high:
        wrong = f"{abs(off.mean):.3f} passes too {'many' if off.mean > 0 else 'few'} [{off.low:+.3f}, {off.high:+.3f}]"
        return (
            f"Keep today's rule: of plans that were run the model foresees {wrong}, so what it says of others cannot "
            f"be trusted; {do}."
        )
    followed = any(gate.open for gate in gates.values())
    gate = " The gate of a trained policy is open already: it asks for one standard error, this advice for two."
    return (
        f"Too little to tell {what} from today's rule: keep the rule, and {do} ({numbers}; of plans that were run the "
        f"model may be wrong by {may_be_off:.3f} passes).{gate if followed else ''}"
    )


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"
