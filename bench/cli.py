"""Commands around the bench: ``planner bench`` and ``relabel``, and the whole loop at once."""

import os
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bench.testbeds.cli import add_commands as add_repo_commands
from planner.help_sections import SectionedCommand

if TYPE_CHECKING:
    from rich.console import Console

    from bench.engine.budget import Budget

DATASET = Path(".cyntra/planner/dataset")
LEDGER = Path(".cyntra/planner/bench/ledger.sqlite")
INTERRUPTED_EXIT_CODE = 130

_TRIED, _RUN, _COST = "What is tried", "How and where it runs", "What it may take"
_INSTEAD, _TROUBLE, _REPLAY = "Instead of running", "After trouble", "Of replays alone"
"""The sections of ``planner bench --help``."""


def add_commands(app: typer.Typer) -> None:
    """Mount ``planner quickstart``, ``bench`` and ``relabel``, and the commands that make repos to try them on."""
    app.command()(quickstart)
    app.command(cls=SectionedCommand)(bench)
    app.command()(relabel)
    add_repo_commands(app)


def quickstart(
    directory: Annotated[Path, typer.Argument(help="Where everything goes.")] = Path("planner-quickstart"),
    issues: Annotated[int, typer.Option(min=10, help="Issues in the sandbox repo.")] = 48,
    k: Annotated[int, typer.Option("--k", min=2, help="Different actions tried per issue.")] = 4,
    seed: Annotated[int, typer.Option(help="Seeds the sandbox, the history and the bench.")] = 0,
    address: Annotated[
        str | None, typer.Option(help="Address of a running Ray. [default: RAY_ADDRESS, else Ray inside this command]")
    ] = None,
) -> None:
    """Run the whole loop on a sandbox repo: history, dataset, train, bench, relabel, retrain, evaluate.

    Run again after an interruption it goes on where it stopped.
    """
    from bench.quickstart import run_quickstart

    run_quickstart(directory, issues=issues, n_actions=k, seed=seed, address=address)


def bench(
    repo: Annotated[
        Path, typer.Argument(help="Root of a Cyntra repo under git; with --executor replay a folder of tables.")
    ] = Path(),
    k: Annotated[
        int, typer.Option("--k", min=1, help="Different actions tried per issue.", rich_help_panel=_TRIED)
    ] = 4,
    repeats: Annotated[
        int,
        typer.Option(min=1, help="Executions per action; more than one averages noise out.", rich_help_panel=_TRIED),
    ] = 1,
    executor: Annotated[
        str,
        typer.Option(
            help="cyntra (the kernel runs), simulate (in a repo from `planner simulate`), or replay (recorded trials).",
            rich_help_panel=_RUN,
        ),
    ] = "cyntra",
    cyntra: Annotated[
        str | None,
        typer.Option(
            help="Kernel command, may be several words; `cyntra-sandbox` in a sandbox. [default: cyntra]",
            rich_help_panel=_RUN,
        ),
    ] = None,
    select: Annotated[
        str,
        typer.Option(
            help="How actions are chosen: coverage (spread evenly), policy (see --policy), or all.",
            rich_help_panel=_TRIED,
        ),
    ] = "coverage",
    policy: Annotated[
        list[Path] | None,
        typer.Option(
            help="Trained run whose favourite and most uncertain actions are tried; may be repeated.",
            rich_help_panel=_TRIED,
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Run every execution to its end, also one that cannot win any more.", rich_help_panel=_COST
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Run nothing: tell executions, worst-case hours and dollars.", rich_help_panel=_INSTEAD
        ),
    ] = False,
    doctor: Annotated[
        bool,
        typer.Option(
            "--doctor", help="Run nothing: tell what this machine can and cannot enforce.", rich_help_panel=_INSTEAD
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Executions at the same time. [default: the cluster's CPUs]", rich_help_panel=_RUN),
    ] = None,
    max_case_minutes: Annotated[
        float | None,
        typer.Option(
            min=0, help="Minutes that all executions of a case may take. [default: no cap]", rich_help_panel=_COST
        ),
    ] = None,
    max_hours: Annotated[
        float | None,
        typer.Option(
            min=0, help="Hours that all executions may take, added up. [default: no cap]", rich_help_panel=_COST
        ),
    ] = None,
    max_dollars: Annotated[
        float | None,
        typer.Option(
            min=0, help="US dollars, as far as tools tell their cost. [default: no cap]", rich_help_panel=_COST
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most this many issues. [default: all]", rich_help_panel=_TRIED)
    ] = None,
    issue: Annotated[
        list[str] | None,
        typer.Option(help="Only this issue, whatever its status; may be repeated.", rich_help_panel=_TRIED),
    ] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(
            help="Where outcomes go. [default: REPO/.cyntra/planner/bench/ledger.sqlite]", rich_help_panel=_RUN
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the choice of actions.", rich_help_panel=_TRIED)] = 0,
    wall_limit: Annotated[
        float,
        typer.Option(
            min=1.0,
            help="Seconds an execution may last at most; by itself its minutes, for code 10 more.",
            rich_help_panel=_COST,
        ),
    ] = 4 * 3600.0,
    max_memory: Annotated[
        float,
        typer.Option(min=0.1, help="GiB that all processes of an execution may use together.", rich_help_panel=_COST),
    ] = 8.0,
    max_processes: Annotated[
        int, typer.Option(min=4, help="Processes and threads of an execution together.", rich_help_panel=_COST)
    ] = 2048,
    universe: Annotated[
        str | None, typer.Option(help="Universe id. [default: the only one, if any]", rich_help_panel=_RUN)
    ] = None,
    kernel_dir: Annotated[
        Path | None, typer.Option(help="The kernel's directory. [default: REPO/.cyntra]", rich_help_panel=_RUN)
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            help="Environment variable that runs may see, for instance an API key's; may be repeated.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    work_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where the throwaway clones live. [default: the system's temporary directory]", rich_help_panel=_RUN
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option(min=1, help="Recorded trials of a case that are used (replay).", rich_help_panel=_REPLAY)
    ] = 6,
    minute_seconds: Annotated[
        float,
        typer.Option(
            min=0.001,
            help="Seconds that a minute of budget lasts in recorded trials (replay).",
            rich_help_panel=_REPLAY,
        ),
    ] = 60.0,
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of a running Ray. [default: RAY_ADDRESS, else Ray inside this command]", rich_help_panel=_RUN
        ),
    ] = None,
    retry_faults: Annotated[
        bool,
        typer.Option("--retry-faults", help="Run executions again that the machine spoiled.", rich_help_panel=_TROUBLE),
    ] = False,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            help="Take the ledger from a bench on another host that is known to be dead.",
            rich_help_panel=_TROUBLE,
        ),
    ] = False,
) -> None:
    """Run every open issue under K different actions and record which one wins.

    Each execution is one Cyntra run in a throwaway clone; the repo itself is not touched. A bench that was interrupted
    goes on where it stopped when the same command is given again.
    """
    from rich.console import Console

    from bench.containment.limits import GIB, Limits
    from bench.engine.budget import Budget
    from bench.engine.display import ExecutionBar, print_report
    from bench.engine.run import EXECUTORS, SELECTIONS, CyntraSettings, ReplaySettings, run_bench

    _check_choice(executor, EXECUTORS, "--executor")
    _check_choice(select, SELECTIONS, "--select")
    console = Console()
    limits = Limits(wall_limit, memory_bytes=round(max_memory * GIB), processes=max_processes)
    budget = Budget(max_case_minutes, max_hours, max_dollars)
    options: dict[str, Any] = {
        "executor": executor,
        "cyntra": CyntraSettings(None if cyntra is None else shlex.split(cyntra), limits, env or ()),
        "replay": ReplaySettings(trials, minute_seconds),
        "n_actions": k,
        "limit": limit,
        "issue_ids": issue,
        "kernel_dir": kernel_dir,
        "universe_id": universe,
    }
    if doctor:
        _print_checks(console, repo, options, ledger, work_dir, workers)
        return
    if dry_run:
        _print_price(console, repo, options, ledger, (select, policy or (), seed), repeats, budget, workers)
        return
    try:
        with ExecutionBar(console) as display:
            report = run_bench(
                repo,
                **options,
                ledger_path=ledger,
                repeats=repeats,
                select=select,
                policies=policy or (),
                seed=seed,
                full=full,
                budget=budget,
                workers=workers,
                work_base=work_dir,
                address=address,
                retry_faults=retry_faults,
                take_over=take_over,
                progress=display.show,
            )
    except KeyboardInterrupt:
        console.print("Stopped. What was finished is in the ledger; the same command goes on from there.")
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
    print_report(console, report)


def relabel(
    ledger: Annotated[Path, typer.Argument(help="A bench's ledger.")] = LEDGER,
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="Dataset whose vocabulary, normalisation and action space the winners keep. [default: the one beside "
            "the ledger's directory; where there is none, they are fitted on the learning cases]"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory of the new dataset.")] = DATASET.with_name("winners"),
    holdout: Annotated[float, typer.Option(help="Share of cases kept for judging.")] = 0.4,
    by: Annotated[
        Literal["time", "problem"],
        typer.Option(help="Which cases are kept: time (the latest), or problem (all of the latest problems)."),
    ] = "time",
    repo: Annotated[
        Path | None,
        typer.Option(help="Without a dataset: the repo that was benched. [default: the one the ledger lies in]"),
    ] = None,
) -> None:
    """Turn a bench's winners into a dataset that `planner train` takes."""
    from bench.judging.relabel import dataset_beside
    from bench.judging.relabel import relabel as write_winners
    from planner.display.console import say
    from planner.display.training import print_dataset

    base = dataset or dataset_beside(ledger)
    print_dataset(write_winners(ledger, base, out, holdout=holdout, by=by, repo=repo), out)
    fitted = "fitted on the learning cases" if base is None else f"those of {base}"
    say(f"vocabulary, normalisation and action space: {fitted}")


def _print_price(
    console: "Console",
    repo: Path,
    options: dict[str, Any],
    ledger: Path | None,
    selection: tuple[str, Sequence[Path], int],
    repeats: int,
    budget: "Budget",
    workers: int | None,
) -> None:
    from bench.engine.display import say
    from bench.engine.price import price_bench, price_lines
    from bench.engine.run import default_ledger, make_selection, prepare

    path = ledger or default_ledger(repo, options["executor"])
    price = price_bench(prepare(repo, **options), repo, path, make_selection(*selection), repeats, budget)
    for line in price_lines(price, workers):
        say(console, line)


def _print_checks(
    console: "Console",
    repo: Path,
    options: dict[str, Any],
    ledger: Path | None,
    work_dir: Path | None,
    workers: int | None,
) -> None:
    from bench.doctor.examine import examine
    from bench.engine.display import say
    from bench.engine.run import default_ledger, sandbox_path

    settings = options["cyntra"]
    command = settings.command or ["cyntra"]
    search_path = os.pathsep.join([*map(str, sandbox_path(command)), os.environ.get("PATH", os.defpath)])
    checks = examine(
        work_dir or Path(tempfile.gettempdir()),
        command,
        repo=repo.resolve(),
        ledger_dir=(ledger or default_ledger(repo, options["executor"])).parent,
        limits=settings.limits,
        n_workers=workers or len(os.sched_getaffinity(0)),
        search_path=search_path,
    )
    for check in checks:
        say(console, check.line)
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


def _check_choice(value: str, choices: Sequence[str], option: str) -> None:
    if value not in choices:
        raise typer.BadParameter(f"{value!r}: choose {' or '.join(choices)}", param_hint=option)
