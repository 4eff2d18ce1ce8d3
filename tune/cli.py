"""``planner tune``: a search with a progress display, a table of its trials, and the command that comes next;
``planner ablate``: one setting varied at a time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.command_options import TRACK_HELP
from planner.errors import INTERRUPTED_EXIT_CODE
from planner.options import Options, OptionsModel, option, with_options
from planner.own_places import DATASET, DatasetPlace, beside
from planner.places import place_of

if TYPE_CHECKING:
    from tune.search import SearchResult
    from tune.study import SearchProgress

DEFAULT_ARCH = "mlp_planner"


def add_commands(app: typer.Typer) -> None:
    """Mount ``planner tune`` and ``planner ablate``."""
    app.command("tune")(tune)
    app.command("ablate")(ablate)


class TuneOptions(OptionsModel):
    """What is searched, and where."""

    trials: int = option(8, "Trials in all, resumed ones included.", ge=1)
    out: Path | None = option(None, "Directory of the search. [default: tune beside DATASET]")
    arch: str = option(DEFAULT_ARCH, "Architecture: its name, or a YAML file.")
    epochs: int | None = option(None, "Epochs per trial, at most. [default: the architecture's]", ge=1)
    seed: int = option(0, "Seeds the choice of settings and every trial's training.")
    workers: int | None = option(None, "Trials at the same time. [default: as many as Ray has CPUs]", ge=1)
    track: list[str] = option([], TRACK_HELP, metavar="MODULE:CLASS")
    address: str | None = option(None, "Address of a running Ray. [default: RAY_ADDRESS, else Ray inside this command]")


@with_options("tune", lambda: [TuneOptions])
def tune(
    dataset: DatasetPlace = str(DATASET),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search in --out.")] = False,
    *,
    options: Options,
) -> None:
    """Search for better training settings with Ray Tune and Optuna.

    Trials that fall behind are stopped early. The best settings on validation go to best.yaml, for `planner train`.
    """
    from rich.console import Console

    from cluster.connect import connect
    from tune.search import run_search

    console, chosen = Console(), options.of(TuneOptions)
    source = place_of(dataset)
    out = chosen.out or beside(source) / "tune"
    try:
        with _Display(console, chosen.trials) as display, connect(chosen.address, chosen.workers):
            result = run_search(
                source,
                out,
                arch=chosen.arch,
                trials=chosen.trials,
                epochs=chosen.epochs,
                seed=chosen.seed,
                resume=resume,
                max_concurrent=chosen.workers,
                progress=display.show,
                track=chosen.track,
            )
    except KeyboardInterrupt:
        _print_line(console, f"Stopped. The same command with --resume goes on from here; trials so far are in {out}.")
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
    _print_result(console, result)
    arch_option = "" if chosen.arch == DEFAULT_ARCH else f" --arch {chosen.arch}"
    _print_line(console, f"next: planner train {dataset}{arch_option} --config {result.best_config}")


def ablate(
    dataset: DatasetPlace = str(DATASET),
    axes: Annotated[
        str,
        typer.Option(help="What to vary, with commas: n_similar, tokens_per_run, loops, mlp, action_head, decoding."),
    ] = "all",
    arch: Annotated[str, typer.Option(help="Architecture: its name, or a YAML file.")] = "urm_planner",
    seeds: Annotated[int, typer.Option(min=1, help="Training runs of each variant.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Directory of the result. [default: ablate beside DATASET]")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A setting that all variants start from, as key=value.")
    ] = None,
    track: Annotated[list[str] | None, typer.Option(help=TRACK_HELP, metavar="MODULE:CLASS")] = None,
    address: Annotated[
        str | None, typer.Option(help="Address of a running Ray. [default: RAY_ADDRESS, else Ray inside this command]")
    ] = None,
) -> None:
    """Vary one setting at a time, each variant trained with several seeds; interrupted, it goes on where it stopped."""
    from cluster.connect import connect
    from planner.display.comparison import print_ablation
    from planner.display.console import StageBars
    from tune.ablate import ablate as run_ablation

    source = place_of(dataset)
    out = out or beside(source) / "ablate"
    chosen = None if axes == "all" else [name.strip() for name in axes.split(",")]
    with StageBars() as bars, connect(address):
        report = run_ablation(
            source,
            out,
            arch=arch,
            axes=chosen,
            seeds=seeds,
            overrides=set_ or [],
            progress=bars.update,
            track=track or [],
        )
    print_ablation(report)
    typer.echo(f"tables: {out / 'ablation.md'}, {out / 'ablation.csv'}; numbers: {out / 'ablation.json'}")


class _Display:
    """A progress bar over trials that shows the best value so far."""

    def __init__(self, console, trials: int) -> None:  # type: ignore[no-untyped-def]
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console)
        self._task = self._bar.add_task("trials (starting)", total=trials)

    def __enter__(self) -> "_Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, progress: "SearchProgress") -> None:
        """Draw the state of the search."""
        best = "" if progress.best is None else f", best validation log-likelihood {progress.best:.3f}"
        self._bar.update(self._task, description=f"trials{best}", completed=progress.ended, total=progress.total)


def _print_result(console, result: "SearchResult") -> None:  # type: ignore[no-untyped-def]
    from rich.table import Table

    table = Table("trial", "val log-likelihood", "epochs (best)", "state", "settings")
    for record in result.trials:
        value = "-" if record.val_log_likelihood is None else f"{record.val_log_likelihood:.4f}"
        best_epoch = "-" if record.best_epoch is None else str(record.best_epoch + 1)
        settings = " ".join(f"{name.rpartition('.')[2]}={_short(v)}" for name, v in record.settings.items())
        state = record.state if record.reason is None else f"{record.state}: {record.reason}"
        table.add_row(f"{record.number:03d}", value, f"{record.epochs} ({best_epoch})", state, settings)
    console.print(table)
    states = [record.state for record in result.trials]
    _print_line(
        console,
        f"{len(states)} trials: {states.count('complete')} complete, {states.count('stopped')} stopped early, "
        f"{states.count('failed')} failed; {result.resumed} from an earlier session",
    )
    _print_line(console, f"study: {result.study}")
    _print_line(console, f"best settings: {result.best_config}")


def _print_line(console, text: str) -> None:  # type: ignore[no-untyped-def]
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _short(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
