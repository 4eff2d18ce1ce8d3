"""How a dataset and a training run came out."""

import math
from typing import TYPE_CHECKING, Any

from planner.artifacts.versions import UnknownKeys
from planner.contracts.dataset import DatasetInfo
from planner.contracts.document import ms_to_timestamp
from planner.display.console import note, say
from planner.display.table import print_table
from planner.places import Place
from planner.policies.readings import Gate

if TYPE_CHECKING:  # which imports torch, and a dataset is printed without
    from planner.runs.checkpoint import PupilReport


def print_dataset(info: DatasetInfo, path: Place) -> None:
    """Counts, splits and everything that was set aside."""
    rows = []
    for name, split in info.splits.items():
        times = [ms_to_timestamp(ms)[:19] if ms is not None else "" for ms in (split.first_ms, split.last_ms)]
        rows.append([name, str(split.examples), str(split.of_seen_issues), *times])
    print_table(("split", "examples", "seen issues", "first decision", "last decision"), rows)
    counts = ", ".join(f"{value} {name.replace('_', ' ')}" for name, value in info.counts.items())
    say(f"{counts}; contexts: " + ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in info.contexts.items()))
    if info.trials:
        say("trials: " + ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in info.trials.items()))
    for reason, n in info.unlabelled.items():
        say(f"history only: {n} runs: {reason}")
    for entry in info.quarantine:
        say(f"{entry.consequence}: {entry.path}: {entry.reason}")
    for line in UnknownKeys(info.unknown_keys).lines:
        say(line)
    say(f"dataset: {path} (hash {info.dataset_hash[:16]})")


def print_fitted(run: Place, fitted: Any) -> None:
    """How a policy that is fitted to trials came out: what it gains on cases it had not seen, and its gate."""
    for mode, gate in fitted.policy.values.judged.gates(fitted.policy.reading).items():
        say(f"{mode} issues: {describe_gate(gate)}")
    say(f"run: {run}")
    note(f"next: planner evaluate {run}")


def print_run(run: Place, state: Any) -> None:
    """How a training run ended."""
    metric = state.selected_by.replace("_", " ").replace("log likelihood", "log-likelihood")
    best = "no validation" if state.best_metric is None else f"validation {metric} {state.best_metric:.3f}"
    say(f"{state.epoch + 1} epochs, best epoch {state.best_epoch + 1}: {best}")
    if state.note:
        say(f"note: {state.note}")
    say(f"run: {run}")
    note(f"next: planner evaluate {run}")


def print_pupil(report: "PupilReport") -> None:
    """How far a pupil decides as its teacher does."""
    if report.agreement is None:
        say(f"pupil of {report.teacher}: no context is left to compare them on: give a dataset with val or test")
        return
    say(
        f"on {report.contexts} contexts of {report.split} it takes its teacher's action, or one as good to .001, in "
        f"{report.agreement:.0%}, and by the teacher's values loses {report.utility_lost:.4f} of utility on average "
        f"(at most {report.utility_lost_at_most:.4f}): {report.utility:.4f}"
    )
    if report.utility_lost_untaught is not None:
        say(
            f"{report.untaught} of them ask of an issue and tool that no lesson asked of: there it loses "
            f"{report.utility_lost_untaught:.4f}"
        )


def describe_gate(gate: Gate) -> str:
    """What a model gains, how sure that is, and whether it is followed."""
    if not math.isfinite(gate.error):
        return f"nothing to compare with {gate.over}: gate shut, {gate.over} is kept"
    if gate.lacking:
        return f"{gate.cases} cases say too little: {gate.lacking}; gate shut, {gate.over} is kept"
    doubt = f" and {gate.doubt:.4f} by which the model may be wrong about what was run" if gate.doubt else ""
    state = "open: the model is followed" if gate.open else f"shut: {gate.over} is kept"
    return (
        f"{gate.gain:+.4f} utility over {gate.over} on {gate.cases} cases that it had not seen, less an error of "
        f"{gate.error:.4f}{doubt}; gate {state}"
    )
