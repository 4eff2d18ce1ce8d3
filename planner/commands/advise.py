"""``planner advise``: what a repo's own logs advise."""

from pathlib import Path
from typing import Annotated

import typer

from planner.checked import dataset_at, repo_at
from planner.command_options import ADDRESS_HELP
from planner.own_places import DATASET

Address = Annotated[str | None, typer.Option(help=ADDRESS_HELP)]


def advise(
    repo: Annotated[Path, typer.Argument(help="Root of a repo in which Cyntra has run.")] = Path(),
    dataset: Annotated[
        Path | None, typer.Option(help="Its dataset. [default: that in REPO; built when there is none]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the numbers go as JSON. [default: DATASET-advice.json beside DATASET]")
    ] = None,
    address: Address = None,
) -> None:
    """Say in one screen what a repo's own logs advise, how sure that is, and what to measure next."""
    path = dataset or repo / DATASET
    if dataset is not None:
        dataset_at(dataset)
    elif not path.exists():
        repo_at(repo)
    import orjson

    from planner.dataset.storage import load_dataset
    from planner.display.advice import print_advice
    from planner.display.console import give, note
    from planner.evaluation.advise import advise as advise_on

    if dataset is None and not path.exists():
        from cluster.connect import connect_where_it_pays
        from planner.dataset.build import build_dataset, is_worth_ray

        with connect_where_it_pays(is_worth_ray(repo), address):
            build_dataset(repo, path)
        note(f"built {path}")
    advice = advise_on(load_dataset(path))
    print_advice(advice, repo)
    out = out or path.with_name(f"{path.name}-advice.json")
    out.write_bytes(orjson.dumps(advice.to_json(), option=orjson.OPT_INDENT_2))
    give("advise", advice.to_json())
    note(f"numbers: {out}")
