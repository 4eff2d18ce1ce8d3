"""One policy or dataset looked at closely: evaluation, calibration, check."""

from typing import TYPE_CHECKING, Any

from planner.display.console import _short, note, say
from planner.display.table import print_table
from planner.places import Place
from planner.scoring.metric import cell, columns

if TYPE_CHECKING:
    from planner.evaluation.dataset_check import DatasetCheck
    from planner.evaluation.evaluate import Evaluation  # it needs torch, which a dataset check does without


IMPORTANT = ("regret", "exact", "log lik.", "risk", "abst.", "ECE", "swarm")
"""Columns of an evaluation for which there is room first."""


def print_check(report: "DatasetCheck") -> None:
    """What a dataset holds, the ceiling of imitation, losses on validation, and the verdict."""
    say(f"contexts: built by the {report.context_builder or 'planner, or kept as the kernel recorded them'}")
    checked, same = (report.contexts.get(name, 0) for name in ("checked", "same_tokens"))
    if checked:
        say(f"rebuilt with the same tokens: {same} of {checked} recorded contexts")
    for name, split in report.splits.items():
        say(f"{name}: {split.examples} examples, {_short(split.unseen_issues)} of them of issues unseen in train")
    print_table(
        ("head", "possible", "in train", "rarest", "examples per value"),
        [
            [name, *map(str, (row.possible, row.seen, row.rarest)), f"{row.examples_per_seen:.1f}"]
            for name, row in report.values.items()
        ],
        title="action values",
    )
    names = ("near-duplicates", "examples", "agree", "by chance", "95 % above chance", "best by features")
    cells = [
        [
            found.near_duplicates,
            str(found.examples),
            f"{found.agreement:.3f}",
            f"{found.chance:.3f}",
            f"{found.excess_low:+.3f} to {found.excess_high:+.3f}",
            "{:.2f} to {:.2f}".format(*found.ceiling),
        ]
        for found in report.agreement
    ]
    print_table(names, cells, title="label agreement", first=("agree", "best by features", "by chance"))
    say("best by features: between what and what the exact match of a policy on these features can come at best")
    heads = [*report.values, "exact_match"]
    losses = [[name, *(f"{found[head]:.3f}" for head in heads)] for name, found in report.validation.items()]
    print_table(("policy", *heads), losses, title="loss on validation (nats)", first=("exact_match",))
    say("verdict: " + ("enough to try" if report.enough else "too little data"))
    for reason in report.reasons:
        say(f"  because {reason}")


def print_evaluation(report: "Evaluation") -> None:
    """One table per split: groups and policies down, metrics across."""
    shown = columns("evaluate")
    titles = [metric.title for metric in shown]
    capped = 0
    for split, groups in report.splits.items():
        rows: list[list[str]] = []
        ends = set()
        for group, result in groups.items():
            if group != "all" and result.examples == groups["all"].examples:
                continue
            for policy, values in result.policies.items():
                capped = max(capped, int(values["capped_choices"] or 0))
                cells = (cell(metric, values, interval=False) for metric in shown)
                rows.append([group, policy, str(values["examples"]), *cells])
            ends.add(len(rows) - 1)
        print_table(("group", "policy", "n", *titles), rows, title=split, keep=2, first=IMPORTANT, ends=ends)
    if capped:
        say(
            "regret, `A to B`: if every capped choice would have passed, and if none would; there are up to "
            f"{capped} of them, and their risk is 1"
        )
    say("time and success: over examples where the policy agrees with the executed swarm and candidates")
    say(f"abst.: joint confidence below {report.abstain_below:.3g}, left to today's rule")
    say(
        "risk: mean loss of the accepted decisions, default: of today's rule where it abstained; a decision loses its "
        "regret where the bench tried several actions, else 1 when it disagrees with the executed one"
    )
    if report.calibration:
        promise = report.calibration
        say(
            f"promised: risk at most {promise.max_risk:g} with confidence {promise.confidence:g}"
            + ("" if promise.guaranteed else " (could not be shown on validation: it always abstains)")
        )


def print_calibration(calibration: Any, run: Place) -> None:
    """Temperatures, calibration error before and after, and the promise."""
    temperatures = ", ".join(f"{head} {value:.2f}" for head, value in calibration.temperatures.items())
    say(f"temperatures: {temperatures}")
    say(
        f"calibration error on {calibration.examples} validation examples: {_short(calibration.ece_before)} before, "
        f"{_short(calibration.ece_after)} after, {_short(calibration.ece_cross_validated)} on cross-validation"
    )
    if not calibration.temperatures_kept:
        say("the fitted temperatures are not kept: on cross-validation they make the calibration error larger")
    promise = f"accepted decisions lose at most {calibration.max_risk:g}, with confidence {calibration.confidence:g}"
    if calibration.guaranteed:
        say(
            f"abstain below {calibration.threshold:.3f}: {promise}; accepts {calibration.accepted} of "
            f"{calibration.examples}, which lose {calibration.risk:.3f}"
        )
    else:
        say(f"always abstain: {promise} cannot be shown on these examples; allow more risk or bring more data")
    say(f"run: {run}")
    note(f"next: planner evaluate {run}")
