"""`planner relabel`: the bench's winners as examples in the dataset's own format."""

from collections.abc import Sequence
from pathlib import Path

from bench.objective import limit_ms
from bench.results import CaseResults, hold_out, read_results
from planner.contracts import DatasetInfo
from planner.dataset.examples import Example
from planner.dataset.profiles import encode
from planner.dataset.storage import load_dataset, write_dataset

HOLDOUT = 0.4
"""Share of the cases, the latest, that no policy learns from."""
VALIDATION = 0.2
"""Share of the learning cases that decides when to stop."""


def relabel(ledger_path: Path, base_dataset: Path, out: Path, *, holdout: float = HOLDOUT) -> DatasetInfo:
    """Write a dataset whose labels are winners; it keeps the base's action space, token profile,
    vocabulary and normalisation.

    train and val come from the earlier cases, test holds the held-out ones. Raises BenchError when the ledger has too
    few cases, ActionError when a winner is outside the base's action space, DatasetError as write_dataset does.
    """
    base = load_dataset(base_dataset)
    learning, held_out = hold_out(read_results(ledger_path), holdout)
    results = [*learning, *held_out]
    validation = round(len(learning) * VALIDATION)
    bounds = [0, len(learning) - validation, len(learning), len(results)]
    limit = limit_ms(base.info.minute_seconds)
    examples = [_example(result, limit) for result in results]
    return write_dataset(
        out,
        examples=examples,
        encoded=encode([example.context for example in examples], base.info.n_similar, base.info.token_profile),
        splits={name: range(bounds[i], bounds[i + 1]) for i, name in enumerate(("train", "val", "test"))},
        space=base.space,
        vocabulary=base.info.vocabulary,
        seen_issues={example.issue_id for example in examples[: bounds[1]]},
        n_similar=base.info.n_similar,
        normalisation_of=base.info,
        account={
            "label_source": "bench_winners",
            "base_dataset_hash": base.info.dataset_hash,
            "token_profile": base.info.token_profile,
            "kernel_config": base.info.kernel_config,
            "minute_seconds": base.info.minute_seconds,
            "counts": {"cases": len(results), "examples": len(results), "outcomes": _n_outcomes(results)},
            "contexts": {"recorded": len(results)},
            "unlabelled": {},
            "quarantine": [],
        },
    )


def _example(result: CaseResults, limit: int) -> Example:
    label = result.verdict.action
    outcome = result.outcomes[label][0]
    context = result.case.context.model_dump(exclude_unset=True)
    return Example.of(
        context,
        example_id=result.case.case_id,
        label=label,
        decided_ms=result.decided_ms,
        issue_id=result.case.issue_id,
        job_type=context["job_type"],
        domain="code" if context["job_type"] == "code" else "fab_world",
        status=outcome.status,
        duration_ms=outcome.duration_ms,
        cost_usd=outcome.cost_usd,
        compared=result.action_outcomes(limit),
    )


def _n_outcomes(results: Sequence[CaseResults]) -> int:
    return sum(len(group) for result in results for group in result.outcomes.values())
