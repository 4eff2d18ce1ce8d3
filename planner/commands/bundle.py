"""``planner export``, ``bundle check`` and ``decide``: a policy as a bundle, and what it decides."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from planner.checked import bundle_at, dataset_at, repo_at, room_at, run_at
from planner.command_app import CommandApp
from planner.contracts.dataset import TokenProfile
from planner.own_places import BUNDLE, BundlePlace, RunPlace, latest_run
from planner.places import OR_URI, fetched, place_of, written

bundle_app = CommandApp(help="Bundles, where they are to be loaded.")


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
    place = run_at(place_of(run)) if run else latest_run()
    on = dataset_at(place_of(dataset)) if dataset else None
    room_at(place_of(out))
    from planner.display.console import give, say
    from planner.export.bundle import export_bundle

    trained = fetched(place, "run.json")
    with written(place_of(out), "metadata.json") as local:
        metadata = export_bundle(trained, local, dataset_path=on, profile=profile)
    check = metadata["check"]
    say(
        f"bundle: {out}; on {check['contexts']} contexts its logits differ from the policy's by at most "
        f"{check['max_difference']:.1e}, its decisions in {check['disagreements']}"
    )
    give("export", {"bundle": out, "metadata": metadata})


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
    from planner.display.console import give, say

    checks = check_bundle(fetched(place_of(bundle), "metadata.json"), python)
    for check in checks:
        say(f"{'ok  ' if check.ok else 'FAIL' if check.ok is False else 'note'}  {check.text}")
    give("bundle_check", {"checks": [asdict(check) for check in checks]})
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


def decide(
    bundle: BundlePlace,
    mode: Annotated[
        Literal["off", "log", "enforce"],
        typer.Option(help="enforce the decision, log it (predict, and run the default), or off: the default alone."),
    ] = "enforce",
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
    fallback: Annotated[
        bool, typer.Option("--fallback", help="Answer with the default where there is no bundle, instead of an error.")
    ] = False,
) -> None:
    """Decide for an issue of a repo, or for a planner_input.v1 on stdin; prints {planner_action, executed_plan}.

    With --serve blank lines are skipped, answers come in the order of the questions, {"ping": 1} is answered with what
    is loaded, and a bundle that was replaced is loaded before the next answer.
    """
    if (repo is None) != (issue is None):
        raise typer.BadParameter("--repo and --issue go together", param_hint="--issue")
    if not fallback:
        fetched(bundle_at(place_of(bundle)), "metadata.json")
    if repo is not None and issue is not None:
        repo_at(repo)
    from planner.serve import decide_issue, decide_stream

    caps = max_candidates, max_minutes, max_iterations
    if repo is not None and issue is not None:
        from planner.artifacts.repo import Repo

        decide_issue(place_of(bundle), Repo(repo, universe_id=universe), issue, sys.stdout.buffer, mode, caps)
    else:
        decide_stream(place_of(bundle), sys.stdin.buffer, sys.stdout.buffer, mode, caps, serve)
