"""How often each policy takes each action, beside the labels: a policy that has collapsed shows at a glance."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.report.standing import BEST_PER_CASE, Standing, Standings

MAX_ACTIONS = 12


@dataclass(frozen=True)
class ShareRow:
    """One policy: its share of each action shown, and of all others together."""

    policy: str
    kind: str
    shares: tuple[float, ...]
    others: float
    entropy: float
    """Nats; 0 means always the same."""


@dataclass(frozen=True)
class Shares:
    """The table; the labels, which are the best per case, come first."""

    actions: tuple[str, ...]
    rows: tuple[ShareRow, ...]


def action_shares(standings: Standings) -> Shares | None:
    """Of the actions that are taken most by any policy; None where no choices are known."""
    known = [one for one in standings.policies if one.chosen]
    if not known:
        return None
    known.sort(key=lambda one: one.name != BEST_PER_CASE)
    of_policy = {one.name: _shares(one) for one in known}
    most: dict[str, float] = {}
    for shares in of_policy.values():
        for action, share in shares.items():
            most[action] = max(most.get(action, 0.0), share)
    shown = sorted(sorted(most, key=lambda action: -most[action])[:MAX_ACTIONS])
    return Shares(tuple(shown), tuple(_row(one, of_policy[one.name], shown) for one in known))


def _shares(one: Standing) -> dict[str, float]:
    counts = Counter(one.chosen.values())
    return {action: count / len(one.chosen) for action, count in counts.items()}


def _row(one: Standing, shares: dict[str, float], shown: Sequence[str]) -> ShareRow:
    found = tuple(shares.get(action, 0.0) for action in shown)
    return ShareRow(
        policy="labels (best per case)" if one.name == BEST_PER_CASE else one.label,
        kind=one.kind,
        shares=found,
        others=max(0.0, 1.0 - sum(found)),
        entropy=-sum(share * math.log(share) for share in shares.values() if share > 0) + 0.0,
    )
