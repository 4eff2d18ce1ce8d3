"""Networks with a trial head on recorded trials: MLP, plain transformer and URM on the same folds, data and seeds, and
the structural model beside them.

python -m benchmarks.heads TABLES [--trials 5 --minute-seconds 10] [--setting pair] [--seeds 1] [--json FILE]
python -m benchmarks.heads TABLES --arch URM --tuned URM=tune/best.yaml

Settings and figures as in benchmarks.decisions: pair, other agents' trials of a problem are known; group, none of its
group's are. There are five folds; with one seed, every fold is a network of its own seed. A fifth of the learning cases
is validation: it says when to stop, and whether the gate opens.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray

from bench.executors.replay import SPACE, ReplayExecutor
from benchmarks.decisions import FOLDS, Fold, Table, figures, fit_fold, folds_of, read_table, trials_of_case
from planner.config import load_config
from planner.dataset.examples import Example
from planner.dataset.outcomes import ActionOutcome
from planner.dataset.trials import Trial
from planner.dataset.write import write_dataset
from planner.encoding.encode import encode_contexts
from planner.runs.learned import LearnedPolicy
from planner.runs.trial_reading import foreseen_plans
from planner.scoring.plan_outcome import PlanOutcomes, plan_of
from planner.training.loop import start_run, train

ARCHS = {"MLP": "mlp_planner", "transformer": "transformer_planner", "URM": "urm_planner"}
STRUCTURAL = "structural"
VALIDATION = 0.2


@dataclass(frozen=True)
class Recorded:
    """A table, and the contexts of its cases."""

    table: Table
    contexts: list[dict[str, Any]]


def read(directory: Path, trials: int, minute_seconds: float) -> Recorded:
    """The cases of a folder of recorded trials."""
    executor = ReplayExecutor.prepare(directory, n_trials=trials, minute_seconds=minute_seconds)
    contexts = [dict(draft.choice.context) for draft in executor.drafts(None, "recorded")]
    return Recorded(read_table(directory, trials, minute_seconds), contexts)


def write_fold(recorded: Recorded, fold: Fold, out: Path, by_group: bool, seed: int) -> None:
    """The learning cases of a fold as a dataset: train and validation, which is cut as the fold is."""
    table, rows = recorded.table, fold.learning
    keys = table.groups[rows] if by_group else rows
    distinct = np.random.default_rng(seed).permutation(np.unique(keys))
    held = np.isin(keys, distinct[: max(1, round(VALIDATION * len(distinct)))])
    parts = {"train": rows[~held], "val": rows[held], "test": rows[:0]}
    order = np.concatenate(list(parts.values()))
    examples = [_example(recorded, row) for row in order.tolist()]
    ends = np.cumsum([len(part) for part in parts.values()]).tolist()
    write_dataset(
        out,
        examples=examples,
        encoded=[encode_contexts([recorded.contexts[row] for row in order.tolist()], 0)],
        splits={"train": range(ends[0]), "val": range(ends[0], ends[1]), "test": range(ends[1], ends[2])},
        space=SPACE,
        vocabulary=None,
        seen_issues={example.issue_id for example in examples[: ends[0]]},
        n_similar=0,
        trials=[t for name, part in parts.items() for row in part.tolist() for t in _trials(recorded, row, name)],
        account={
            "label_source": "bench_winners",
            "base_dataset_hash": None,
            "kernel_config": {},
            "minute_seconds": table.minute_ms / 1000,
            "counts": {"cases": len(examples)},
            "contexts": {"recorded": len(examples)},
            "unlabelled": {},
            "quarantine": [],
        },
    )


def _trials(recorded: Recorded, row: int, split: str) -> list[Trial]:
    return [trial._replace(split=split) for trial in trials_of_case(recorded.table, row)]


def _example(recorded: Recorded, row: int) -> Example:
    """A case with what all observed actions come to over the orders of its trials."""
    table, case = recorded.table, recorded.table.cases[row]
    plans = {plan[0]: at for at, plan in enumerate(table.plans)}
    utility = table.utility(PlanOutcomes(*(kind[row : row + 1] for kind in table.expected)))[0]
    outcomes = []
    for action in SPACE.valid_actions("code"):
        if (at := plans.get(plan_of(action, 1.0))) is not None:
            wall, agent = (round(kind[row, at] * table.minute_ms) for kind in table.expected[1:])
            outcomes.append(
                ActionOutcome(action, float(table.expected.passed[row, at]), wall, agent, False, float(utility[at]))
            )
    best = max(outcomes, key=lambda outcome: outcome.utility or 0.0)
    return Example.of(
        recorded.contexts[row],
        example_id=case.case_id,
        label=best.action,
        decided_ms=case.trials[0].started_ms,
        issue_id=table.questions[row].subject.issue_id,
        job_type="code",
        domain="code",
        status="success" if best.passed > 0.5 else "failed",
        duration_ms=best.duration_ms,
        cost_usd=None,
        compared=tuple(outcomes),
    )


def measure(
    recorded: Recorded, setting: str, archs: dict[str, str], seeds: int, tuned: dict[str, Path]
) -> dict[str, Any]:
    """All figures of one table in one setting; ``tuned`` are settings that a search has found, by name."""
    table = recorded.table
    picks: dict[str, list[NDArray[np.intp]]] = {}
    likelihoods: dict[str, list[float]] = {name: [] for name in archs}
    seconds: dict[str, float] = dict.fromkeys(archs, 0.0)
    opened: dict[str, int] = dict.fromkeys(archs, 0)
    for seed in range(seeds):
        chosen: dict[str, NDArray[np.intp]] = {}

        def take(name: str, rows: NDArray[np.intp], at: Any) -> None:
            chosen.setdefault(name, np.zeros(len(table.cases), dtype=np.intp))[rows] = at  # noqa: B023 - called within this turn of the loop alone

        for number, fold in enumerate(folds_of(table, setting, seed)):
            judged = fold.judged
            questions = [table.questions[row] for row in judged.tolist()]
            structural = fit_fold(table, fold, ("structural",), seed).values(questions)
            learned = int(
                table.utility(PlanOutcomes(*(k[fold.learning] for k in table.expected))).mean(axis=0).argmax()
            )
            take(STRUCTURAL, judged, table.utility(structural).argmax(axis=1))
            take("best fixed, learned", judged, learned)
            with tempfile.TemporaryDirectory() as directory:
                write_fold(recorded, fold, Path(directory) / "dataset", setting == "group", seed)
                for name, arch in archs.items():
                    began = time.process_time()
                    policy, best = _trained(arch, Path(directory), FOLDS * seed + number, tuned.get(name))
                    seconds[name] += time.process_time() - began
                    likelihoods[name].append(best)
                    assert policy.reading is not None
                    beliefs = policy.beliefs_of([recorded.contexts[row] for row in judged.tolist()])
                    values = foreseen_plans(beliefs, questions, policy.document.tools, table.plans)
                    own = table.utility(values).argmax(axis=1)
                    is_open = policy.reading.document.gates["new" if setting == "group" else "known"].open
                    opened[name] += is_open
                    take(name, judged, own)
                    take(f"{name}, gated", judged, own if is_open else learned)
                    both = PlanOutcomes(*((a + b) / 2 for a, b in zip(values, structural, strict=True)))
                    take(f"{name} and structural", judged, table.utility(both).argmax(axis=1))
        for name, one in chosen.items():
            picks.setdefault(name, []).append(one)
    rows = np.arange(len(table.cases))
    best_fixed = {
        kind: int(table.utility(outcomes).mean(axis=0).argmax())
        for kind, outcomes in (("recorded", table.recorded), ("expected", table.expected))
    }
    picks["today's rule"] = [np.full(len(rows), table.today)]
    picks["best fixed, in hindsight"] = [np.full(len(rows), best_fixed["expected"])]
    return {
        "table": table.name,
        "setting": setting,
        "cases": len(rows),
        "seeds": seeds,
        "policies": [figures(table, rows, name, one, best_fixed) for name, one in picks.items()],
        "likelihood": {name: [float(np.mean(v)), float(np.std(v))] for name, v in likelihoods.items()},
        "gates_open": opened,
        "cpu_seconds": seconds,
    }


def _trained(arch: str, directory: Path, seed: int, tuned: Path | None) -> tuple[LearnedPolicy, float]:
    """The run of a fold, and its log-likelihood per trial of validation."""
    run = directory / arch
    config = load_config(arch, tuned, ["model.action_head=trials", "n_similar=0", f"seed={seed}"])
    start_run(run, config, directory / "dataset", init_from=None, workers=1, resume=False)
    state = train(run)
    return LearnedPolicy(run), float(state.best_metric or 0.0)


def show(report: dict[str, Any]) -> None:
    """The figures over orders, as a table."""
    print(f"\n{report['table']}, {report['setting']}: {report['cases']} cases, {FOLDS} folds, {report['seeds']} seeds")
    print("| | pass | agent min | utility | gap over orders |\n| --- | --- | --- | --- | --- |")
    for row in sorted(report["policies"], key=lambda row: -row["expected"]["utility"]):
        f = row["expected"]
        gap, low, high = f["gap"]
        name, cells = row["policy"], (f["pass"], f["agent_minutes"], f["utility"])
        print(f"| {name} | {cells[0]:.3f} | {cells[1]:.1f} | {cells[2]:.4f} | {gap:+.2f} [{low:+.2f}, {high:+.2f}] |")
    for name, (mean, spread) in report["likelihood"].items():
        n = FOLDS * report["seeds"]
        print(
            f"{name}: log-likelihood per trial of validation {mean:.3f} (standard deviation over {n} networks "
            f"{spread:.3f}), gate open in {report['gates_open'][name]} of {n}, "
            f"{report['cpu_seconds'][name] / n:.0f} s of CPU each"
        )


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path)
    parser.add_argument("--setting", choices=("pair", "group"), action="append", help="may be repeated [default: pair]")
    parser.add_argument("--arch", choices=ARCHS, action="append", help="may be repeated [default: all]")
    parser.add_argument("--tuned", action="append", default=[], help="ARCH=FILE, a search's best.yaml; may be repeated")
    parser.add_argument("--trials", type=int, default=6, help="trials of a case that are used")
    parser.add_argument("--minute-seconds", type=float, default=60.0, help="how long a minute of budget lasts in them")
    parser.add_argument("--seeds", type=int, default=1, help="foldings whose figures are averaged")
    parser.add_argument("--json", type=Path, help="where all figures go")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recorded = read(options.tables, options.trials, options.minute_seconds)
    archs = {name: ARCHS[name] for name in options.arch or ARCHS}
    tuned = {name: Path(path) for name, _, path in (text.partition("=") for text in options.tuned)}
    reports = []
    for setting in options.setting or ("pair",):
        reports.append(measure(recorded, setting, archs, options.seeds, tuned))
        show(reports[-1])
    if options.json:
        options.json.write_bytes(orjson.dumps(reports, option=orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY))


if __name__ == "__main__":
    main()
