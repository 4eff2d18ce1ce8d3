"""Commands around the bench: ``planner bench`` and ``relabel``, repos to try them on, and the whole loop at once."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from bench.ledger import Progress as LedgerProgress
    from bench.run import BenchReport

DATASET = Path(".cyntra/planner/dataset")
LEDGER = Path(".cyntra/planner/bench/ledger.sqlite")
INTERRUPTED_EXIT_CODE = 130
SHOWN_ISSUES = 20
"""How many of the issues that were set aside for one reason are named."""

sandbox_app = typer.Typer(help="A small real repo to run against, for machines without Cyntra.", no_args_is_help=True)


def add_commands(app: typer.Typer) -> None:
    """Mount ``planner quickstart``, ``bench``, ``relabel``, ``simulate`` and ``sandbox``."""
    for command in (quickstart, bench, relabel, simulate):
        app.command()(command)
    app.add_typer(sandbox_app, name="sandbox")


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
    repo: Annotated[Path, typer.Argument(help="Root of a Cyntra repo under git.")] = Path(),
    k: Annotated[int, typer.Option("--k", min=1, help="Different actions tried per issue.")] = 4,
    repeats: Annotated[int, typer.Option(min=1, help="Executions per action; more than one averages noise out.")] = 1,
    executor: Annotated[
        str, typer.Option(help="cyntra (the kernel runs), or simulate (in a repo from `planner simulate`).")
    ] = "cyntra",
    cyntra: Annotated[
        str | None,
        typer.Option(help="Kernel command, may be several words; `cyntra-sandbox` in a sandbox. [default: cyntra]"),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Executions at the same time. [default: the cluster's CPUs]")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many issues. [default: all]")] = None,
    issue: Annotated[
        list[str] | None, typer.Option(help="Only this issue, whatever its status; may be repeated.")
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="Where outcomes go. [default: REPO/.cyntra/planner/bench/ledger.sqlite]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the choice of actions.")] = 0,
    wall_limit: Annotated[
        float | None,
        typer.Option(min=1.0, help="Seconds an execution may last. [default: its minutes and 10 more, at most 4 h]"),
    ] = None,
    universe: Annotated[str | None, typer.Option(help="Universe id. [default: the only one, if any]")] = None,
    kernel_dir: Annotated[Path | None, typer.Option(help="The kernel's directory. [default: REPO/.cyntra]")] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(help="Environment variable that runs may see, for instance an API key's; may be repeated."),
    ] = None,
    work_dir: Annotated[
        Path | None, typer.Option(help="Where the throwaway clones live. [default: the system's temporary directory]")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Address of a running Ray. [default: RAY_ADDRESS, else Ray inside this command]")
    ] = None,
    retry_faults: Annotated[
        bool, typer.Option("--retry-faults", help="Run executions again that the machine spoiled.")
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take the ledger from a bench on another host that is known to be dead.")
    ] = False,
) -> None:
    """Run every open issue under K different actions and record which one wins.

    Each execution is one Cyntra run in a throwaway clone; the repo itself is not touched. A bench that was interrupted
    goes on where it stopped when the same command is given again.
    """
    from rich.console import Console

    from bench.run import EXECUTORS, run_bench

    if executor not in EXECUTORS:
        raise typer.BadParameter(f"{executor!r}: choose {' or '.join(EXECUTORS)}", param_hint="--executor")
    console = Console()
    try:
        with _Display(console) as display:
            report = run_bench(
                repo,
                executor=executor,
                ledger_path=ledger,
                n_actions=k,
                repeats=repeats,
                limit=limit,
                issue_ids=issue,
                seed=seed,
                command=None if cyntra is None else shlex.split(cyntra),
                workers=workers,
                kernel_dir=kernel_dir,
                universe_id=universe,
                wall_limit_s=wall_limit,
                pass_on=env or (),
                work_base=work_dir,
                address=address,
                retry_faults=retry_faults,
                take_over=take_over,
                progress=display.show,
            )
    except KeyboardInterrupt:
        console.print("Stopped. What was finished is in the ledger; the same command goes on from there.")
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
    _print_report(console, report)


def relabel(
    ledger: Annotated[Path, typer.Argument(help="A bench's ledger.")] = LEDGER,
    dataset: Annotated[
        Path, typer.Option(help="Dataset whose vocabulary and action space the winners keep.")
    ] = DATASET,
    out: Annotated[Path, typer.Option(help="Directory of the new dataset.")] = DATASET.with_name("winners"),
    holdout: Annotated[float, typer.Option(help="Share of cases, the latest, kept for judging.")] = 0.4,
) -> None:
    """Turn a bench's winners into a dataset that `planner train` takes."""
    from bench.relabel import relabel as write_winners
    from planner.display import print_dataset

    print_dataset(write_winners(ledger, dataset, out, holdout=holdout), out)


def simulate(
    directory: Annotated[Path, typer.Argument(help="Where the repo's artifacts go; must not exist or be empty.")],
    runs: Annotated[int, typer.Option(min=1, help="Runs of the history.")] = 5000,
    issues: Annotated[int, typer.Option(min=1, help="Issues that were worked on.")] = 800,
    open_issues: Annotated[int, typer.Option("--open", min=0, help="Further issues, never run, for the bench.")] = 400,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
) -> None:
    """Write the artifacts of a Cyntra repo whose runs were drawn from a model, in seconds and without any agent.

    `planner dataset build` reads it like a real one; `planner bench --executor simulate` draws what its open issues
    would have come to under other actions. It is a test bed: it says nothing about real agents.
    """
    from bench.simulation.repo import simulate_repo
    from planner.display import StageBars, say

    with StageBars() as bars:
        made = simulate_repo(
            directory, runs=runs, issues=issues, open_issues=open_issues, seed=seed, progress=bars.update
        )
    say(
        f"{directory}: {made.runs} runs ({made.passed} passed) of {made.issues} issues in {made.days} days, "
        f"{made.open_issues} open issues"
    )


@sandbox_app.command("create")
def sandbox_create(
    directory: Annotated[Path, typer.Argument(help="Where the repo goes; must not exist or be empty.")],
    issues: Annotated[int, typer.Option(min=1, help="Injected faults, one issue each.")] = 60,
    seed: Annotated[int, typer.Option(help="The same seed gives the same repo.")] = 0,
    runs: Annotated[int, typer.Option(min=0, help="Runs of the stand-in kernel to make as history.")] = 0,
) -> None:
    """Write a git repo with a faulty Python package, issues, a Cyntra config and a universe."""
    from bench.sandbox.create import create_sandbox
    from bench.sandbox.record import record_history
    from planner.display import StageBars

    create_sandbox(directory, issues=issues, seed=seed)
    if runs:
        with StageBars() as bars:
            record_history(directory, runs=runs, seed=seed, progress=lambda done, n: bars.update("record", done, n))
    typer.echo(f"{directory}: {issues} issues, {runs} runs recorded")


@sandbox_app.command("tools")
def sandbox_tools() -> None:
    """Print the directory of the scripted repair tools: PATH="$(planner sandbox tools):$PATH" cyntra-sandbox run ..."""
    from bench.sandbox.toolchains.launchers import toolchain_dir

    typer.echo(toolchain_dir())


class _Display:
    """A progress bar over executions."""

    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console)
        self._task = self._bar.add_task("bench", total=None)

    def __enter__(self) -> "_Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, progress: "LedgerProgress") -> None:
        """Draw the ledger's counts."""
        text = f"executions: {progress.passed} passed, {progress.faults} faults, {progress.started} running"
        self._bar.update(self._task, description=text, completed=progress.finished, total=progress.total)


def _print_report(console: "Console", report: "BenchReport") -> None:
    from rich.table import Table

    table = Table("issue", "winner", "passed", "faults")
    for case in report.cases:
        passed = f"{case.passed} of {case.finished}"
        table.add_row(case.issue_id, str(case.winner or "none"), passed, str(case.faults))
    console.print(table)
    by_reason: dict[str, list[str]] = {}
    for issue_id, reason in report.set_aside.items():
        by_reason.setdefault(reason, []).append(repr(issue_id))
    for reason, issue_ids in by_reason.items():
        named = ", ".join(issue_ids[:SHOWN_ISSUES])
        more = f" and {len(issue_ids) - SHOWN_ISSUES} more" if len(issue_ids) > SHOWN_ISSUES else ""
        console.print(f"set aside: {reason}: {named}{more}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"read {report.read} issues ({len(report.set_aside)} set aside); {len(report.cases)} cases: "
        f"{report.run} executions run, {report.resumed} resumed from the ledger, {report.faults} faulty; "
        f"ledger {report.ledger_path}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
