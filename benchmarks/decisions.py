"""How well plans are chosen by what recorded trials teach, beside the best fixed plan, in the recorded order and over
orders; and how well sequences of two plans are, of which the second runs if the first failed.

python -m benchmarks.decisions TABLES... [--setting pair] [--json FILE]
python -m benchmarks.decisions TABLES --trials 5 --minute-seconds 10 --setting group --members structural

Settings, by what is known of a case (a problem with an agent) that is judged:
pair    the problem with other agents (5 folds of cases); group  other groups of problems (5 folds of groups);
time    trials that had ended before the block of cases begins (5 blocks after a first third);
logs    as pair, but of every learning case only one run of today's rule was logged, cut at its limit;
episodes as pair, of sequences of two plans: the second run meets trials that the first has not used.

gap = (U - best fixed) / (best per case - best fixed), with intervals that draw groups together (95 %). Over orders, the
best fixed plan is the best in hindsight over orders; "learned" is the one that is best on the learning cases.
"""

import argparse
import itertools
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from bench.executors.replay import SPACE, TODAYS_RULE, ReplayCase, ReplayExecutor, is_observed
from planner.dataset.trials import Trial, Trials, trials_of
from planner.policies.questions import Question, question_of
from planner.policies.readings import PRICE, Reading, by_price, by_utility, per_episode
from planner.policies.structural import MODES
from planner.policies.trial_values import Known, Member, TrialValues, fit_trial_values
from planner.scoring.bootstrap import ratio_interval
from planner.scoring.episodes import (
    PlanSequence,
    expected_sequences,
    observed_sequences,
    sequence_outcomes,
)
from planner.scoring.plan_outcome import PlanOutcomes, plan_of

EPISODES = "episodes"
SETTINGS = ("pair", "group", "time", "logs", EPISODES)
EPISODE_RUNS = 2
ASKED_AGAIN = "one step at a time"
FOLDS = 5
LIMIT_MINUTES = 120
RATES = (0.1, PRICE, 0.4)
MEMBERS: dict[str, tuple[Member, ...]] = {
    "structural": ("structural",),
    "trial_forest": ("trial_forest",),
    "both": ("structural", "trial_forest"),
}
Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """n recorded cases, in order of their first trial; times are minutes of budget."""

    name: str
    cases: list[ReplayCase]
    questions: list[Question]
    plans: list[PlanSequence]
    """Sequences of ``n_runs`` plans: one run, or an episode."""
    n_runs: int
    today: int
    """Which of the plans is today's rule, in every run."""
    minute_ms: float
    recorded: PlanOutcomes
    expected: PlanOutcomes
    groups: NDArray[np.int64]

    @property
    def utility(self) -> Reading:
        """The reading by which everything is judged."""
        return self.read(by_utility(LIMIT_MINUTES))

    def read(self, reading: Reading) -> Reading:
        """A reading of what one run comes to, as one of what the table's plans do."""
        return per_episode(reading, self.n_runs)


def read_table(directory: Path, trials: int, minute_seconds: float, n_runs: int = 1) -> Table:
    """The cases of a folder of recorded trials, and what plans, or sequences of ``n_runs`` plans, come to on them."""
    executor = ReplayExecutor.prepare(directory, n_trials=trials, minute_seconds=minute_seconds)
    drafts = list(executor.drafts(None, "recorded"))
    cases = [executor.cases[draft.choice.case_id] for draft in drafts]
    actions = [action for action in SPACE.valid_actions("code") if is_observed(action, trials)]
    plans = observed_sequences([plan_of(action, 1.0) for action in actions], n_runs, trials)
    minute_ms = 1000 * minute_seconds
    passed = np.array([[trial.passed for trial in case.trials] for case in cases], dtype=np.float64)
    minutes = np.array([[trial.duration_ms for trial in case.trials] for case in cases]) / minute_ms
    over_orders = [expected_sequences(plans, p, t) for p, t in zip(passed, minutes, strict=True)]
    groups = [str(case.problem.get("issue_group") or case.problem["issue_id"]) for case in cases]
    return Table(
        name=directory.name,
        cases=cases,
        questions=[question_of(draft.choice.context, {}) for draft in drafts],
        plans=plans,
        n_runs=n_runs,
        today=plans.index((plan_of(TODAYS_RULE, 1.0),) * n_runs),
        minute_ms=minute_ms,
        recorded=sequence_outcomes(plans, passed[:, None], minutes[:, None], minutes[:, None]),
        expected=PlanOutcomes(*(np.array(kind) for kind in zip(*over_orders, strict=True))),
        groups=np.unique(groups, return_inverse=True)[1].astype(np.int64),
    )


@dataclass(frozen=True)
class Fold:
    """Cases to learn from, with the trials that are known of them, and cases to judge."""

    learning: NDArray[np.intp]
    judged: NDArray[np.intp]
    trials: Trials
    compared: bool
    """Whether what all plans come to is known of the learning cases, as a bench tells it."""


def folds_of(table: Table, setting: str, seed: int) -> list[Fold]:
    """The folds of a setting."""
    n = len(table.cases)
    if setting == "time":
        return _time_blocks(table)
    keys = table.groups if setting == "group" else np.arange(n)
    distinct, places = np.unique(keys, return_inverse=True)
    fold = (np.random.default_rng(seed).permutation(len(distinct)) % FOLDS)[places]
    found = []
    for at in range(FOLDS):
        learning, judged = np.flatnonzero(fold != at), np.flatnonzero(fold == at)
        if setting == "logs":
            trials = trials_of([_logged(table, row) for row in learning.tolist()])
        else:
            trials = trials_of([trial for row in learning.tolist() for trial in trials_of_case(table, row)])
        found.append(Fold(learning, judged, trials, compared=setting != "logs"))
    return found


def trials_of_case(table: Table, row: int, before_ms: float = np.inf) -> list[Trial]:
    """A case's trials that had ended by then."""
    case, question = table.cases[row], table.questions[row]
    return [
        Trial(
            trial_id=f"{case.case_id}-{at}",
            source="bench",
            job_type="code",
            tool=case.agent,
            subject=question.subject,
            attempt=at,
            passed=trial.passed,
            duration_ms=trial.duration_ms,
            cut=False,
            ended_ms=trial.started_ms + trial.duration_ms,
            split="train",
        )
        for at, trial in enumerate(case.trials)
        if trial.started_ms + trial.duration_ms <= before_ms
    ]


def _logged(table: Table, row: int) -> Trial:
    """The one trial that a run of today's rule leaves."""
    first = trials_of_case(table, row)[0]
    limit_ms = table.plans[table.today][0].limit * table.minute_ms
    if first.duration_ms is None or first.duration_ms <= limit_ms:
        return first
    return first._replace(passed=None, duration_ms=round(limit_ms), cut=True)


def _time_blocks(table: Table) -> list[Fold]:
    """Blocks of cases by their first trial, each judged on what had ended before its first case began."""
    n = len(table.cases)
    bounds = np.linspace(n // 3, n, FOLDS + 1).round().astype(int)
    found = []
    for start, end in itertools.pairwise(bounds.tolist()):
        begins = table.cases[start].trials[0].started_ms
        known = {row: trials_of_case(table, row, begins) for row in range(start)}
        whole = [row for row, trials in known.items() if len(trials) == len(table.cases[row].trials)]
        trials = trials_of([trial for trials in known.values() for trial in trials])
        found.append(Fold(np.array(whole, dtype=np.intp), np.arange(start, end), trials, compared=True))
    return found


def fit_fold(table: Table, fold: Fold, members: Sequence[Member], seed: int) -> TrialValues:
    """The models that learn from a fold."""
    outcomes = PlanOutcomes(*(kind[fold.learning] for kind in table.expected))
    if not fold.compared:  # one run of today's rule was logged
        is_today = np.arange(len(table.plans)) == table.today
        outcomes = PlanOutcomes(*(np.where(is_today, kind[fold.learning], np.nan) for kind in table.recorded))
    rule = np.full(len(fold.learning), table.today)
    known = Known([table.questions[row] for row in fold.learning], outcomes, rule)
    return fit_trial_values(
        fold.trials, known, table.plans, LIMIT_MINUTES, members, minute_ms=table.minute_ms, seed=seed
    )


def measure(table: Table, setting: str, members: Sequence[Member], seeds: int) -> dict[str, Any]:
    """All figures of one table in one setting."""
    readings = {
        "utility": table.utility,
        **{f"price {rate:g}": table.read(by_price(LIMIT_MINUTES, rate)) for rate in RATES},
    }
    judged: list[NDArray[np.intp]] = []
    picks: dict[str, list[Array]] = {}
    gates: list[dict[str, Any]] = []
    fit_s, values_s = 0.0, 0.0
    for seed in range(1 if setting == "time" else seeds):
        folds = folds_of(table, setting, seed)
        judged = [np.concatenate([fold.judged for fold in folds])]
        taken: dict[str, list[NDArray[np.intp]]] = {}
        for at, fold in enumerate(folds):
            began = time.perf_counter()
            model = fit_fold(table, fold, members, seed)
            fit_s += time.perf_counter() - began
            questions = [table.questions[row] for row in fold.judged]
            began = time.perf_counter()
            values = model.values(questions)
            values_s += time.perf_counter() - began
            for name, reading in readings.items():
                taken.setdefault(name, []).append(reading(values).argmax(axis=1))
                gated = model.scores(questions, reading, np.full(len(questions), table.today))
                taken.setdefault(f"{name}, gated", []).append(gated.argmax(axis=1))
            if table.n_runs > 1:
                taken.setdefault(ASKED_AGAIN, []).append(_one_step_at_a_time(table, model, questions, values))
            learned = int(model.judged.fixed_scores(table.utility).argmax())
            taken.setdefault("best fixed, learned", []).append(np.full(len(fold.judged), learned))
            for mode, gate in model.judged.gates(table.utility).items():
                gates.append({"seed": seed, "fold": at, "mode": mode, "open": gate.open, **asdict(gate)})
        order = np.argsort(judged[0], kind="stable")
        for name, parts in taken.items():
            picks.setdefault(name, []).append(np.concatenate(parts)[order])
    rows = np.sort(judged[0])
    best = {
        kind: int(table.utility(_at(outcomes, rows)).mean(axis=0).argmax())
        for kind, outcomes in (("recorded", table.recorded), ("expected", table.expected))
    }
    picks["today's rule"] = [np.full(len(rows), table.today)]
    picks["best fixed, in hindsight (recorded order)"] = [np.full(len(rows), best["recorded"])]
    picks["best fixed, in hindsight (over orders)"] = [np.full(len(rows), best["expected"])]
    policies = [figures(table, rows, name, chosen, best) for name, chosen in picks.items()]
    return {
        "table": table.name,
        "setting": setting,
        "members": list(members),
        "cases": len(rows),
        "plans": len(table.plans),
        "groups": len(np.unique(table.groups[rows])),
        "seeds": 1 if setting == "time" else seeds,
        "policies": policies,
        "gates": gates,
        "frontier": _frontier(table, rows),
        "seconds": {"fit": fit_s, "values": values_s},
    }


def _one_step_at_a_time(
    table: Table, model: TrialValues, questions: Sequence[Question], values: PlanOutcomes
) -> NDArray[np.intp]:
    """The sequences whose first plan is the best by itself, and whose second is the best after that one failed."""
    firsts = list(dict.fromkeys(sequence[:1] for sequence in table.plans))
    alone = by_utility(LIMIT_MINUTES)(model.structural.values(questions, firsts)).argmax(axis=1)
    first_of = np.array([firsts.index(sequence[:1]) for sequence in table.plans])
    return np.where(first_of == alone[:, None], table.utility(values), -np.inf).argmax(axis=1)


def _at(outcomes: PlanOutcomes, rows: NDArray[np.intp]) -> PlanOutcomes:
    return PlanOutcomes(*(kind[rows] for kind in outcomes))


def figures(
    table: Table, rows: NDArray[np.intp], name: str, chosen: Sequence[NDArray[np.intp]], best: dict[str, int]
) -> dict[str, Any]:
    """Pass, minutes, utility and gap of one policy's choices, (rows,) for each seed."""
    figures: dict[str, Any] = {"policy": name}
    for kind, outcomes in (("recorded", table.recorded), ("expected", table.expected)):
        part = _at(outcomes, rows)
        utility = table.utility(part)
        mine = np.mean([utility[np.arange(len(rows)), choice] for choice in chosen], axis=0)
        passed, wall, agent = (np.mean([v[np.arange(len(rows)), c].mean() for c in chosen]) for v in part)
        figures[kind] = {
            "pass": passed,
            "wall_minutes": wall,
            "agent_minutes": agent,
            "utility": float(mine.mean()),
            "gap": _by_groups(
                mine - utility[:, best[kind]], utility.max(axis=1) - utility[:, best[kind]], table.groups[rows]
            ),
            **_beside_fixed(part, chosen, best[kind], table.groups[rows]),
        }
    return figures


def _beside_fixed(
    part: PlanOutcomes, chosen: Sequence[NDArray[np.intp]], fixed: int, groups: NDArray[np.int64]
) -> dict[str, list[float]]:
    """Passes above those of the best fixed plan, and the share of its agent time that is saved."""
    rows = np.arange(len(groups))
    passed, _, agent = (np.mean([kind[rows, choice] for choice in chosen], axis=0) for kind in part)
    return {
        "passes_won": _by_groups(passed - part.passed[:, fixed], np.ones(len(rows)), groups),
        "agent_time_saved": _by_groups(part.agent[:, fixed] - agent, part.agent[:, fixed], groups),
    }


def _by_groups(won: Array, winnable: Array, groups: NDArray[np.int64]) -> list[float]:
    """Ratio of sums with its 95 % interval, drawing groups."""
    places = np.unique(groups, return_inverse=True)[1]
    return list(ratio_interval(np.bincount(places, won), np.bincount(places, winnable)))


def _frontier(table: Table, rows: NDArray[np.intp]) -> list[dict[str, Any]]:
    """The fixed plans that no other one beats in both passes and agent minutes, over orders."""
    part = _at(table.expected, rows)
    passed, agent = part.passed.mean(axis=0), part.agent.mean(axis=0)
    found, most = [], -1.0
    for at in np.lexsort((-passed, agent)):
        if passed[at] > most:
            most = passed[at]
            plans = [plan._asdict() for plan in table.plans[at]]
            found.append({"plans": plans, "pass": passed[at], "agent_minutes": agent[at]})
    return found


def show(report: dict[str, Any]) -> None:
    """One table and setting as lines."""
    print(
        f"\n{report['table']}, {report['setting']}, {' + '.join(report['members'])}: {report['cases']} cases, "
        f"{report['plans']} plans, {report['seeds']} seeds; fit {report['seconds']['fit']:.1f} s, "
        f"values {report['seconds']['values']:.1f} s"
    )
    print(f"{'':44s}{'recorded order':^42s} | {'over orders':^42s}")
    for row in report["policies"]:
        parts = []
        for kind in ("recorded", "expected"):
            f = row[kind]
            gap, low, high = f["gap"]
            if report["setting"] == EPISODES:
                won, saved = f["passes_won"], f["agent_time_saved"]
                parts.append(
                    f"{f['pass']:.3f} {f['agent_minutes']:5.1f} U {f['utility']:.4f} passes {won[0]:+.3f} "
                    f"[{won[1]:+.3f}, {won[2]:+.3f}] saved {saved[0]:+.0%} [{saved[1]:+.0%}, {saved[2]:+.0%}]"
                )
                continue
            parts.append(
                f"{f['pass']:.3f} {f['wall_minutes']:5.1f} {f['agent_minutes']:5.1f} U {f['utility']:.4f} "
                f"{gap:+.2f} [{low:+.2f}, {high:+.2f}]"
            )
        print(f"{row['policy']:44s}{parts[0]} | {parts[1]}")
    for mode in MODES:
        of_mode = [gate for gate in report["gates"] if gate["mode"] == mode]
        opened = sum(gate["open"] for gate in of_mode)
        gains = ", ".join(f"{g['gain']:+.4f}±{g['error']:.4f}" for g in of_mode[:FOLDS])
        print(f"gate, {mode} issues: open in {opened} of {len(of_mode)} folds; gains of the first: {gains}")


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--setting", choices=SETTINGS, action="append", help="may be repeated [default: all]")
    parser.add_argument("--members", choices=MEMBERS, default="both")
    parser.add_argument("--trials", type=int, default=6, help="trials of a case that are used")
    parser.add_argument("--minute-seconds", type=float, default=60.0, help="how long a minute of budget lasts in them")
    parser.add_argument("--seeds", type=int, default=3, help="foldings whose figures are averaged")
    parser.add_argument("--json", type=Path, help="where all figures go")
    options = parser.parse_args()
    reports = []
    for directory in options.tables:
        tables: dict[int, Table] = {}
        for setting in options.setting or SETTINGS:
            n_runs = EPISODE_RUNS if setting == EPISODES else 1
            if n_runs not in tables:
                tables[n_runs] = read_table(directory, options.trials, options.minute_seconds, n_runs)
            table = tables[n_runs]
            reports.append(measure(table, setting, MEMBERS[options.members], options.seeds))
            show(reports[-1])
    if options.json:
        options.json.write_bytes(orjson.dumps(reports, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))


if __name__ == "__main__":
    main()
