"""``planner tune``, a search for training settings, and ``planner ablate``, one setting varied at a time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.checked import dataset_at, one_of, room_at
from planner.command_options import TRACK_HELP
from planner.config import load_config
from planner.options import Options, OptionsModel, option, with_options
from planner.own_places import DATASET, DatasetPlace, Fresh, Resume, beside
from planner.places import place_of
from planner.training.trackers import load_tracker
from tune.space import AXIS_NAMES, base_config

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
    arch: str = option(DEFAULT_ARCH, "Architecture: mlp_planner, transformer_planner, urm_planner, or a YAML file.")
    epochs: int | None = option(None, "Epochs per trial, at most. [default: the architecture's]", ge=1)
    seed: int = option(0, "Seeds the choice of settings and every trial's training.")
    workers: int | None = option(None, "Trials at the same time. [default: as many as Ray has CPUs]", ge=1)
    track: list[str] = option([], TRACK_HELP, metavar="MODULE:CLASS")
    address: str | None = option(None, "Address of a running Ray. [default: RAY_ADDRESS, else Ray inside this command]")


@with_options("tune", lambda: [TuneOptions])
def tune(
    dataset: DatasetPlace = str(DATASET),
    fresh: Fresh = False,
    resume: Resume = False,
    *,
    options: Options,
) -> None:
    """Search for better training settings with Ray Tune and Optuna.

    Trials that fall behind are stopped early. The best settings on validation go to best.yaml, for `planner train`.
    Interrupted, it goes on where it stopped when the same command is given again; with more --trials it goes further.
    """
    chosen, source = options.of(TuneOptions), dataset_at(place_of(dataset))
    out = chosen.out or beside(source) / "tune"
    room_at(out)
    base_config(chosen.arch, chosen.epochs, chosen.seed)
    for path in chosen.track:
        load_tracker(path)
    from cluster.connect import connect
    from planner.display.console import give, note
    from planner.display.progress import StageBars
    from tune.search import run_search

    def show(progress: "SearchProgress") -> None:
        best = "" if progress.best is None else f", best validation log-likelihood {progress.best:.3f}"
        bars.update("trials", progress.ended, progress.total, f"trials{best}")

    with StageBars() as bars, connect(chosen.address, chosen.workers):
        result = run_search(
            source,
            out,
            arch=chosen.arch,
            trials=chosen.trials,
            epochs=chosen.epochs,
            seed=chosen.seed,
            fresh=fresh,
            max_concurrent=chosen.workers,
            progress=show,
            track=chosen.track,
        )
    _print_result(result)
    give("tune", result.to_json())
    arch_option = "" if chosen.arch == DEFAULT_ARCH else f" --arch {chosen.arch}"
    note(f"next: planner train {dataset}{arch_option} --config {result.best_config}")


def ablate(
    dataset: DatasetPlace = str(DATASET),
    axes: Annotated[
        str,
        typer.Option(help="What to vary, with commas: n_similar, tokens_per_run, loops, mlp, action_head, decoding."),
    ] = "all",
    arch: Annotated[
        str, typer.Option(help="Architecture: mlp_planner, transformer_planner, urm_planner, or a YAML file.")
    ] = "urm_planner",
    seeds: Annotated[int, typer.Option(min=1, help="Training runs of each variant.")] = 3,
    out: Annotated[Path | None, typer.Option(help="Directory of the result. [default: ablate beside DATASET]")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="A setting that all variants start from; the keys are below. May be repeated.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    track: Annotated[list[str] | None, typer.Option(help=TRACK_HELP, metavar="MODULE:CLASS")] = None,
    address: Annotated[
        str | None, typer.Option(help="Address of a running Ray. [default: RAY_ADDRESS, else Ray inside this command]")
    ] = None,
    fresh: Fresh = False,
) -> None:
    """Vary one setting at a time, each variant trained with several seeds.

    Interrupted, it goes on where it stopped when the same command is given again.
    """
    source = dataset_at(place_of(dataset))
    out = out or beside(source) / "ablate"
    room_at(out)
    chosen = None if axes == "all" else [name.strip() for name in axes.split(",")]
    one_of("--axes", chosen or [], AXIS_NAMES)
    load_config(arch, None, set_ or [])
    for path in track or []:
        load_tracker(path)
    from cluster.connect import connect
    from planner.display.comparison import print_ablation
    from planner.display.console import give, note
    from planner.display.progress import StageBars
    from tune.ablate import ablate as run_ablation

    with StageBars() as bars, connect(address):
        report = run_ablation(
            source,
            out,
            arch=arch,
            axes=chosen,
            seeds=seeds,
            overrides=set_ or [],
            fresh=fresh,
            progress=bars.update,
            track=track or [],
        )
    print_ablation(report)
    give("ablate", report.to_json())
    note(f"tables: {out / 'ablation.md'}, {out / 'ablation.csv'}; numbers: {out / 'ablation.json'}")


def _print_result(result: "SearchResult") -> None:
    from planner.display.console import say
    from planner.display.table import print_table

    rows = []
    for record in result.trials:
        value = "-" if record.val_log_likelihood is None else f"{record.val_log_likelihood:.4f}"
        best_epoch = "-" if record.best_epoch is None else str(record.best_epoch + 1)
        settings = " ".join(f"{name.rpartition('.')[2]}={_short(v)}" for name, v in record.settings.items())
        state = record.state if record.reason is None else f"{record.state}: {record.reason}"
        rows.append([f"{record.number:03d}", value, f"{record.epochs} ({best_epoch})", state, settings])
    titles = ("trial", "val log-lik.", "epochs (best)", "state", "settings")
    print_table(titles, rows, first=("val log-lik.", "state", "settings"))
    states = [record.state for record in result.trials]
    say(
        f"{len(states)} trials: {states.count('complete')} complete, {states.count('stopped')} stopped early, "
        f"{states.count('failed')} failed; {result.resumed} from an earlier session",
    )
    say(f"study: {result.study}")
    say(f"best settings: {result.best_config}")


def _short(value: object) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)
