"""What `planner evaluate --bench` found, as one value: tables, JSON and pages read the same."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import msgspec

from planner.scoring.regret import PolicyScore


@dataclass(frozen=True)
class OnlineReport:
    """What would become of a policy's decisions at run time; regrets are means of utility."""

    policy: str
    decisions: int
    wanted_more_than_caps: int
    executed_more_than_caps: int
    left_to_todays_rule: Mapping[str, int]
    """Reason -> decisions that today's rule would take instead."""
    threshold: float | None
    abstained: int
    abstained_regret_of_todays_rule: float | None
    """Over the cases from which the policy abstains; None where there is none, as for the next three. Where capped
    actions are chosen, each regret is what it is at least and ``at_most`` the other end; intervals hold for both."""
    abstained_regret_of_todays_rule_at_most: float | None
    abstained_regret_of_policy: float | None
    abstained_regret_of_policy_at_most: float | None
    regret: float
    """With caps and abstention."""
    regret_low: float
    regret_high: float
    regret_at_most: float


@dataclass(frozen=True)
class LabelPrice:
    """What the labels of a run that learned from winners cost for each point (0.01) of regret that it won."""

    policy: str
    before: str
    """What it is set against: the run that it started from, or today's rule."""
    regret_won: float
    """At least; where capped actions are chosen it may be up to ``at_most``. The interval holds for both."""
    regret_won_low: float
    regret_won_high: float
    regret_won_at_most: float
    regret_won_by_single_best: float
    regret_won_by_single_best_at_most: float
    executions: int
    agent_minutes: float
    dollars: float | None
    executions_with_dollars: int
    minutes_without_outcome: float
    """Of faults and lost attempts."""
    agent_minutes_per_point: float | None
    """None where no regret was won, as for the next."""
    dollars_per_point: float | None


@dataclass(frozen=True)
class Gain:
    """What a run wins over another policy on the same cases: mean utility, at least and at most, with the 95 % interval
    of both."""

    policy: str
    over: str
    won: float
    won_at_most: float
    low: float
    high: float

    @property
    def sentence(self) -> str:
        """The gain in plain words."""
        interval = f"[{self.low:+.3f}, {self.high:+.3f}]"
        if self.won_at_most != self.won:
            return self._sentence_of_bounds(f"{self.won:+.3f} to {self.won_at_most:+.3f} of utility {interval}")
        amount = f"{abs(self.won):.3f} of utility {interval}"
        if self.low > 0:
            return f"{self.policy} wins {amount} over {self.over}: more than chance explains"
        if self.high < 0:
            return f"{self.policy} loses {amount} against {self.over}: more than chance explains"
        if self.low == self.high == 0:
            return f"{self.policy} comes to the same as {self.over} on every case"
        verb = "wins" if self.won >= 0 else "loses"
        return f"{self.policy} {verb} {amount} against {self.over}, which may be chance: more cases would say"

    def _sentence_of_bounds(self, amount: str) -> str:
        """Where capped actions were chosen, of which nobody knows whether they would have passed."""
        if self.low > 0:
            return f"{self.policy} wins {amount} over {self.over}, whatever came of capped choices"
        if self.high < 0:
            return f"{self.policy} loses against {self.over}, {amount}, whatever came of capped choices"
        return f"{self.policy} against {self.over}: {amount}; what came of capped choices decides (bench with --full)"


@dataclass(frozen=True)
class EpisodeScore:
    """What a policy's episodes come to, per case; minutes are those of the budget."""

    policy: str
    cases: int
    passed: float
    wall_minutes: float
    agent_minutes: float
    utility: float
    utility_won: float
    """Above that of the best fixed pair in hindsight, with its 95 % interval; cases of one problem drawn together."""
    utility_won_low: float
    utility_won_high: float


@dataclass(frozen=True)
class CaseChoices:
    """What each policy chose in one held-out case, and what that loses; actions are written as ``str(Action)``."""

    case_id: str
    seen: bool
    """Whether learning saw its problem."""
    chosen: Mapping[str, str]
    """Policy -> the executed action that it prefers. A random choice has none."""
    regret: Mapping[str, float]
    """Policy -> utility lost, at least; where it chose a capped action it may be up to ``regret_at_most``."""
    regret_at_most: Mapping[str, float]
    favourite: Mapping[str, str]
    """Trained run -> its own favourite of all actions, executed or not."""


@dataclass(frozen=True)
class RegretReport:
    """Policies on a bench's held-out cases."""

    ledger: str
    holdout: float
    held_out_by: str
    learning_cases: int
    held_out_cases: int
    held_out_problems: int
    held_out_seen: int
    """Held-out cases whose problem learning saw too."""
    held_out_before_learning_ended: int
    utility: str
    """Its formula."""
    minute_seconds: float
    executions: int
    agent_minutes_spent: float
    account: Mapping[str, int]
    """What is not among the outcomes, in counts; see bench.judging.results.BenchResults."""
    full_cases: int
    """Held-out cases of which no execution was capped."""
    from_full_ledgers: Mapping[str, int]
    """Other ledger -> held-out cases that were judged by its outcomes, because these ran to their end."""
    unknown_provenance: tuple[str, ...]
    policies: tuple[PolicyScore, ...]
    seen: tuple[PolicyScore, ...]
    """The same on cases of seen problems, and of unseen ones; empty where there are none."""
    unseen: tuple[PolicyScore, ...]
    max_run_minutes: int | None
    online: tuple[OnlineReport, ...]
    price: tuple[LabelPrice, ...]
    gains: tuple[Gain, ...]
    """Of every run over today's rule, and over the single best action of the learning cases."""
    recorded_order: tuple[PolicyScore, ...] = ()
    """Where outcomes are expectations over recorded trials: the same choices by what came in the recorded order."""
    episodes: tuple[EpisodeScore, ...] = ()
    """What two runs come to, the second if the first failed, on cases whose recorded trials tell."""
    cases: tuple[CaseChoices, ...] = ()
    """Case by case what was chosen; empty in reports of an earlier program."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "RegretReport":
        """The report that :meth:`to_json` wrote, also by an earlier program; msgspec.ValidationError for another."""
        own = {one.name for one in fields(cls)}
        account = {key: value for key, value in document.items() if key not in own}
        return msgspec.convert({**document, "account": account}, cls)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON: the account's counts beside all else."""
        lists = {name: list(value) for name, value in asdict(self).items() if isinstance(value, tuple)}
        tables = {
            name: [score.to_json() for score in getattr(self, name)]
            for name in ("policies", "seen", "unseen", "recorded_order")
        }
        document = {**asdict(self), **self.account, **lists, **tables}
        del document["account"]
        return document
