"""`planner relabel`: the bench's winners as examples in the dataset's own format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.judging.benched_trials import benched_trials
from bench.judging.objective import DECIDED_BY
from bench.judging.results import HOLDOUT, BenchResults, CaseResults, HoldOutBy, hold_out, read_bench, split_off
from bench.ledger_file import repo_of
from planner.actions import ActionSpace
from planner.artifacts.rule_settings import decisive_part
from planner.artifacts.universe import load_kernel_config, minute_seconds
from planner.context import N_SIMILAR
from planner.contracts.dataset import DatasetInfo, TokenProfile
from planner.contracts.kernel import ContextBuilderName
from planner.dataset.examples import Example
from planner.dataset.storage import MANIFEST, Dataset, load_dataset
from planner.dataset.write import write_dataset
from planner.encoding.profiles import encode
from planner.errors import BenchError
from planner.scoring.regret import MOSTLY
from planner.scoring.utility import Metrics, check_metrics, limit_ms, recorded_metrics

VALIDATION = 0.2
"""Share of the learning cases, the latest of them, that decides when to stop."""


@dataclass(frozen=True)
class _Settings:
    """What the winners' dataset takes from elsewhere; what is None is fitted on the learning cases."""

    base: DatasetInfo | None
    kernel_config: dict[str, Any]
    minute_seconds: float
    token_profile: TokenProfile
    n_similar: int
    context_builder: ContextBuilderName | None
    """Who built the cases' contexts; None: an earlier program, which did not say."""


def relabel(
    ledger_path: Path,
    base_dataset: Path | None,
    out: Path,
    *,
    holdout: float = HOLDOUT,
    by: HoldOutBy = "time",
    repo: Path | None = None,
) -> DatasetInfo:
    """Write a dataset whose labels are winners.

    With a base it keeps the base's action space, token profile, vocabulary and normalisation; without one these are
    fitted on the learning cases alone, and today's rule and the length of a minute are those of ``repo``, of the repo
    that the ledger lies in, or of the replay that made the ledger. train and val come from the learning cases, test
    holds the held-out ones. BenchError when the ledger has too few cases or nobody recorded how long a minute is;
    ActionError when an action is outside the space; DatasetError as write_dataset does, and when the base holds winners
    of another objective.
    """
    bench = read_bench(ledger_path)
    learning, held_out = hold_out(bench.cases, holdout, by)
    train, validation = split_off(learning, VALIDATION, by)
    results = [*train, *validation, *held_out]
    bounds = [0, len(train), len(learning), len(results)]
    splits = {name: range(bounds[i], bounds[i + 1]) for i, name in enumerate(("train", "val", "test"))}
    builder = builder_of(results, str(ledger_path))
    settings = _fresh(bench, repo, builder) if base_dataset is None else _of_base(base_dataset, ledger_path, builder)
    base = settings.base
    space = action_space(learning) if base is None else ActionSpace.from_document(base.action_space.model_dump())
    if base is not None and base.label_source == "bench_winners":
        check_metrics(recorded_metrics(base.objective), bench.metrics, str(base_dataset), str(ledger_path))
    return _write(out, results, splits, by, space, settings, bench.metrics, bench.account)


def cases_dataset(
    out: Path,
    learning: Sequence[CaseResults],
    held_out: Sequence[CaseResults],
    minute_seconds: float,
    metrics: Metrics,
    repo: Path | None,
    by: HoldOutBy = "time",
) -> Dataset:
    """A dataset to fit baselines on: train holds the learning cases, test the held-out ones, val nothing.

    Vocabulary and normalisation are fitted on the learning cases; today's rule is that of ``repo``, where it is known.
    """
    results = [*learning, *held_out]
    n = len(learning)
    splits = {"train": range(n), "val": range(n, n), "test": range(n, len(results))}
    config_path = None if repo is None else repo / ".cyntra" / "config.yaml"
    config = load_kernel_config(config_path) if config_path is not None and config_path.exists() else {}
    builder = builder_of(results, "the bench")
    settings = _Settings(None, config, minute_seconds, builder or "planner", N_SIMILAR, builder)
    _write(out, results, splits, by, action_space(results), settings, metrics, {})
    return load_dataset(out)


def _write(
    out: Path,
    results: Sequence[CaseResults],
    splits: Mapping[str, range],
    by: HoldOutBy,
    space: ActionSpace,
    settings: _Settings,
    metrics: Metrics,
    account: Mapping[str, int],
) -> DatasetInfo:
    limit = limit_ms(settings.minute_seconds)
    examples = [_example(result, limit) for result in results]
    base = settings.base
    return write_dataset(
        out,
        examples=examples,
        encoded=[encode([example.context for example in examples], settings.n_similar, settings.token_profile)],
        splits=splits,
        space=space,
        vocabulary=None if base is None else base.vocabulary,
        seen_issues={results[i].problem for i in splits["train"]},
        trials=benched_trials({name: results[span.start : span.stop] for name, span in splits.items()}, by),
        n_similar=settings.n_similar,
        normalisation_of=base,
        account={
            "label_source": "bench_winners",
            "objective": [list(metric) for metric in metrics],
            "base_dataset_hash": None if base is None else base.dataset_hash,
            "token_profile": settings.token_profile,
            "context_builder": settings.context_builder,
            "kernel_config": decisive_part(settings.kernel_config),
            "minute_seconds": settings.minute_seconds,
            "counts": {
                "cases": len(results),
                "examples": len(results),
                "outcomes": sum(len(group) for result in results for group in result.outcomes.values()),
                **{
                    f"decided_by_{reason}": sum(result.verdict.decided_by == reason for result in results)
                    for reason in DECIDED_BY
                },
                **account,
            },
            "contexts": {"recorded": len(results)},
            "unlabelled": {},
            "quarantine": [],
        },
    )


def action_space(results: Sequence[CaseResults]) -> ActionSpace:
    """The smallest space that holds everything these cases admit."""
    documents = [result.case.context.action_space.model_dump() for result in results]
    return ActionSpace.union([ActionSpace.from_document(document) for document in documents])


def dataset_beside(ledger_path: Path) -> Path | None:
    """The dataset of the repo (or quickstart) that the ledger lies in, if there is one."""
    path = ledger_path.resolve().parent.with_name("dataset")
    return path if (path / MANIFEST).exists() else None


def builder_of(results: Sequence[CaseResults], place: str) -> ContextBuilderName | None:
    """Who built the contexts of these cases, which are from ``place``; BenchError when both did."""
    found = {result.case.context_builder for result in results}
    if found >= {"planner", "kernel"}:
        raise BenchError(
            f"{place} has contexts of the profiles planner and kernel: bench each into a ledger of its own"
        )
    return next(iter(found - {None}), None)


def _of_base(dataset: Path, ledger_path: Path, builder: ContextBuilderName | None) -> _Settings:
    info = load_dataset(dataset).info
    if None not in (builder, info.context_builder) and builder != info.context_builder:
        raise BenchError(
            f"{ledger_path} has contexts of the profile {builder}, {dataset} of {info.context_builder}: bench again "
            f"with --profile {info.context_builder}, or name a dataset of the profile {builder}"
        )
    return _Settings(info, info.kernel_config, info.minute_seconds, info.token_profile, info.n_similar, builder)


def _fresh(bench: BenchResults, repo: Path | None, builder: ContextBuilderName | None) -> _Settings:
    repo = repo or (None if "replay" in bench.settings else repo_of(bench.path))
    config_path = None if repo is None else repo / ".cyntra" / "config.yaml"
    if repo is not None and config_path is not None and not config_path.exists():
        raise BenchError(f"{config_path}: no such file: name the repo that was benched with --repo")
    config = load_kernel_config(config_path) if config_path is not None else {}
    seconds = bench.minute_seconds or (None if config_path is None else minute_seconds(config))
    if seconds is None:
        raise BenchError(
            f"{bench.path} has no record of how long a minute of budget lasted: name the repo that was benched with "
            "--repo, or a dataset of it with --dataset"
        )
    return _Settings(None, config, seconds, builder or "planner", N_SIMILAR, builder)


def _example(result: CaseResults, limit: int) -> Example:
    label = result.verdict.action
    outcome = result.outcomes[label][0]
    expected = result.expected.get(label)
    # Which status a label has is the more likely one, where trials tell how likely it is.
    likely = outcome.status if expected is None else "success" if expected.passed > MOSTLY else "failed"
    context = result.case.context.model_dump(exclude_unset=True)
    return Example.of(
        context,
        example_id=result.case.case_id,
        label=label,
        decided_ms=result.decided_ms,
        issue_id=result.problem,
        job_type=context["job_type"],
        domain="code" if context["job_type"] == "code" else "fab_world",
        status=likely,
        duration_ms=outcome.duration_ms if expected is None else round(expected.duration_ms),
        cost_usd=outcome.cost_usd,
        compared=result.action_outcomes(limit),
        label_confidence=result.verdict.confidence,
        decided_by=result.verdict.decided_by,
    )
