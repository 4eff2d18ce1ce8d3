"""``planner evaluate``, ``calibrate`` and ``compare``: what a policy is worth."""

from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from planner.checked import dataset_at, ledger_at, one_of, room_at, run_at
from planner.command_options import ADDRESS_HELP, TRACK_HELP
from planner.config import arch_names, load_config
from planner.files import check_writable
from planner.own_places import DATASET, DatasetPlace, Fresh, RunPlace, beside, latest_run, named
from planner.places import OR_URI, Place, fetched, mirrored, place_of, within, write_file
from planner.policy_names import BASELINES, ENTRY_POINTS, HEURISTIC, VALUE_ARCH, VALUE_READINGS
from planner.training.trackers import load_tracker

POLICIES = ", ".join(name.replace(" ", "_") for name in (HEURISTIC, *BASELINES, *VALUE_READINGS, *arch_names()))
Address = Annotated[str | None, typer.Option(help=ADDRESS_HELP)]
MaxRisk = Annotated[
    float, typer.Option(min=0.001, max=0.999, help="Promised mean loss of accepted decisions, at most.")
]
Confidence = Annotated[float, typer.Option(min=0.5, max=0.999, help="How sure the promise is.")]


def evaluate(
    run: Annotated[
        list[str] | None,
        typer.Argument(help="Trained run; several with --bench. [default: the latest]", metavar=f"RUN{OR_URI}"),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset to judge on. [default: the run's own]", metavar=f"DATASET{OR_URI}"),
    ] = None,
    abstain_below: Annotated[
        float | None,
        typer.Option(help="Joint confidence below which a decision is left to the default. [default: as calibrated]"),
    ] = None,
    bench: Annotated[
        Path | None, typer.Option(help="A bench's ledger: report regret against the best of K instead.")
    ] = None,
    holdout: Annotated[float, typer.Option(help="With --bench: share of cases to judge on.")] = 0.4,
    by: Annotated[
        Literal["time", "problem", "pair"],
        typer.Option(
            help="With --bench: the latest cases, all cases of the latest problems, or cases at random; as in relabel."
        ),
    ] = "time",
    max_minutes: Annotated[
        int | None,
        typer.Option(help="With --bench: cap on a plan's minutes online. [default: the universe's, if it is found]"),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            help="Where the numbers go as JSON. [default: evaluation.json in the run, with --bench regret.json]",
            metavar=f"PATH{OR_URI}",
        ),
    ] = None,
) -> None:
    """Judge a trained policy beside today's rule: on logged runs, or on a bench's held-out cases."""
    places: list[Place] = [run_at(place_of(one)) for one in run] if run else [latest_run()]
    if bench is not None:
        ledger_at(bench)
    if dataset is not None:
        dataset_at(place_of(dataset))
    import orjson

    from planner.display.console import give, note
    from planner.display.evaluation import print_evaluation
    from planner.display.regret import print_regret
    from planner.runs.learned import source_changes

    path = place_of(out) if out else within(places[0], "regret.json" if bench else "evaluation.json")
    if isinstance(path, Path):
        check_writable(path)
    runs = [fetched(place, "run.json") for place in places]
    numbers: dict[str, Any]
    if bench is not None:
        from bench.judging.judge_runs import score_runs

        regret = score_runs(bench, named(runs), holdout=holdout, by=by, max_run_minutes=max_minutes)
        numbers, show = regret.to_json(), partial(print_regret, regret)
    else:
        from planner.evaluation.evaluate import evaluate_run

        report = evaluate_run(runs[0], place_of(dataset) if dataset else None, abstain_below=abstain_below)
        numbers, show = report.to_json(), partial(print_evaluation, report)
    for change in source_changes(runs):
        note(f"note: {change}")
    write_file(path, orjson.dumps(numbers, option=orjson.OPT_INDENT_2))
    show()
    give("evaluate_bench" if bench is not None else "evaluate", numbers)
    note(f"numbers: {path}")


def compare(
    dataset: DatasetPlace = str(DATASET),
    policies: Annotated[
        str, typer.Option(help=f"Names with commas between them, or all: {POLICIES}.", metavar="NAMES")
    ] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="Training runs of each neural policy.")] = 3,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory of the result. [default: compare beside DATASET, of a URI in .cyntra/planner]"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A setting of every neural policy; the keys are below. May be repeated.", metavar="KEY=VALUE"
        ),
    ] = None,
    max_risk: MaxRisk = 0.1,
    confidence: Confidence = 0.95,
    track: Annotated[list[str] | None, typer.Option(help=TRACK_HELP, metavar="MODULE:CLASS")] = None,
    address: Address = None,
    fresh: Fresh = False,
) -> None:
    """Fit every policy on one dataset and set them side by side.

    Interrupted, it goes on where it stopped when the same command is given again.
    """
    source = dataset_at(place_of(dataset))
    out = out or beside(source) / "compare"
    room_at(out)
    chosen = None if policies == "all" else [name.strip() for name in policies.split(",")]
    if chosen is not None:
        one_of("--policies", [name.replace(" ", "_") for name in chosen], _comparable_names())
    for arch in sorted(set(arch_names()).intersection(chosen or arch_names())) or [VALUE_ARCH]:
        load_config(arch, None, set_ or [])
    for path in track or []:
        load_tracker(path)
    from cluster.connect import connect
    from planner.display.comparison import print_comparison
    from planner.display.console import give, note
    from planner.display.progress import StageBars
    from planner.evaluation.compare import compare as compare_policies
    from planner.evaluation.comparison_rows import RiskTarget

    with StageBars() as bars, connect(address):
        report = compare_policies(
            source,
            out,
            policies=chosen,
            seeds=seeds,
            overrides=set_ or [],
            promise=RiskTarget(max_risk, confidence),
            fresh=fresh,
            progress=bars.update,
            track=track or [],
        )
    print_comparison(report)
    give("compare", report.to_json())
    note(f"numbers: {out / 'comparison.json'}, table: {out / 'comparison.md'}")


def calibrate(
    run: RunPlace = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset whose validation split is used. [default: own]", metavar=f"DATASET{OR_URI}"),
    ] = None,
    max_risk: MaxRisk = 0.1,
    confidence: Confidence = 0.95,
) -> None:
    """Fit temperatures and choose the threshold under which a policy abstains."""
    place, on = run_at(place_of(run)) if run else latest_run(), dataset_at(place_of(dataset)) if dataset else None
    from planner.display.console import give
    from planner.display.evaluation import print_calibration
    from planner.evaluation.calibrate import calibrate_run

    with mirrored(place, "run.json", existing=True) as mirror:
        calibration = calibrate_run(mirror.path, on, max_risk=max_risk, confidence=confidence)
    print_calibration(calibration, place)
    give("calibrate", {"run": str(place), "calibration": calibration.model_dump(mode="json")})


def _comparable_names() -> list[str]:
    """What --policies may name, with underscores; those of other packages too, which have to be loaded for that."""
    names = [HEURISTIC, *BASELINES, *VALUE_READINGS, *arch_names()]
    if entry_points(group=ENTRY_POINTS):
        from planner.policies.registry import baselines

        names += [name for name in baselines("compare") if name not in names]
    return [name.replace(" ", "_") for name in names]
