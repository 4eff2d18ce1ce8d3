"""The `planner` command. Thin: each command imports what it needs when it runs, so that --help stays quick."""

import re
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bench.cli import add_commands as add_bench
from cluster.cli import add_commands as add_cluster
from planner.command_options import BuildOptions
from planner.contracts.dataset import TokenProfile
from planner.errors import PlannerError, UsageError
from planner.files import check_writable
from planner.options import COMMANDS, Options, resolve, with_options
from planner.own_places import BUNDLE, DATASET, BundlePlace, DatasetPlace, RunPlace, beside, latest_run, named
from planner.places import NO_URI, OR_URI, Place, fetched, mirrored, place_of, within, write_file, written
from planner.standard_output import survive_closed_stdout
from planner.train_command import train
from tune.cli import add_commands as add_tune

INSTALL = "in a checkout of the planner: pip install -c constraints.txt torch==2.13.0 '.[{extra}]'"
"""What the README installs; the package is on no index."""
_PLACE = re.compile(r"(?:^|=)[a-z][a-z0-9+.-]*://", re.IGNORECASE)
EXTRAS = {"ray": "train", "torch": "train", "pyarrow": "train", "optuna": "train", "safetensors": "train"}
EXTRAS |= {"matplotlib": "bench", "jinja2": "bench"}

app = typer.Typer(
    name="planner",
    help="Learn which topology and budgets a Cyntra kernel should give to each software issue.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain help: rich would swallow every "[default: ...]" as markup, and takes longer to start.
    rich_markup_mode=None,
)
dataset_app = typer.Typer(help="Datasets from a Cyntra repo's artifacts.", no_args_is_help=True)
add_bench(app)
app.add_typer(dataset_app, name="dataset")

Address = Annotated[
    str | None, typer.Option(help="Address of a running Ray. [default: RAY_ADDRESS, else Ray inside this command]")
]

MaxRisk = Annotated[
    float, typer.Option(min=0.001, max=0.999, help="Promised mean loss of accepted decisions, at most.")
]
Confidence = Annotated[float, typer.Option(min=0.5, max=0.999, help="How sure the promise is.")]


@dataset_app.command("build")
@with_options("build", lambda: [BuildOptions])
def dataset_build(
    repo: Annotated[str, typer.Argument(help="Root of a repo in which Cyntra has run.", metavar=f"REPO{OR_URI}")] = ".",
    *,
    options: Options,
) -> None:
    """Read a repo's artifacts into a time-split dataset."""
    from cluster.connect import connect_where_it_pays
    from planner.artifacts.repo import fetched_repo
    from planner.dataset.build import build_dataset, is_worth_ray
    from planner.display.console import StageBars
    from planner.display.training import print_dataset

    chosen = options.of(BuildOptions)
    source = place_of(repo)
    out = place_of(chosen.out) if chosen.out else (source / DATASET if isinstance(source, Path) else DATASET)
    root = fetched_repo(source)
    pays = is_worth_ray(root, chosen.kernel_dir)
    with written(out, "dataset.json") as local, StageBars() as bars, connect_where_it_pays(pays, chosen.address):
        info = build_dataset(root, local, kernel_dir=chosen.kernel_dir, profile=chosen.profile, progress=bars.update)
    print_dataset(info, out)


@dataset_app.command("check")
def dataset_check(
    dataset: DatasetPlace = str(DATASET),
    run: Annotated[
        list[Path] | None, typer.Option(help="Trained run whose validation loss is set beside; may be repeated.")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Where the numbers go as JSON. [default: DATASET-check.json beside DATASET]")
    ] = None,
) -> None:
    """Say whether there is enough in a dataset to learn from it, and how far any imitation could get."""
    import orjson

    from planner.dataset.storage import load_dataset
    from planner.display.evaluation import print_check
    from planner.evaluation.dataset_check import check_dataset, default_report_path, policies_trained_on

    source = place_of(dataset)
    opened = load_dataset(source)
    report = check_dataset(opened, policies_trained_on(opened, named(run)) if run else None)
    path = json or default_report_path(source if isinstance(source, Path) else DATASET)
    path.write_bytes(orjson.dumps(report.to_json(), option=orjson.OPT_INDENT_2))
    print_check(report)
    typer.echo(f"numbers: {path}")


app.command()(train)


@app.command()
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
    json: Annotated[
        str | None,
        typer.Option(
            help="Where the numbers go as JSON. [default: evaluation.json in the run, with --bench regret.json]",
            metavar=f"PATH{OR_URI}",
        ),
    ] = None,
) -> None:
    """Judge a trained policy beside today's rule: on logged runs, or on a bench's held-out cases."""
    import orjson

    from planner.display.evaluation import print_evaluation
    from planner.display.regret import print_regret
    from planner.runs.learned import source_changes

    places: list[Place] = [place_of(one) for one in run] if run else [latest_run()]
    path = place_of(json) if json else within(places[0], "regret.json" if bench else "evaluation.json")
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
        typer.echo(f"note: {change}", err=True)
    write_file(path, orjson.dumps(numbers, option=orjson.OPT_INDENT_2))
    show()
    typer.echo(f"numbers: {path}")


@app.command()
def advise(
    repo: Annotated[Path, typer.Argument(help="Root of a repo in which Cyntra has run.")] = Path(),
    dataset: Annotated[
        Path | None, typer.Option(help="Its dataset. [default: that in REPO; built when there is none]")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="Where the numbers go as JSON. [default: DATASET-advice.json beside DATASET]")
    ] = None,
    address: Address = None,
) -> None:
    """Say in one screen what a repo's own logs advise, how sure that is, and what to measure next."""
    import orjson

    from planner.dataset.storage import load_dataset
    from planner.display.advice import print_advice
    from planner.evaluation.advise import advise as advise_on

    path = dataset or repo / DATASET
    if dataset is None and not path.exists():
        from cluster.connect import connect_where_it_pays
        from planner.dataset.build import build_dataset, is_worth_ray

        with connect_where_it_pays(is_worth_ray(repo), address):
            build_dataset(repo, path)
        typer.echo(f"built {path}")
    advice = advise_on(load_dataset(path))
    print_advice(advice, repo)
    out = json or path.with_name(f"{path.name}-advice.json")
    out.write_bytes(orjson.dumps(advice.to_json(), option=orjson.OPT_INDENT_2))
    typer.echo(f"numbers: {out}")


@app.command()
def compare(
    dataset: DatasetPlace = str(DATASET),
    policies: Annotated[str, typer.Option(help="Names with commas between them, or all.")] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="Training runs of each neural policy.")] = 3,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory of the result. [default: compare beside DATASET, of a URI in .cyntra/planner]"),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting of every neural policy.")] = None,
    max_risk: MaxRisk = 0.1,
    confidence: Confidence = 0.95,
    address: Address = None,
) -> None:
    """Fit every policy on one dataset and set them side by side; interrupted, it goes on where it stopped."""
    from cluster.connect import connect
    from planner.display.comparison import print_comparison
    from planner.display.console import StageBars
    from planner.evaluation.compare import compare as compare_policies
    from planner.evaluation.comparison_rows import RiskTarget

    source = place_of(dataset)
    out = out or beside(source) / "compare"
    check_writable(out)
    with StageBars() as bars, connect(address):
        report = compare_policies(
            source,
            out,
            policies=None if policies == "all" else [name.strip() for name in policies.split(",")],
            seeds=seeds,
            overrides=set_ or [],
            promise=RiskTarget(max_risk, confidence),
            progress=bars.update,
        )
    print_comparison(report)
    typer.echo(f"numbers: {out / 'comparison.json'}, table: {out / 'comparison.md'}")


@app.command()
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
    from planner.display.evaluation import print_calibration
    from planner.evaluation.calibrate import calibrate_run

    place, on = place_of(run) if run else latest_run(), place_of(dataset) if dataset else None
    with mirrored(place, "run.json", existing=True) as mirror:
        calibration = calibrate_run(mirror.path, on, max_risk=max_risk, confidence=confidence)
    print_calibration(calibration, place)


@app.command()
def export(
    run: RunPlace = None,
    out: Annotated[str, typer.Option(help="Directory of the bundle.", metavar=f"PATH{OR_URI}")] = str(BUNDLE),
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset to check the bundle on. [default: the run's]", metavar=f"DATASET{OR_URI}"),
    ] = None,
    profile: Annotated[
        TokenProfile | None,
        typer.Option(help="kernel: a bundle that Cyntra's kernel loads; its run must be trained on such a dataset."),
    ] = None,
) -> None:
    """Export a trained policy as a bundle that decides without torch."""
    from planner.export.bundle import export_bundle

    trained = fetched(place_of(run), "run.json") if run else latest_run()
    on = place_of(dataset) if dataset else None
    with written(place_of(out), "metadata.json") as local:
        check = export_bundle(trained, local, dataset_path=on, profile=profile)["check"]
    typer.echo(
        f"bundle: {out}; on {check['contexts']} contexts its logits differ from the policy's by at most "
        f"{check['max_difference']:.1e}, its decisions in {check['disagreements']}"
    )


@app.command()
def decide(
    bundle: BundlePlace,
    mode: Annotated[str, typer.Option(help="off, log (predict, run the default) or enforce.")] = "enforce",
    max_candidates: Annotated[int | None, typer.Option(min=1, help="Hard cap on candidates.")] = None,
    max_minutes: Annotated[int | None, typer.Option(min=1, help="Hard cap on minutes.")] = None,
    max_iterations: Annotated[int | None, typer.Option(min=1, help="Hard cap on iterations.")] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Stay up: one planner_input a line on stdin, one decision a line on stdout.")
    ] = False,
    repo: Annotated[
        Path | None, typer.Option(help="With --issue: the repo of that issue; its context is built, not read.")
    ] = None,
    issue: Annotated[str | None, typer.Option(help="Decide for this issue of --repo.")] = None,
    universe: Annotated[str | None, typer.Option(help="With --repo: universe id. [default: the only one]")] = None,
) -> None:
    """Decide for an issue of a repo, or for a planner_input.v1 on stdin; prints {planner_action, executed_plan}."""
    from planner.serve import decide_issue, decide_stream

    if mode not in ("off", "log", "enforce"):
        raise typer.BadParameter(f"{mode!r}: choose off, log or enforce", param_hint="--mode")
    caps = max_candidates, max_minutes, max_iterations
    if repo is not None and issue is not None:
        from planner.artifacts.repo import Repo

        decide_issue(place_of(bundle), Repo(repo, universe_id=universe), issue, sys.stdout.buffer, mode, caps)
    elif repo is not None or issue is not None:
        raise typer.BadParameter("--repo and --issue go together", param_hint="--issue")
    else:
        decide_stream(place_of(bundle), sys.stdin.buffer, sys.stdout.buffer, mode, caps, serve)


bundle_app = typer.Typer(help="Bundles, where they are to be loaded.", no_args_is_help=True)
app.add_typer(bundle_app, name="bundle")


@bundle_app.command("check")
def bundle_check(
    bundle: BundlePlace,
    python: Annotated[
        Path | None,
        typer.Option(help="Python, or virtual environment, that will load it. [default: that of `cyntra` on PATH]"),
    ] = None,
) -> None:
    """Load a bundle in the environment that will use it: Cyntra says nothing of one that it cannot load."""
    from planner.bundle_check import check_bundle

    checks = check_bundle(fetched(place_of(bundle), "metadata.json"), python)
    for check in checks:
        typer.echo(f"{'ok  ' if check.ok else 'FAIL' if check.ok is False else 'note'}  {check.text}")
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


add_tune(app)
add_cluster(app)
config_app = typer.Typer(help="The options that commands take here.", no_args_is_help=True)
app.add_typer(config_app, name="config")


@config_app.command("show")
def config_show(
    repo: Annotated[Path, typer.Argument(help="Root of a repo, or a directory in it.")] = Path(),
) -> None:
    """Print every option that a project file can set, its value here, and where that comes from."""
    for command in COMMANDS:
        for key, setting in resolve(command, {}, repo).settings.items():
            typer.echo(f"{command}.{key} = {setting.value} ({setting.origin})")


def main() -> None:
    """Run the command line; errors that the user can mend are printed without a traceback."""
    survive_closed_stdout()
    try:
        _refuse_addresses(sys.argv[1:])
        app()
    except PlannerError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        typer.echo(f"error: this needs {error.name}: {INSTALL.format(extra=extra)}", err=True)
        sys.exit(1)
    except OSError as error:
        # A disk that is full, a path that cannot be used: what, where, and no traceback.
        typer.echo(f"error: {error.filename or 'a file or stdout'}: {error.strerror or error}", err=True)
        sys.exit(1)


def _refuse_addresses(words: list[str]) -> None:
    """UsageError for a place such as s3://bucket/data: it would become a directory called ``s3:`` here."""
    for before, word in zip(["", *words], words, strict=False):
        if before == "--":
            return
        is_address = before == "--address" or word.startswith("--address=")
        if _PLACE.search(word) and not is_address and not _takes_uri(words, before, word):
            raise UsageError(f"{word}: {NO_URI}")


def _takes_uri(words: list[str], before: str, word: str) -> bool:
    """Whether the word stands where its command takes a URI."""
    command: Any = typer.main.get_command(app)
    for name in words:
        if not hasattr(command, "commands") or name not in command.commands:
            break
        command = command.commands[name]
    options = {flag: param for param in getattr(command, "params", ()) for flag in param.opts}
    flag, _, _ = word.partition("=")
    named = options.get(flag) if word.startswith("-") else options.get(before) if before.startswith("-") else None
    if named is None or getattr(named, "is_flag", False):
        named = next((param for param in options.values() if param.param_type_name == "argument"), None)
    return OR_URI in str(getattr(named, "metavar", None))
