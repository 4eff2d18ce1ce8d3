"""What a person sees in a terminal: progress bars and tables."""

import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from planner.contracts.dataset import DatasetInfo
from planner.contracts.document import ms_to_timestamp
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
    capped = 0
    for split, groups in report["splits"].items():
        table = Table("group", "policy", *columns.values(), title=f"{split}", title_justify="left", padding=(0, 0))
        for group, result in groups.items():
            if group != "all" and result["examples"] == groups["all"]["examples"]:
                continue
            for policy, values in result["policies"].items():
                capped = max(capped, values["capped_choices"])
                table.add_row(group, policy, *(_short(values[key]) for key in columns))
            table.add_section()
        console.print(table)
    if capped:
        say(f"regret: a lower bound where a capped action is chosen, in up to {capped} examples; its risk is 1")
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
    """Tables of policies on a bench's held-out cases; seen and unseen problems apart where there are both."""
    _print_scores(report["policies"], None)
    if report["seen"] and report["unseen"]:
        for group in ("seen", "unseen"):
            _print_scores(report[group], f"{report[group][0]['cases']} cases of {group} problems")
    say(
        f"{report['held_out_cases']} held-out cases of {report['held_out_problems']} problems, the latest by "
        f"{report['held_out_by']}; {report['learning_cases']} others to learn from"
    )
    say(
        f"{report['held_out_seen']} held-out cases are of problems that learning saw too; "
        f"{report['held_out_before_learning_ended']} are earlier than the last learning case"
    )
    say(
        f"left out: {report['faults_left_out']} faults of {report['cases_with_faults']} cases, and "
        f"{report['cases_left_out']} cases that compare no two actions"
    )
    for reason in report["unknown_provenance"]:
        say(f"what a run learned from is not known in full: {reason}")
    say("pass regret: share of passes lost against the best executed action; by itself it says little")
    say(
        "time, agent and $ regret: over the cases whose chosen action passes (share of all: `passes`), what it takes "
        "beyond the least of any passing action executed there: wall s, s of all agents together, dollars"
    )
    say(f"regret: lost utility against the best action that ran to its end; utility = {report['utility']}")
    say("own choice: share of cases in which the policy's favourite was among the executed actions")
    say("intervals: 95 %, bootstrap over cases, those of one problem drawn together; the others are in the JSON file")
    for row in report["policies"]:
        if row["capped_choices"]:
            say(
                f"{row['policy']}: {row['capped_choices']:.4g} choices were capped: their pass is unknown, their "
                f"regret a lower bound (had they all failed, it would be {row['regret_at_most']:.4f})"
            )
    if any(row["capped_choices"] for row in report["policies"]):
        say("to judge exactly, bench the held-out cases with --full: a policy that likes capped actions looks too good")
    for row in report["online"]:
        _say_online(row)
    for row in report["price"]:
        _say_price(row)


def _print_scores(rows: list[dict[str, Any]], title: str | None) -> None:
    dollars = any(row["dollar_regret"] is not None for row in rows)
    shown = {"pass_regret": "pass regret", "time_regret_s": "time regret s", "agent_regret_s": "agent regret s"}
    shown |= {"dollar_regret": "$ regret"} if dollars else {}
    shown |= {"regret": "regret"}
    columns = ("policy", "pass", "time s", "agent s", "passes", *shown.values(), "own choice")
    table = Table(*(Column(name, no_wrap=True) for name in columns), title=title, title_justify="left", padding=(0, 0))
    for row in rows:
        table.add_row(
            row["policy"],
            _short(row["pass_rate"]),
            f"{row['mean_time_s']:.4g}",
            f"{row['mean_agent_time_s']:.4g}",
            f"{row['passing_cases'] / row['cases']:.2f}",
            # The other intervals are in the numbers' file: a table has to fit a terminal.
            *(
                escape(_with_bounds(row, name)) if name in ("pass_regret", "regret") else _plain(row[name])
                for name in shown
            ),
            _short(row["free_choice"]),
        )
    console.print(table)


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _with_bounds(row: dict[str, Any], name: str) -> str:
    if row[name] is None:
        return "-"
    return "{:.3g} [{:.3g}, {:.3g}]".format(*(round(row[f"{name}{end}"], 4) for end in ("", "_low", "_high")))


def _say_online(row: dict[str, Any]) -> None:
    text = (
        f"{row['policy']} online: caps cut {row['wanted_more_than_caps']} of {row['decisions']} decisions, "
        f"{row['executed_more_than_caps']} plans exceed them after that; "
    )
    if row["threshold"] is None:
        text += "it never abstains, because it was not calibrated"
    else:
        text += f"it abstains from {row['abstained']} (confidence below {row['threshold']:.3g})"
    if row["abstained_regret_of_todays_rule"] is not None:
        text += (
            f", where today's rule has a regret of {row['abstained_regret_of_todays_rule']:.4f}, its own choice "
            f"{row['abstained_regret_of_policy']:.4f}"
        )
    say(text + f"; regret with both: {row['regret']:.4f} [{row['regret_low']:.4f}, {row['regret_high']:.4f}]")


def _say_price(row: dict[str, Any]) -> None:
    won = (
        f"{row['regret_won']:+.4f} [{row['regret_won_low']:+.4f}, {row['regret_won_high']:+.4f}] of regret against "
        f"{row['before']}"
    )
    cost = f"{row['agent_minutes']:.4g} agent minutes"
    if row["dollars"] is not None:
        cost += f" and ${row['dollars']:.4g} ({row['executions_with_dollars']} of {row['executions']} told theirs)"
    if row["minutes_without_outcome"]:
        cost += f"; {row['minutes_without_outcome']:.4g} minutes went to faults and lost attempts besides"
    simplest = f"; the single best action of the same labels wins {row['regret_won_by_single_best']:+.4f}"
    if row["agent_minutes_per_point"] is None:
        say(f"{row['policy']}: no regret was won ({won}); its labels cost {cost}{simplest}")
        return
    per_point = f"{row['agent_minutes_per_point']:.4g} agent minutes"
    if row["dollars_per_point"] is not None:
        per_point += f" and ${row['dollars_per_point']:.4g}"
    doubt = "" if row["regret_won_low"] > 0 else ", which cannot be told from nothing"
    say(f"{row['policy']} won {won}{doubt}; its labels cost {cost}: {per_point} a point (0.01){simplest}")


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
    if capped := max((row["capped_choices"] for row in report["rows"]), default=0):
        say(f"regret: a lower bound where a capped action is chosen, in up to {capped:.4g} examples; its risk is 1")
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
