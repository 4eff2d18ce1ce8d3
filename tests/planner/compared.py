"""A dataset whose contexts are real enough and whose outcomes a test makes up: several compared actions an example."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from planner.dataset.examples import Example
from planner.dataset.outcomes import ActionOutcome
from planner.dataset.storage import load_dataset
from planner.dataset.write import write_dataset
from planner.encoding.encode import encode_contexts


def write_compared(
    base_dataset: Path, out: Path, outcomes_of: Callable[[dict[str, Any]], Sequence[ActionOutcome]]
) -> Path:
    """Write the base's code contexts with these outcomes to ``out``, which is returned.

    60 % are to train on, 20 % each to validate and to test; labels are the actions of largest utility.
    """
    base = load_dataset(base_dataset)
    contexts = [c for split in base.splits.values() for c in split.contexts() if c["job_type"] == "code"]
    examples = [_example(i, context, outcomes_of(context)) for i, context in enumerate(contexts)]
    bounds = [0, len(examples) * 3 // 5, len(examples) * 4 // 5, len(examples)]
    write_dataset(
        out,
        examples=examples,
        encoded=[encode_contexts(contexts, base.info.n_similar)],
        splits={name: range(bounds[i], bounds[i + 1]) for i, name in enumerate(("train", "val", "test"))},
        space=base.space,
        vocabulary=base.info.vocabulary,
        seen_issues=set(),
        n_similar=base.info.n_similar,
        normalisation_of=base.info,
        account={
            "label_source": "bench_winners",
            "base_dataset_hash": base.info.dataset_hash,
            "kernel_config": base.info.kernel_config,
            "minute_seconds": base.info.minute_seconds,
            "counts": {"cases": len(examples)},
            "contexts": {"recorded": len(examples)},
            "unlabelled": {},
            "quarantine": [],
        },
    )
    return out


def _example(number: int, context: dict[str, Any], outcomes: Sequence[ActionOutcome]) -> Example:
    best = max(outcomes, key=lambda outcome: outcome.utility or 0.0)
    return Example.of(
        context,
        example_id=f"case-{number}",
        label=best.action,
        decided_ms=number,
        issue_id=context["issue"]["issue_id"],
        job_type=context["job_type"],
        domain="code",
        status="success" if best.passed else "failed",
        duration_ms=best.duration_ms,
        cost_usd=None,
        compared=tuple(outcomes),
    )
