"""``planner show``: one context, case, execution or run, by its id."""

from pathlib import Path
from typing import Annotated

import typer


def show(
    what: Annotated[
        str,
        typer.Argument(
            help="Id of a case, execution, issue, example or run of Cyntra; name or directory of a trained run.",
            metavar="CONTEXT|CASE|EXECUTION|RUN",
        ),
    ],
    repo: Annotated[Path, typer.Option(help="Root of the Cyntra repo.")] = Path(),
    ledger: Annotated[
        Path | None, typer.Option(help="Ledger to look in. [default: REPO/.cyntra/planner/bench/ledger.sqlite]")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Dataset to look in. [default: REPO/.cyntra/planner/dataset]")
    ] = None,
    context: Annotated[
        bool,
        typer.Option("--input", help="Print its planner_input alone, which `planner decide` takes."),
    ] = False,
) -> None:
    """Show one thing by its id: what was known, what was chosen, what came of it.

    It is looked for among trained runs, in the ledger, in the dataset, among the runs of Cyntra, and among the open
    issues, whose context is that of now.
    """
    import orjson

    from planner.commands.find_record import find_record
    from planner.display.console import give, say
    from planner.errors import UsageError

    found = find_record(what, repo, ledger, dataset)
    if context:
        if found.planner_input is None:
            raise UsageError(f"{what}: {found.kind}: has no planner_input of its own: name a case, an issue or a run")
        typer.echo(orjson.dumps(found.planner_input).decode())
        return
    for line in found.lines:
        say(line)
    give("show", found.to_json())
