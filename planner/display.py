"""What a person sees in a terminal: progress bars and tables."""

import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from planner.contracts import DatasetInfo, ms_to_timestamp
from planner.evaluation.tables import with_interval

console = Console(width=None if sys.stdout.isatty() else 150)
"""Tables keep a readable width when the output goes to a file."""


class StageBars:
    """One bar per stage of a long command, added as the stages come."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<16}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, stage: str, done: int, total: int) -> None:
        """``done`` of ``total`` parts of ``stage`` are finished."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._tasks[stage], completed=done, total=total)


class EpochBar(StageBars):
    """A bar over epochs that shows the newest validation log-likelihood."""

    def __init__(self, epochs: int, name: str = "train") -> None:
        super().__init__()
        self._epochs, self._name = epochs, name
        self._task = self._progress.add_task(f"{name} (starting)", total=epochs)

    def epoch(self, metrics: dict[str, Any]) -> None:
        """One more epoch is over."""
        score = metrics.get("val_log_likelihood")
        text = f"{self._name}: loss {metrics['train_loss']:.3f}" + (f", val {score:.3f}" if score is not None else "")
        self._progress.update(self._task, description=text, completed=metrics["epoch"] + 1)


def print_dataset(info: DatasetInfo, path: Path) -> None:
    """Counts, splits and everything that was set aside."""
    table = Table("split", "examples", "seen issues", "first decision", "last decision", padding=(0, 0))
    for name, split in info.splits.items():
        times = [ms_to_timestamp(ms)[:19] if ms is not None else "" for ms in (split.first_ms, split.last_ms)]
        table.add_row(name, str(split.examples), str(split.of_seen_issues), *times)
    console.print(table)
    counts = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in info.counts.items())
    say(f"{counts}; contexts: " + ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in info.contexts.items()))
    for reason, n in info.unlabelled.items():
        say(f"history only: {n} runs: {reason}")
    for entry in info.quarantine:
        say(f"{entry.consequence}: {entry.path}: {entry.reason}")
    say(f"dataset: {path} (hash {info.dataset_hash[:16]})")


def print_check(report: dict[str, Any]) -> None:
    """What a dataset holds, the ceiling of imitation, losses on validation, and the verdict."""
    for name, split in report["splits"].items():
        say(f"{name}: {split['examples']} examples, {_short(split['unseen_issues'])} of them of issues unseen in train")
    table = Table("head", "possible", "in train", "rarest", "examples per value", title="action values", padding=(0, 0))
    for name, row in report["values"].items():
        counts = (row["possible"], row["seen"], row["rarest"])
        table.add_row(name, *map(str, counts), f"{row['examples_per_seen']:.1f}")
    console.print(table)
    names = ("near-duplicates", "examples", "agree", "by chance", "95 % above chance", "best by features")
    table = Table(*names, title="label agreement", padding=(0, 0))
    for row in report["agreement"]:
        table.add_row(
            row["near_duplicates"],
            str(row["examples"]),
            f"{row['agreement']:.3f}",
            f"{row['chance']:.3f}",
            f"{row['excess_low']:+.3f} to {row['excess_high']:+.3f}",
            "{:.2f} to {:.2f}".format(*row["ceiling"]),
        )
    console.print(table)
    say("best by features: between what and what the exact match of a policy on these features can come at best")
    heads = [*report["values"], "exact_match"]
    table = Table("policy", *heads, title="loss on validation (nats)", padding=(0, 0))
    for name, losses in report["validation"].items():
        table.add_row(name, *(f"{losses[head]:.3f}" for head in heads))
    console.print(table)
    say("verdict: " + ("enough to try" if report["enough"] else "too little data"))
    for reason in report["reasons"]:
        say(f"  because {reason}")


def print_run(run: Path, state: Any) -> None:
    """How a training run ended."""
    metric = state.selected_by.replace("_", " ").replace("log likelihood", "log-likelihood")
    best = "no validation" if state.best_metric is None else f"validation {metric} {state.best_metric:.3f}"
    say(f"{state.epoch + 1} epochs, best epoch {state.best_epoch + 1}: {best}")
    if state.note:
        say(f"note: {state.note}")
    say(f"run: {run}; next: planner evaluate {run}")


def print_evaluation(report: dict[str, Any]) -> None:
    """One table per split: groups and policies down, metrics across."""
    columns = {
        "examples": "n",
        "accuracy_swarm_id": "swarm",
        "accuracy_max_candidates_bin": "cand.",
        "accuracy_max_minutes_bin": "min.",
        "accuracy_max_iterations_bin": "iter.",
        "exact_match": "exact",
        "mean_duration_s": "time s",
        "success_under_budget": "success",
        "entropy_swarm": "H swarm",
        "entropy_candidates": "H cand.",
        "top1_share": "top-1",
        "ece": "ECE",
        "regret": "regret",
        "risk_accepted": "risk",
        "abstain_rate": "abst.",
        "risk_default": "default",
    }
    for split, groups in report["splits"].items():
        table = Table("group", "policy", *columns.values(), title=f"{split}", title_justify="left", padding=(0, 0))
        for group, result in groups.items():
            if group != "all" and result["examples"] == groups["all"]["examples"]:
                continue
            for policy, values in result["policies"].items():
                table.add_row(group, policy, *(_short(values[key]) for key in columns))
            table.add_section()
        console.print(table)
    say("time and success: over examples where the policy agrees with the executed swarm and candidates")
    say(f"abst.: joint confidence below {report['abstain_below']:.3g}, left to today's rule")
    say(
        "risk: mean loss of the accepted decisions, default: of today's rule where it abstained; a decision loses its "
        "regret where the bench tried several actions, else 1 when it disagrees with the executed one"
    )
    if report["calibration"]:
        promise = report["calibration"]
        say(
            f"promised: risk at most {promise['max_risk']:g} with confidence {promise['confidence']:g}"
            + ("" if promise["guaranteed"] else " (could not be shown on validation: it always abstains)")
        )


def print_calibration(calibration: Any, run: Path) -> None:
    """Temperatures, calibration error before and after, and the promise."""
    temperatures = ", ".join(f"{head} {value:.2f}" for head, value in calibration.temperatures.items())
    say(f"temperatures: {temperatures}")
    say(
        f"calibration error on {calibration.examples} validation examples: "
        f"{_short(calibration.ece_before)} before, {_short(calibration.ece_after)} after"
    )
    promise = f"accepted decisions lose at most {calibration.max_risk:g}, with confidence {calibration.confidence:g}"
    if calibration.guaranteed:
        say(
            f"abstain below {calibration.threshold:.3f}: {promise}; accepts {calibration.accepted} of "
            f"{calibration.examples}, which lose {calibration.risk:.3f}"
        )
    else:
        say(f"always abstain: {promise} cannot be shown on these examples; allow more risk or bring more data")
    say(f"run: {run}; next: planner evaluate {run}")


def print_regret(report: dict[str, Any]) -> None:
    """The table of policies on a bench's held-out cases."""
    columns = ("policy", "pass rate", "time s", "agent s", "regret", "95 % interval", "own choice")
    table = Table(*(Column(name, no_wrap=True) for name in columns), padding=(0, 0))
    for row in report["policies"]:
        table.add_row(
            row["policy"],
            _short(row["pass_rate"]),
            _short(row["mean_time_s"]),
            _short(row["mean_agent_time_s"]),
            f"{row['regret']:.4f}",
            f"{row['regret_low']:.4f} to {row['regret_high']:.4f}",
            _short(row["free_choice"]),
        )
    console.print(table)
    say(f"{report['held_out_cases']} held-out cases, the latest; {report['learning_cases']} earlier ones to learn from")
    say(f"regret: lost utility against the best executed action; utility = {report['utility']}")
    say("own choice: share of cases in which the policy's favourite was among the executed actions")
    say(
        "pass regret (cases lost that some executed action passes): "
        + ", ".join(f"{row['policy']} {row['pass_regret']:.2f}" for row in report["policies"])
    )


METRIC_COLUMNS = {
    "log_likelihood": "log lik.",
    "ece": "ECE",
    "entropy_swarm": "H swarm",
    "entropy_candidates": "H cand.",
    "abstain_rate": "abst.",
    "risk_accepted": "risk",
    "risk_default": "default",
}
"""What a row of a comparison shows besides exact match and regret."""


def print_comparison(report: dict[str, Any]) -> None:
    """Policies down, metrics across; seen and unseen issues apart where there are both."""
    rows = sorted(report["rows"], key=lambda row: (row["split"] == "test", row["issues"]))
    _print_rows(rows, {"split": "split", "issues": "issues", "examples": "n", "policy": "policy"})
    _explain(report)


def print_ablation(report: dict[str, Any]) -> None:
    """One section per varied setting, on test (on validation where test is empty), all issues together."""
    split = "test" if any(row["split"] == "test" for row in report["rows"]) else "val"
    rows = [row for row in report["rows"] if row["split"] == split and row["issues"] == "all"]
    _print_rows(rows, {"axis": "varied", "policy": "to", "examples": f"n ({split})"})
    _explain(report)


def _print_rows(rows: list[dict[str, Any]], names: dict[str, str]) -> None:
    shown = [metric for metric in ("exact_match", "regret") if any(row[metric] is not None for row in rows)]
    titles = [metric.partition("_")[0] + " [95 %]" for metric in shown]
    columns = (*names.values(), *titles, *METRIC_COLUMNS.values(), "parameters", "train s")
    table = Table(*(Column(name, no_wrap=True) for name in columns), padding=(0, 0))
    for previous, row in zip([None, *rows], rows, strict=False):
        if previous is not None and previous[next(iter(names))] != row[next(iter(names))]:
            table.add_section()
        table.add_row(
            *(str(row[name]) for name in names),
            *(escape(with_interval(row, metric)) for metric in shown),
            *(_short(row[key]) for key in METRIC_COLUMNS),
            "-" if row["parameters"] is None else str(int(row["parameters"])),
            "-" if row["train_seconds"] is None else f"{row['train_seconds']:.0f}",
        )
    console.print(table)


def _explain(report: dict[str, Any]) -> None:
    say(f"trained policies: mean over {report['seeds']} seeds; intervals are over examples (bootstrap)")
    say(
        f"abst.: share left to today's rule so that the rest loses up to {report['max_risk']:g} on average (chosen on "
        "val); risk: what the rest does lose; default: what today's rule loses where the policy abstained"
    )


def say(text: str) -> None:
    """A line of plain text: no markup, no colours, not wrapped, so that paths can be copied."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _short(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.2f}"
