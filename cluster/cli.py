"""``planner submit``, and ``planner cluster``: manifests printed for `kubectl` and `ray up`."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from cluster.manifests import Pods, check_manifest, own_checkout, ray_up
from cluster.manifests import raycluster as make_raycluster
from cluster.manifests import rayjob as make_rayjob
from planner.command_app import CommandApp, with_parameters
from planner.errors import INTERRUPTED_EXIT_CODE, UsageError
from planner.manner import MANNER

POD_OPTIONS = {
    "image": ("--image", "Container image that holds Ray and the planner: docker build --target cluster."),
    "name": ("--name", "Name of the job or cluster."),
    "namespace": ("--namespace", "Namespace. [default: that of kubectl's context]"),
    "workers": ("--workers", "Worker pods beside the head, at least."),
    "max_workers": ("--max-workers", "Worker pods at most: the cluster grows and shrinks. [default: --workers]"),
    "cpus": ("--cpus", "Cores per worker."),
    "gpus": ("--gpus", "NVIDIA GPUs per worker."),
    "memory": ("--memory", "Memory per worker."),
    "head_cpus": ("--head-cpus", "Cores of the head, which runs the command itself, but none of its tasks."),
    "head_memory": ("--head-memory", "Memory of the head."),
    "claim": ("--claim", "PersistentVolumeClaim with data and results, shared by the pods."),
    "mount": ("--mount", "Where the claim is mounted."),
    "env": ("--env", "Variable of the environment, NAME=VALUE, for everybody to read; may be repeated."),
    "secrets": ("--secret", "Secret whose keys become variables of the environment; may be repeated."),
    "pull_secrets": ("--pull-secret", "Secret by which the image is pulled; may be repeated."),
    "service_account": ("--service-account", "Service account of the pods. [default: the namespace's]"),
    "tolerations": ("--toleration", "Taint that the pods bear, KEY[=VALUE][:EFFECT]; may be repeated."),
    "token": ("--token/--no-token", "Whether the cluster asks for a token, which KubeRay makes (1.5.1 or later)."),
}
"""Field of Pods -> its option, and the sentence of its help."""

cluster_app = CommandApp(help="Manifests that bring planner commands to a cluster.")


def add_commands(app: typer.Typer) -> None:
    """Mount ``planner submit`` and ``planner cluster``."""
    app.command()(submit)
    app.add_typer(cluster_app, name="cluster")


def submit(
    command: Annotated[
        list[str] | None, typer.Argument(help="Command to run, after --; paths as the cluster sees them.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Address of the head's dashboard. [default: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, else "
            "http://127.0.0.1:8265]"
        ),
    ] = None,
    directory: Annotated[Path, typer.Option(help="Directory that the job works in a copy of.")] = Path(),
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Files that are not copied, as in .gitignore; may be repeated. Those of .gitignore are not."),
    ] = None,
    attach: Annotated[str | None, typer.Option(help="Follow this job instead of starting one.")] = None,
) -> None:
    """Run a command as a job of a Ray cluster and follow it: its output here, its exit code ours.

    The job goes on when this command ends or loses the head: attach to it again. A head that asks for a token is asked
    with RAY_AUTH_TOKEN, or with ~/.ray/auth_token.
    """
    from cluster.submit import attach as attach_to
    from cluster.submit import note_on_stderr, write_to_stdout
    from cluster.submit import submit as submit_job

    if (attach is None) == (not command):
        raise UsageError(
            "give a command after --, for instance `planner submit -- planner tune DATASET`, or --attach JOB"
        )
    job = attach_to(attach, address) if attach else submit_job(command or [], directory, exclude or [], address)
    note_on_stderr(f"job {job.job_id}; again after an interruption: {job.how_to_attach}")
    try:
        code = job.follow(write_to_stdout, note_on_stderr)
    except KeyboardInterrupt:
        note_on_stderr(f"no longer followed; the job goes on. Attach: {job.how_to_attach}; stop it: {job.how_to_stop}")
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
    raise typer.Exit(code)


def _takes_pods(function: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command's function: it takes ``pods: Pods`` last, the command line every field of it."""
    own = [p for p in inspect.signature(function).parameters.values() if p.name != "pods"]

    @functools.wraps(function)
    def run(**values: Any) -> None:
        chosen = {field.name: values.pop(field.name) for field in fields(Pods)}
        given = {name: value for name, value in chosen.items() if value is not None}
        function(**values, pods=Pods(**given))

    options = [_option(field, get_type_hints(Pods)[field.name]) for field in fields(Pods)]
    return with_parameters(run, [*own, *options])


def _option(field: "Field[Any]", annotation: Any) -> inspect.Parameter:
    flag, help = POD_OPTIONS[field.name]
    least = {"workers": 0, "max_workers": 1, "cpus": 1, "gpus": 0, "head_cpus": 1}.get(field.name)
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    if field.default == ():
        annotation, default = list[str] | None, None
    info = typer.Option(flag, help=help, min=least)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, info]
    )


@cluster_app.command("rayjob")
@_takes_pods
def rayjob(
    command: Annotated[list[str], typer.Argument(help="Command to run, after --; paths as the pods see them.")],
    deadline_minutes: Annotated[
        int | None, typer.Option(min=1, help="Minutes after which the job is ended. [default: no deadline]")
    ] = None,
    *,
    pods: Pods,
) -> None:
    """Print a KubeRay RayJob: planner cluster rayjob --image IMAGE --claim CLAIM -- planner tune /data/dataset."""
    _print_yaml(check_manifest(make_rayjob(command, pods, deadline_minutes=deadline_minutes)))


@cluster_app.command("raycluster")
@_takes_pods
def raycluster(*, pods: Pods) -> None:
    """Print a KubeRay RayCluster, which stays and takes jobs of `planner submit`."""
    _print_yaml(check_manifest(make_raycluster(pods)))


@cluster_app.command("machines")
def machines(
    head: Annotated[str, typer.Option(help="Machine that runs the head.")],
    worker: Annotated[list[str] | None, typer.Option(help="Another machine; may be repeated.")] = None,
    user: Annotated[str, typer.Option(help="Name to log in with by ssh.")] = "ubuntu",
    name: Annotated[str, typer.Option(help="Name of the cluster.")] = "planner",
    checkout: Annotated[
        Path | None,
        typer.Option(help="Checkout of the planner that is copied and installed there. [default: this program's]"),
    ] = None,
    setup: Annotated[
        list[str] | None, typer.Option(help="Shell command that installs the planner instead; may be repeated.")
    ] = None,
    token: Annotated[
        bool, typer.Option(help="Ask for a token: that in ~/.ray/auth_token here, which goes to every machine.")
    ] = True,
) -> None:
    """Print a cluster file for `ray up` over machines reached by ssh."""
    checkout = checkout or own_checkout()
    if checkout is None and not setup:
        raise UsageError(
            "--checkout: name a checkout of the planner, which is on no index, or say with --setup what to do"
        )
    _print_yaml(
        ray_up(
            name=name,
            head=head,
            workers=worker or [],
            user=user,
            checkout=None if setup else checkout,
            setup=setup or [],
            token=token,
        )
    )


def _print_yaml(document: dict[str, Any]) -> None:
    """As YAML, with --json as JSON, which kubectl takes too."""
    import json

    import yaml

    if MANNER.as_json:
        typer.echo(json.dumps(document, indent=2))
        return
    typer.echo(yaml.safe_dump(document, sort_keys=False), nl=False)
