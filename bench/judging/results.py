"""What a ledger knows of each case: the outcomes of its actions, and which cases are held out for judging."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from bench.judging.expectations import Expectation, expectations
from bench.judging.objective import Objective, Verdict, action_outcome, judge, judge_expected
from bench.ledger import Ledger
from bench.ledger_file import repo_of
from planner.actions import Action, action_from_document
from planner.artifacts.universe import load_kernel_config, minute_seconds
from planner.contracts.bench import BenchCase, BenchOutcome
from planner.contracts.document import timestamp_to_ms
from planner.dataset.outcomes import ActionOutcome
from planner.errors import NothingToJudgeError, PlannerError
from planner.scoring.utility import Metrics

HoldOutBy = Literal["time", "problem", "pair"]
"""time: the latest cases are held out. problem: all cases of the problems that came up last, so that learning saw no
held-out problem, though some learning cases may be later than held-out ones. pair: cases at random, by their ids, so
that learning has mostly seen a held-out problem with another agent."""
HOLDOUT = 0.4
"""Share of the cases, the latest, that no policy learns from."""
RECORDED = "recorded"
"""The base commit of replayed cases: a case is a problem with one agent, and its issue is called problem@agent."""


@dataclass(frozen=True)
class Spending:
    """What executions took: minutes (of budget) of all agents together, and dollars; None where none is known."""

    executions: int
    agent_minutes: float
    dollars: float | None
    executions_with_dollars: int


@dataclass(frozen=True)
class CaseResults:
    """One case with the outcomes of those of its actions that were executed without a fault."""

    case: BenchCase
    outcomes: dict[Action, list[BenchOutcome]]
    objective: Objective
    minute_seconds: float | None = None
    """How long a minute of budget lasted, where the ledger tells."""
    faults: int = 0
    """Executions that are left out, because the machine spoiled them."""
    fault_ms: int = 0
    """Agent time of these, in ms."""

    @property
    def decided_ms(self) -> int:
        """When the case's context was made, ms since the epoch, UTC."""
        return timestamp_to_ms(self.case.context.created_at)

    @property
    def problem(self) -> str:
        """What the case is about: its issue; of a replayed case the problem, which other agents worked on too."""
        return problem_of(self.case)

    @property
    def compares(self) -> bool:
        """Whether at least two actions can be compared; a case with fewer says nothing about the choice."""
        ended = [not any(o.status == "stopped_early" for o in group) for group in self.outcomes.values()]
        return len(ended) >= 2 and any(ended)

    @property
    def is_full(self) -> bool:
        """Whether all its outcomes are known: none was capped, or recorded trials tell what to expect of each."""
        return bool(self.expected) or not any(
            outcome.status == "stopped_early" for group in self.outcomes.values() for outcome in group
        )

    @cached_property
    def expected(self) -> dict[Action, Expectation]:
        """What is expected of each action, over the orders of the case's recorded trials; empty where it has none."""
        return {} if self.minute_seconds is None else expectations(self.case, self.outcomes, self.minute_seconds)

    @cached_property
    def verdict(self) -> Verdict:
        """The best action under the objective, by expectations where there are any."""
        if self.expected:
            verdict = judge_expected(self.expected, self.objective)
        else:
            verdict = judge(
                [(action, outcome) for action, group in self.outcomes.items() for outcome in group], self.objective
            )
        assert verdict is not None  # there is one wherever the case compares actions
        return verdict

    def action_outcomes(self, limit_ms: int, *, recorded: bool = False) -> tuple[ActionOutcome, ...]:
        """What came of each executed action, as a dataset holds it; ``limit_ms`` as in ``objective.utility``.

        By expectation where there is one, unless ``recorded``: then as it came in the recorded order.
        """
        expected = {} if recorded else self.expected
        return tuple(
            action_outcome(action, group, self.objective, limit_ms, expected.get(action))
            for action, group in self.outcomes.items()
        )


def problem_of(case: BenchCase) -> str:
    """What a case is about: see :attr:`CaseResults.problem`."""
    if case.problem_id is not None:
        return case.problem_id
    # A case of an earlier program does not name its problem.
    issue_id, agent = case.issue_id, case.context.issue.dk_tool_hint
    return issue_id.removesuffix(f"@{agent}") if case.base_commit == RECORDED else issue_id


class OfProblem(Protocol):
    """Something that is about one case."""

    @property
    def case(self) -> BenchCase: ...
    @property
    def problem(self) -> str: ...


AboutCase = TypeVar("AboutCase", bound=OfProblem)


@dataclass(frozen=True)
class BenchResults:
    """A ledger's cases, and what it was made with."""

    path: Path
    cases: list[CaseResults]
    """Those that compare actions, oldest context first, then in the order of the bench."""
    left_out: list[CaseResults]
    """Those that do not."""
    settings: Mapping[str, Any]

    @property
    def minute_seconds(self) -> float | None:
        """How long a minute of budget lasted, where the ledger has it (a replay's does)."""
        return self.settings.get("minute_seconds")

    @property
    def metrics(self) -> Metrics:
        """The metrics of the objective by which its outcomes are judged."""
        return Objective.of_settings(self.settings).metrics

    @property
    def account(self) -> dict[str, int]:
        """What is not among the outcomes, in counts: faults, the cases that have some, and the cases left out."""
        everything = [*self.cases, *self.left_out]
        return {
            "faults_left_out": sum(result.faults for result in everything),
            "cases_with_faults": sum(result.faults > 0 for result in everything),
            "cases_left_out": len(self.left_out),
            "capped_outcomes": sum(outcome.status == "stopped_early" for outcome in self._outcomes),
            "derived_outcomes": sum(outcome.derived_from is not None for outcome in self._outcomes),
        }

    @property
    def _outcomes(self) -> Iterator[BenchOutcome]:
        return (outcome for result in self.cases for group in result.outcomes.values() for outcome in group)


def read_bench(ledger_path: Path) -> BenchResults:
    """Everything a ledger knows; BenchError when no case compares actions yet."""
    with Ledger.read(ledger_path) as ledger:
        cases = ledger.cases()
        executions = ledger.executions()
        settings = ledger.settings()
    objective = Objective.of_settings(settings)
    outcomes: dict[str, dict[Action, list[BenchOutcome]]] = {case.case_id: {} for case in cases}
    faults: dict[str, list[int]] = {case.case_id: [] for case in cases}
    for execution in executions:
        if execution.outcome.status == "fault":
            faults[execution.case_id].append(execution.outcome.agent_ms)
        else:
            action = action_from_document(execution.action.model_dump())
            outcomes[execution.case_id].setdefault(action, []).append(execution.outcome)
    results = [
        CaseResults(
            case,
            outcomes[case.case_id],
            objective.for_job(case.context.job_type),
            settings.get("minute_seconds"),
            len(faults[case.case_id]),
            sum(faults[case.case_id]),
        )
        for case in cases
    ]
    comparing = sorted((result for result in results if result.compares), key=lambda result: result.decided_ms)
    if not comparing:
        raise NothingToJudgeError(f"{ledger_path}: no case has two finished executions yet; run `planner bench` first")
    return BenchResults(ledger_path, comparing, [r for r in results if not r.compares], settings)


def read_results(ledger_path: Path) -> list[CaseResults]:
    """The cases of :func:`read_bench` that compare actions."""
    return read_bench(ledger_path).cases


def prefer_full(results: Sequence[CaseResults], bench: BenchResults) -> tuple[list[CaseResults], dict[str, int]]:
    """``results`` of ``bench``, those with capped outcomes as another ledger has them that ran them to their end; and
    from which ledger how many are.

    Other ledgers are those in the same directory with the same settings, for instance of a bench with ``--full``.
    """
    found: dict[str, CaseResults] = {}
    source: dict[str, str] = {}
    for path in sorted(bench.path.parent.glob("*.sqlite")) if not all(result.is_full for result in results) else ():
        if path.resolve() == bench.path.resolve():
            continue
        try:
            other = read_bench(path)
        except PlannerError:
            continue
        for result in other.cases if other.settings == bench.settings else ():
            if result.is_full:
                found.setdefault(result.case.case_id, result)
                source.setdefault(result.case.case_id, str(path))
    taken = {r.case.case_id for r in results if not r.is_full and r.case.case_id in found}
    chosen = [found[r.case.case_id] if r.case.case_id in taken else r for r in results]
    return chosen, dict(Counter(source[case_id] for case_id in sorted(taken)))


def hold_out(
    results: Sequence[CaseResults], share: float, by: HoldOutBy = "time"
) -> tuple[list[CaseResults], list[CaseResults]]:
    """The cases to learn from, and the held-out ``share`` to judge by; BenchError when either is empty."""
    learning, held_out = split_off(results, share, by)
    if not learning or not held_out:
        raise NothingToJudgeError(
            f"{len(results)} cases with a held-out share of {share} leave {len(learning)} to learn from and "
            f"{len(held_out)} to judge by: bench more issues, or choose another --holdout"
        )
    return learning, held_out


def split_off(results: Sequence[AboutCase], share: float, by: HoldOutBy) -> tuple[list[AboutCase], list[AboutCase]]:
    """The cases to learn from, and a ``share`` of them by time, problem by problem or at random; in order of time."""
    wanted = round(len(results) * share)
    if by == "time":
        return list(results[: len(results) - wanted]), list(results[len(results) - wanted :])
    if by == "pair":
        drawn = set(sorted((sha256(r.case.case_id.encode()).hexdigest(), r.case.case_id) for r in results)[:wanted])
        late_ids = {case_id for _, case_id in drawn}
        return (
            [r for r in results if r.case.case_id not in late_ids],
            [r for r in results if r.case.case_id in late_ids],
        )
    of_problem: dict[str, list[AboutCase]] = {}
    for result in results:
        of_problem.setdefault(result.problem, []).append(result)
    late: set[str] = set()
    n_late = 0
    # Dictionaries keep the order of arrival: the problem that came up last is the first to be held out.
    for problem, group in reversed(of_problem.items()):
        if wanted == 0 or (late and n_late + len(group) > wanted):
            break
        late.add(problem)
        n_late += len(group)
    return [r for r in results if r.problem not in late], [r for r in results if r.problem in late]


def spending(results: Sequence[CaseResults], minute_seconds: float) -> Spending:
    """What all executions of these cases took, faulty and capped ones included; a derived outcome took nothing."""
    all_outcomes = (outcome for result in results for group in result.outcomes.values() for outcome in group)
    outcomes = [outcome for outcome in all_outcomes if outcome.derived_from is None]
    costs = [outcome.cost_usd for outcome in outcomes if outcome.cost_usd is not None]
    agent_ms = sum(outcome.agent_ms for outcome in outcomes) + sum(result.fault_ms for result in results)
    return Spending(
        executions=len(outcomes) + sum(result.faults for result in results),
        agent_minutes=agent_ms / 1000 / minute_seconds,
        dollars=sum(costs) if costs else None,
        executions_with_dollars=len(costs),
    )


def minute_of(ledger: Path, settings: Mapping[str, Any]) -> float | None:
    """How long a minute of budget lasted, in s: as the ledger's settings have it, else the config of the repo that it
    lies in; None where neither says so, or the config cannot be read."""
    repo = repo_of(ledger)
    known: float | None = settings.get("minute_seconds")
    try:
        return known or (None if repo is None else minute_seconds(load_kernel_config(repo / ".cyntra" / "config.yaml")))
    except PlannerError:
        return None
