"""``planner dataset build`` and ``dataset check``."""

from pathlib import Path
from typing import Annotated

import typer

from planner.checked import dataset_at, repo_at, room_at, run_at
from planner.command_app import CommandApp
from planner.command_options import BuildOptions
from planner.options import Options, with_options
from planner.own_places import DATASET, DatasetPlace, named
from planner.places import OR_URI, build_cache, place_of, written

dataset_app = CommandApp(help="Datasets from a Cyntra repo's artifacts.")


@dataset_app.command("build")
@with_options("build", lambda: [BuildOptions])
def dataset_build(
    repo: Annotated[str, typer.Argument(help="Root of a repo in which Cyntra has run.", metavar=f"REPO{OR_URI}")] = ".",
    *,
    options: Options,
) -> None:
    """Read a repo's artifacts into a time-split dataset."""
    chosen = options.of(BuildOptions)
    source = place_of(repo)
    if isinstance(source, Path):
        repo_at(source, chosen.kernel_dir)
    out = room_at(place_of(chosen.out) if chosen.out else (source / DATASET if isinstance(source, Path) else DATASET))
    from cluster.connect import connect_where_it_pays
    from planner.artifacts.repo import fetched_repo
    from planner.dataset.build import build_dataset, is_worth_ray
    from planner.display.console import give
    from planner.display.progress import StageBars
    from planner.display.training import print_dataset

    root = fetched_repo(source)
    pays = is_worth_ray(root, chosen.kernel_dir)
    with written(out, "dataset.json") as local, StageBars() as bars, connect_where_it_pays(pays, chosen.address):
        info = build_dataset(
            root,
            local,
            kernel_dir=chosen.kernel_dir,
            profile=chosen.profile,
            cache=build_cache(source, str(chosen.kernel_dir), chosen.profile),
            progress=bars.update,
        )
    print_dataset(info, out)
    give("dataset_build", {"path": str(out), "dataset": info.model_dump(mode="json")})


@dataset_app.command("check")
def dataset_check(
    dataset: DatasetPlace = str(DATASET),
    run: Annotated[
        list[Path] | None, typer.Option(help="Trained run whose validation loss is set beside; may be repeated.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the numbers go as JSON. [default: DATASET-check.json beside DATASET]")
    ] = None,
) -> None:
    """Say whether there is enough in a dataset to learn from it, and how far any imitation could get."""
    source = dataset_at(place_of(dataset))
    for one in run or []:
        run_at(one)
    import orjson

    from planner.dataset.storage import load_dataset
    from planner.display.console import give, note
    from planner.display.evaluation import print_check
    from planner.evaluation.dataset_check import check_dataset, default_report_path, policies_trained_on

    opened = load_dataset(source)
    report = check_dataset(opened, policies_trained_on(opened, named(run)) if run else None)
    path = out or default_report_path(source if isinstance(source, Path) else DATASET)
    path.write_bytes(orjson.dumps(report.to_json(), option=orjson.OPT_INDENT_2))
    print_check(report)
    give("dataset_check", report.to_json())
    note(f"numbers: {path}")
