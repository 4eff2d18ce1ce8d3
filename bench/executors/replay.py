"""Executes actions by looking up recorded trials of real agents: an outcome is derived from them or not observed.

A folder holds ``issues.parquet`` (issue_id, issue_group, and what is known of a problem) and ``outcomes.parquet``
(issue_id, action_id = agent, passed, duration_s, cost_usd, run_started_at: one row per trial). A case is one problem
with one agent; its trials are consumed in the order of their starts.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.containment.limits import Deadline
from bench.executors.cyntra.overlay import SERIAL, SPECULATE
from bench.executors.outcome import cut, fault
from bench.planning.cases import CaseDraft, case_id_of, natural_order
from bench.planning.selections import Choice
from planner.actions import Action, ActionSpace, executed_plan
from planner.artifacts.beads import issue_context
from planner.artifacts.universe import Universe
from planner.context import planner_input, system_state
from planner.contracts.bench import BenchCase, BenchOutcome, Launch
from planner.errors import BenchError
from planner.scoring.plan_outcome import plan_of, plan_outcomes

if TYPE_CHECKING:
    import pandas as pd

SPACE = ActionSpace.from_document(
    {
        "swarm_ids": [SERIAL, SPECULATE],
        "max_candidates_bins": [1, 2, 3],
        "max_minutes_bins": [15, 30, 45, 60, 120],
        "max_iterations_bins": [1, 2, 3, 5],
        "validity_rules": [],
    }
)
TODAYS_RULE = Action(SERIAL, 1, 60, 1)
_SIZES = ((15, "XS"), (60, "S"), (240, "M"), (960, "L"), (math.inf, "XL"))
"""Minutes that a person needs, at most -> dk_size."""


class Trial(NamedTuple):
    """One recorded run of an agent on a problem."""

    passed: bool
    duration_ms: int
    cost_usd: float | None
    started_ms: int


@dataclass(frozen=True)
class ReplayCase:
    """One problem with one agent, and its trials."""

    case_id: str
    problem: dict[str, Any]
    agent: str
    trials: tuple[Trial, ...]

    @property
    def issue_id(self) -> str:
        """Names problem and agent."""
        return f"{self.problem['issue_id']}@{self.agent}"


@dataclass(frozen=True)
class ReplayExecutor:
    """Recorded trials by case, and how long one minute of budget lasts in them (seconds)."""

    instant = True  # nothing is run
    source = None  # all that is needed travels along

    cases: dict[str, ReplayCase]
    minute_seconds: float
    too_few: dict[str, str]
    """Issue id -> why it is no case."""

    @classmethod
    def prepare(cls, directory: Path, *, n_trials: int, minute_seconds: float = 60.0) -> "ReplayExecutor":
        """Read a folder; BenchError when it holds no such tables or no case has ``n_trials`` timed trials."""
        issues, outcomes = _read_tables(directory)
        problems = {str(row["issue_id"]): _known(row) for row in issues.to_dict("records")}
        timed = outcomes[outcomes["duration_s"].notna() & outcomes["run_started_at"].notna()]
        cases, too_few = {}, {}
        for (issue_id, agent), group in timed.groupby(["issue_id", "action_id"], sort=True):
            if issue_id not in problems:
                too_few[f"{issue_id}@{agent}"] = "its problem is not in issues.parquet"
            elif len(group) < n_trials:
                too_few[f"{issue_id}@{agent}"] = f"fewer than {n_trials} timed trials"
            else:
                trials = group.sort_values(["run_started_at", "trial"], kind="stable").head(n_trials)
                case_id = case_id_of(f"{issue_id}\0{agent}", "recorded", directory.name)
                cases[case_id] = ReplayCase(
                    case_id, problems[issue_id], str(agent), tuple(map(_trial, trials.itertuples()))
                )
        if not cases:
            raise BenchError(
                f"{directory}: no problem and agent have {n_trials} timed trials: choose a smaller --trials"
            )
        return cls(cases, minute_seconds, too_few)

    def lane_limit_ms(self, action: Action) -> int:
        """How long each agent of ``action`` may work."""
        return round(1000 * self.wall_limit(action))

    def wall_limit(self, action: Action) -> float:
        """The action's minutes, in the recorded runs' time."""
        return int(action.max_minutes_bin) * self.minute_seconds

    def execute(self, case: BenchCase, action: Action, work_dir: Path, repeat: int, deadline: Deadline) -> BenchOutcome:
        """The outcome that the case's trials give; a fault when they are too few, for nothing is invented."""
        found = self.cases.get(case.case_id)
        if found is None:
            return fault(f"case {case.case_id} is not in these tables")
        if repeat or not is_observed(action, len(found.trials)):
            return fault(f"{action}, repeat {repeat}: needs more trials than the {len(found.trials)} recorded")
        return cut(_outcome(action, found.trials, self.lane_limit_ms(action)), deadline.cap_s)

    def drafts(self, issue_ids: Sequence[str] | None, universe_id: str) -> Iterator[CaseDraft]:
        """Every case in order of its first trial, or those of ``issue_ids``, with its observed actions."""
        wanted = None if issue_ids is None else set(issue_ids)
        for case in sorted(
            self.cases.values(), key=lambda case: (case.trials[0].started_ms, natural_order(case.issue_id))
        ):
            if wanted is None or case.issue_id in wanted:
                choice = Choice(
                    case_id=case.case_id,
                    context=_context(case, universe_id),
                    default=TODAYS_RULE,
                    pool=[a for a in SPACE.valid_actions("code") if is_observed(a, len(case.trials))],
                )
                trials = [trial._asdict() for trial in case.trials]
                yield CaseDraft(case.issue_id, "recorded", choice, str(case.problem["issue_id"]), trials)


def is_observed(action: Action, n_trials: int) -> bool:
    """Whether that many trials suffice for the action: lane j, attempt i uses trial j * iterations + i."""
    return int(action.max_candidates_bin) * int(action.max_iterations_bin) <= n_trials


def _outcome(action: Action, trials: Sequence[Trial], limit_ms: int) -> BenchOutcome:
    lanes, attempts = int(action.max_candidates_bin), int(action.max_iterations_bin)
    if action.swarm_id == SERIAL:
        launches = _lane(trials[: lanes * attempts], limit_ms)
    else:
        launches = [
            launch
            for lane in range(lanes)
            for launch in _lane(trials[lane * attempts : (lane + 1) * attempts], limit_ms)
        ]
    came = plan_outcomes([plan_of(action, limit_ms / int(action.max_minutes_bin))], *_as_arrays(trials))
    passed = bool(came.passed[0])
    costs = [launch.cost_usd for launch in launches if launch.cost_usd is not None]
    return BenchOutcome.model_validate(
        {
            "passed": passed,
            "status": "success" if passed else "failed",
            "stopped_by": None,
            "fault": None,
            "duration_ms": round(float(came.wall[0])),
            "agent_ms": round(float(came.agent[0])),
            "cost_usd": sum(costs) if costs else None,
            "gates": [],
            "fail_codes": [] if passed else ["failed"],
            "exit_code": 0,
            "launches": launches,
            "executed_plan": executed_plan(action),
        }
    )


def _as_arrays(trials: Sequence[Trial]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Whether each passed, and its time in ms: it takes the same whether it is to pass or to fail."""
    times = np.array([trial.duration_ms for trial in trials], dtype=np.float64)
    return np.array([trial.passed for trial in trials], dtype=np.float64), times, times


def _lane(trials: Sequence[Trial], limit_ms: int) -> list[Launch]:
    """The launches of attempts one after another: the record of what the rule did, one by one."""
    launches: list[Launch] = []
    spent = 0
    for trial in trials:
        if spent >= limit_ms:
            break
        duration_ms = min(trial.duration_ms, limit_ms - spent)
        whole = duration_ms == trial.duration_ms
        passed = trial.passed and whole
        cost = trial.cost_usd if whole else None
        launches.append(
            Launch(
                tool="recorded",
                started_ms=spent,
                duration_ms=duration_ms,
                exit_code=0 if passed else 1 if whole else None,
                cost_usd=cost,
            )
        )
        spent += duration_ms
        if passed:
            break
    return launches


def _context(case: ReplayCase, universe_id: str) -> dict[str, Any]:
    """The planner_input of a case: what is known of the problem, the agent as the only tool, no history."""
    problem = case.problem
    minutes = problem.get("human_minutes")
    size = None if minutes is None else next(size for limit, size in _SIZES if minutes <= limit)
    text = str(problem.get("text") or problem["issue_id"])
    issue = {
        "id": case.issue_id,
        "title": text.strip().splitlines()[0][:120],
        "description": text,
        "tags": [str(problem["issue_group"])] if problem.get("issue_group") else [],
        "dk_tool_hint": case.agent,
        **({} if size is None else {"dk_size": size}),
    }
    told = {} if minutes is None else {"estimated_minutes": float(minutes)}
    swarms: dict[str, Any] = {SERIAL: {}, SPECULATE: {}}
    document = planner_input(
        issue={**issue_context(issue, 0), **told},
        universe=Universe(universe_id, SERIAL, None, swarms, {}),
        job_type="code",
        similar_runs=[],
        created_ms=case.trials[0].started_ms,
        system_state=system_state([case.agent], case.trials[0].started_ms),
    )
    return {**document, "action_space": SPACE.to_document()}


def _trial(row: Any) -> Trial:
    cost = getattr(row, "cost_usd", math.nan)
    return Trial(
        passed=bool(row.passed),
        duration_ms=round(1000 * row.duration_s),
        cost_usd=None if cost is None or math.isnan(cost) else float(cost),
        started_ms=row.run_started_at.value // 1_000_000,
    )


def _known(row: dict[str, Any]) -> dict[str, Any]:
    """A problem's row without its nulls."""
    import pandas as pd

    return {str(key): value for key, value in row.items() if not pd.isna(value)}


def _read_tables(directory: Path) -> "tuple[pd.DataFrame, pd.DataFrame]":
    import pandas as pd

    tables = []
    for name, columns in (
        ("issues.parquet", ("issue_id",)),
        ("outcomes.parquet", ("issue_id", "action_id", "trial", "passed", "duration_s", "run_started_at")),
    ):
        path = directory / name
        try:
            table = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise BenchError(f"{path}: no table of recorded trials: {error}") from None
        if missing := [column for column in columns if column not in table.columns]:
            raise BenchError(f"{path}: lacks the columns {', '.join(missing)}")
        tables.append(table)
    return tables[0], tables[1]
