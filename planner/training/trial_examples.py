"""Which example each trial belongs to: what was known when it was launched is the context that a network reads."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from planner.dataset.storage import Dataset
from planner.dataset.trials import Trials, read_trials
from planner.policies.questions import Question, question_of
from planner.policies.unseen_candidates import pass_shares


@dataclass(frozen=True)
class ExampleTrials:
    """t trials of n examples; those of example i are the rows bounds[i] to bounds[i + 1].

    bounds (n + 1,) int64; tools (t,); passed (t,) 1 or 0, NaN where a trial was cut or nobody knows; log_minutes (t,),
    of budget, NaN where nobody knows how long it took; cut (t,); odds (t,), how many times likelier what is known of a
    trial is if it passed than if it did not, 1 but where nobody knows.
    """

    bounds: NDArray[np.int64]
    tools: NDArray[np.str_]
    passed: NDArray[np.float64]
    log_minutes: NDArray[np.float64]
    cut: NDArray[np.bool_]
    odds: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def example(self) -> NDArray[np.int64]:
        """Which example each trial belongs to, (t,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.bounds))

    @cached_property
    def known_tools(self) -> tuple[str, ...]:
        """Every tool with a name, sorted."""
        return tuple(sorted(set(self.tools.tolist()) - {""}))


def trials_of_examples(dataset: Dataset, split: str) -> ExampleTrials:
    """The trials that may be learned from with the examples of this split, and of which something is known.

    A trial belongs to the latest example of its issue that was decided before it ended and would launch its tool, or
    where none would, to the latest of its issue. One without an example is left out: nobody recorded its context.
    """
    trials = read_trials(dataset.path)
    told = trials.usable | trials.one_of_several
    trials = trials.take(told & (trials.job_type == "code") & (trials.split == split))
    owner = _owners(dataset, split, trials)
    order = np.argsort(owner, kind="stable")
    order = order[owner[order] >= 0]
    counts = np.bincount(owner[order], minlength=len(dataset.splits[split]))
    kept = trials.take(order)
    minute_ms = 1000 * dataset.info.minute_seconds
    times = np.where(kept.timed & kept.usable, kept.duration_ms, np.nan)
    shares = pass_shares(kept)
    return ExampleTrials(
        bounds=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        tools=kept.tool,
        passed=np.where(kept.cut | kept.one_of_several, np.nan, shares.share),
        log_minutes=np.log(times / minute_ms),
        cut=kept.cut,
        odds=shares.odds,
    )


def _owners(dataset: Dataset, split: str, trials: Trials) -> NDArray[np.int64]:
    """The example of each trial, (t,), -1 for none."""
    part = dataset.splits[split]
    of_issue: defaultdict[str, list[tuple[int, int, Question]]] = defaultdict(list)
    decided = part.table["decided_ms"] if len(trials) else []
    for row, (context, at_ms) in enumerate(zip(part.contexts() if len(trials) else [], decided, strict=True)):
        if context["job_type"] == "code":
            question = question_of(context, dataset.info.kernel_config)
            of_issue[question.subject.issue_id].append((at_ms, row, question))
    owner: NDArray[np.int64] = np.full(len(trials), -1, dtype=np.int64)
    rows = zip(trials.subjects, trials.tool.tolist(), trials.ended_ms.tolist(), strict=True)
    for at, (subject, tool, ended_ms) in enumerate(rows):
        before = [one for one in of_issue.get(subject.issue_id, ()) if one[0] <= ended_ms]
        launching = [one for one in before if tool in one[2].tools]
        owner[at] = max(((at_ms, row) for at_ms, row, _ in launching or before), default=(0, -1))[1]
    return owner
