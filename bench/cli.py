"""Commands around the bench: ``planner bench`` and ``relabel``, the whole loop at once, and ``planner run``."""

import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bench.dispatch.options import EvolveOptions, RunOptions
from bench.executors.cyntra.kernel_command import tool_directories
from bench.executors.cyntra.kind import CyntraOptions
from bench.executors.registry import executor_kind, executor_kinds
from bench.options import BenchOptions
from bench.tables.cli import export_table
from bench.testbeds.cli import add_commands as add_repo_commands
from bench.view.cli import view
from planner.checked import dataset_at, ledger_at, repo_at, room_at, run_at
from planner.errors import NOTHING_TO_JUDGE_EXIT_CODE, UsageError
from planner.files import check_writable
from planner.options import Options, with_options
from planner.own_places import DATASET, Fresh

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from bench.dispatch.report import Report

LEDGER = Path(".cyntra/planner/bench/ledger.sqlite")
INSTEAD = "Instead of running"


def add_commands(app: typer.Typer) -> None:
    """Mount ``planner quickstart``, ``bench``, ``relabel``, ``report``, ``run``, ``evolve``, and those for repos."""
    app.command()(quickstart)
    app.command()(bench)
    app.command()(relabel)
    app.command()(run)
    app.command()(evolve)
    app.command()(report)
    app.command()(view)
    app.command("export-table")(export_table)
    add_repo_commands(app)


def quickstart(
    directory: Annotated[Path, typer.Argument(help="Where everything goes.")] = Path("planner-quickstart"),
    issues: Annotated[int, typer.Option(min=10, help="Issues in the sandbox repo.")] = 90,
    k: Annotated[int, typer.Option("--k", min=2, help="Different actions tried per issue.")] = 4,
    seed: Annotated[int, typer.Option(help="Seeds the sandbox, the history and the bench.")] = 0,
    address: Annotated[
        str | None, typer.Option(help="Address of a running Ray. [default: RAY_ADDRESS, else Ray inside this command]")
    ] = None,
    fresh: Fresh = False,
) -> None:
    """Run the whole loop on a sandbox repo: history, dataset, train, bench, relabel, retrain, evaluate.

    Interrupted, it goes on where it stopped when the same command is given again.
    """
    room_at(directory)
    from bench.quickstart import run_quickstart

    run_quickstart(directory, issues=issues, n_actions=k, seed=seed, address=address, fresh=fresh)


@with_options("bench", lambda: [BenchOptions, *(kind.options for kind in executor_kinds())])
def bench(
    repo: Annotated[
        Path, typer.Argument(help="Root of a Cyntra repo under git; with --executor replay a folder of tables.")
    ] = Path(),
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Run nothing: print executions, worst-case hours and dollars.", rich_help_panel=INSTEAD
        ),
    ] = False,
    doctor: Annotated[
        bool,
        typer.Option(
            "--doctor",
            help="Bench nothing: print what this machine can and cannot enforce, and what a trivial run of the kernel "
            "comes to.",
            rich_help_panel=INSTEAD,
        ),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start anew: the ledger is set aside, in `earlier` beside it.")
    ] = False,
    *,
    options: Options,
) -> None:
    """Run every open issue under K different actions and record which one wins.

    Each execution is one Cyntra run in a throwaway clone; the repo itself is not touched. A bench that was interrupted
    goes on where it stopped when the same command is given again.
    """
    chosen = options.of(BenchOptions)
    kind = executor_kind(chosen.executor)
    if kind.options is CyntraOptions and not doctor:
        repo_at(repo, chosen.kernel_dir)
    elif not repo.is_dir():
        raise UsageError(f"{repo}: no such directory")
    for policy in chosen.policies:
        run_at(policy)
    from bench.earlier_ledger import set_aside
    from bench.engine.display import ExecutionBar, print_report, print_set_aside, say
    from bench.engine.price import price_bench, price_lines
    from bench.engine.run import run_bench
    from planner.display.console import console, give, note

    if doctor:
        _print_checks(console, repo, chosen, options.of(CyntraOptions))
        return
    if dry_run:
        prepared = kind.prepare(repo, chosen, options.of(kind.options))
        price = price_bench(prepared, repo, chosen.ledger or kind.default_ledger(repo), chosen)
        print_set_aside(console, prepared.set_aside, prepared.unreadable)
        for line in price_lines(price, chosen.workers):
            say(console, line)
        give("bench_dry_run", price.to_json())
        return
    if fresh:
        ledger = chosen.ledger or kind.default_ledger(repo)
        kept = set_aside(ledger, take_over=chosen.take_over)
        if kept is not None:
            note(f"the earlier ledger is kept: {kept}")
    with ExecutionBar() as display:
        report = run_bench(repo, chosen, options.of(kind.options), progress=display.show, planned=display.show_planned)
    print_report(console, report)
    give("bench", report.to_json())
    if not any(case.judged for case in report.cases):
        raise typer.Exit(NOTHING_TO_JUDGE_EXIT_CODE)
    if report.faults:
        raise typer.Exit(1)


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
        Literal["time", "problem", "pair"],
        typer.Option(
            help="Which cases are kept: time (the latest), problem (all of the latest problems), or pair (at random: a "
            "problem of which other agents' cases are learned from)."
        ),
    ] = "time",
    repo: Annotated[
        Path | None,
        typer.Option(help="Without a dataset: the repo that was benched. [default: the one the ledger lies in]"),
    ] = None,
) -> None:
    """Turn a bench's winners into a dataset that `planner train` takes."""
    ledger_at(ledger)
    if dataset is not None:
        dataset_at(dataset)
    from bench.judging.relabel import dataset_beside
    from bench.judging.relabel import relabel as write_winners
    from planner.display.console import give, note
    from planner.display.training import print_dataset

    base = dataset or dataset_beside(ledger)
    info = write_winners(ledger, base, out, holdout=holdout, by=by, repo=repo)
    print_dataset(info, out)
    give("relabel", {"path": str(out), "dataset": info.model_dump(mode="json")})
    fitted = "fitted on the learning cases" if base is None else f"those of {base}"
    note(f"vocabulary, normalisation and action space: {fitted}")


@with_options("run", lambda: [RunOptions])
def run(
    repo: Annotated[Path, typer.Argument(help="Root of a Cyntra repo under git.")] = Path(),
    *,
    options: Options,
) -> None:
    """Run ready issues as `cyntra run` does, in its order, with a bundle's decisions forced on the kernel.

    Works on the repo itself, one issue after the other. Every decision is journalled before its run is started and
    written into the run's documents afterwards; a command that was killed is completed by the next one. Exit code 0
    only when everything asked for was done and recorded, 3 at a cap.
    """
    repo_at(repo)
    from bench.dispatch.loop import Loop
    from planner.display.console import say

    _report_dispatch("run", lambda: Loop(repo, options.of(RunOptions), say).run())


@with_options("evolve", lambda: [EvolveOptions])
def evolve(
    repo: Annotated[Path, typer.Argument(help="Root of a Cyntra repo under git.")] = Path(),
    *,
    options: Options,
) -> None:
    """Evolve the worlds of issues as `cyntra evolve` does, with a bundle's swarm, population, generations and minutes.

    Journalled and recorded as those of `planner run`; the same exit codes.
    """
    repo_at(repo)
    from bench.dispatch.evolutions import evolve_worlds
    from planner.display.console import say

    _report_dispatch("evolve", lambda: evolve_worlds(repo, options.of(EvolveOptions), say))


def report(
    records: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Ledger, directory of a quickstart, run or study, or JSON results of evaluate --bench, compare, "
            "ablate or tune. [default: what this repo has in .cyntra/planner]"
        ),
    ] = None,
    runs: Annotated[list[Path] | None, typer.Option(help="Trained run; may be repeated.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another ledger, quickstart, run or result to set beside, cell by cell.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The page; everything is in this one file.")] = Path("report.html"),
    holdout: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of unseen cases, where no results on the ledger say it.")
    ] = 0.4,
    by: Annotated[
        Literal["time", "problem", "pair"], typer.Option(help="Which cases are unseen, likewise; as in relabel.")
    ] = "time",
) -> None:
    """Write one HTML page of a bench, its policies and their training: the answer first, then every case.

    Reads records only: nothing is trained, run or judged. `planner evaluate RUN --bench LEDGER` makes the results that
    say what a trained run is worth.
    """
    check_writable(out)
    for path in [*(records or []), *(runs or []), *([against] if against is not None else [])]:
        if not path.exists():
            raise UsageError(f"{path}: no such file or directory")
    from bench.report.page import write_report
    from planner.display.console import give, note, say

    page = write_report(records or [], runs or [], out, holdout=holdout, by=by, against=against)
    say(page.answer.sentence)
    for step in page.answer.next_steps:
        say(f"next: {step}")
    for one in page.facts.set_aside:
        note(f"set aside: {one.path}: {one.reason}")
    say(f"report: {out} ({out.stat().st_size / 1e6:.1f} MB)")
    give(
        "report",
        {
            "report": str(out),
            "bytes": out.stat().st_size,
            "answer": page.answer.sentence,
            "next_steps": list(page.answer.next_steps),
            "set_aside": [{"path": str(one.path), "reason": one.reason} for one in page.facts.set_aside],
        },
    )


def _report_dispatch(name: str, dispatch: "Callable[[], Report]") -> None:
    """Print what became of a command's decisions, and end with its exit code."""
    from bench.dispatch.kernel_run import Interrupted
    from planner.display.console import give, say

    try:
        report = dispatch()
    except Interrupted:
        raise KeyboardInterrupt from None
    for line in report.lines():
        say(line)
    give(name, report.to_json())
    if not report.is_complete:
        raise typer.Exit(NOTHING_TO_JUDGE_EXIT_CODE if report.paused_by else 1)


def _print_checks(console: "Console", repo: Path, options: BenchOptions, cyntra: CyntraOptions) -> None:
    from bench.doctor.examine import examine
    from bench.doctor.kernel import KernelSetting
    from bench.engine.display import say
    from planner.display.console import give

    kind = executor_kind(options.executor)
    tools = tool_directories(cyntra.command)
    setting = KernelSetting(repo.resolve(), cyntra, options.kernel_dir, options.universe)
    checks = examine(
        options.work_dir or Path(tempfile.gettempdir()),
        setting if kind.options is CyntraOptions else None,
        ledger_dir=(options.ledger or kind.default_ledger(repo)).parent,
        limits=cyntra.limits,
        n_workers=options.workers or len(os.sched_getaffinity(0)),
        search_path=os.pathsep.join([*map(str, tools), os.environ.get("PATH", os.defpath)]),
    )
    for check in checks:
        say(console, check.line)
    give("bench_doctor", {"checks": [asdict(check) for check in checks]})
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)
