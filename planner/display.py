"""What a person sees in a terminal: progress bars and tables."""

import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from planner.contracts import DatasetInfo, ms_to_timestamp

console = Console(width=None if sys.stdout.isatty() else 120)
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
    best = "no validation" if state.best_metric is None else f"validation log-likelihood {state.best_metric:.3f}"
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
        "risk_accepted": "risk",
        "abstain_rate": "abst.",
        "abstain_cost": "cost",
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
    say(f"abst.: joint confidence below {report['abstain_below']:.3g}; cost: exact match lost there to today's rule")
    say("risk: share of the accepted decisions that disagree with the executed action")
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
    promise = (
        f"at most {calibration.max_risk:g} of accepted decisions wrong, with confidence {calibration.confidence:g}"
    )
    if calibration.guaranteed:
        say(
            f"abstain below {calibration.threshold:.3f}: {promise}; accepts {calibration.accepted} of "
            f"{calibration.examples}, {calibration.risk:.3f} of them wrong"
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


def print_comparison(report: dict[str, Any]) -> None:
    """Policies down, metrics across; seen and unseen issues apart where there are both."""
    columns = {"log_likelihood": "log lik.", "ece": "ECE", "entropy_swarm": "H swarm", "entropy_candidates": "H cand."}
    names = ("split", "issues", "n", "policy", "exact", "95 % interval", *columns.values(), "parameters", "train s")
    table = Table(*(Column(name, no_wrap=True) for name in names), padding=(0, 0))
    for row in sorted(report["rows"], key=lambda row: (row["split"] == "test", row["issues"])):
        table.add_row(
            row["split"],
            row["issues"],
            str(row["examples"]),
            row["policy"],
            f"{row['exact_match']:.3f}",
            f"{row['exact_match_low']:.3f} to {row['exact_match_high']:.3f}",
            *(_short(row[key]) for key in columns),
            "-" if row["parameters"] is None else str(int(row["parameters"])),
            "-" if row["train_seconds"] is None else f"{row['train_seconds']:.0f}",
        )
    console.print(table)
    say(f"neural policies: mean over {report['seeds']} seeds; the interval is over examples (bootstrap)")


def say(text: str) -> None:
    """A line of plain text: no markup, no colours, not wrapped, so that paths can be copied."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _short(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.2f}"
