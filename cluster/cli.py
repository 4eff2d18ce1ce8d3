"""``planner submit``, and ``planner cluster``: manifests printed for `kubectl` and `ray up`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from planner.errors import UsageError

INSTALL = "cd cyntra-planner && pip install -c constraints.txt torch==2.13.0 '.[train,bench]'"
"""What prepares a machine by default: the package is on no index, so a checkout must lie in the user's home there."""

INTERRUPTED_EXIT_CODE = 130

cluster_app = typer.Typer(help="Manifests that bring planner commands to a cluster.", no_args_is_help=True)


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


@cluster_app.command("rayjob")
def rayjob(
    command: Annotated[list[str], typer.Argument(help="Command to run, after --; paths as the pods see them.")],
    image: Annotated[str, typer.Option(help="Container image that holds Ray and the planner.")],
    name: Annotated[str, typer.Option(help="Name of the job.")] = "planner",
    workers: Annotated[int, typer.Option(min=0, help="Worker pods beside the head.")] = 2,
    cpus: Annotated[int, typer.Option(min=1, help="Cores per pod.")] = 4,
    memory: Annotated[str, typer.Option(help="Memory per pod.")] = "8Gi",
    claim: Annotated[
        str | None, typer.Option(help="PersistentVolumeClaim with data and results, shared by the pods.")
    ] = None,
    mount: Annotated[str, typer.Option(help="Where the claim is mounted.")] = "/data",
) -> None:
    """Print a KubeRay RayJob: planner cluster rayjob --image IMAGE --claim CLAIM -- planner tune /data/dataset."""
    from cluster.manifests import rayjob as manifest

    _print_yaml(
        manifest(command, image=image, name=name, workers=workers, cpus=cpus, memory=memory, claim=claim, mount=mount)
    )


@cluster_app.command("machines")
def machines(
    head: Annotated[str, typer.Option(help="Machine that runs the head.")],
    worker: Annotated[list[str] | None, typer.Option(help="Another machine; may be repeated.")] = None,
    user: Annotated[str, typer.Option(help="Name to log in with by ssh.")] = "ubuntu",
    name: Annotated[str, typer.Option(help="Name of the cluster.")] = "planner",
    setup: Annotated[
        list[str] | None, typer.Option(help=f"Shell command that prepares a machine; may be repeated. [{INSTALL}]")
    ] = None,
) -> None:
    """Print a cluster file for `ray up` over machines reached by ssh."""
    from cluster.manifests import ray_up

    _print_yaml(ray_up(name=name, head=head, workers=worker or [], user=user, setup=setup or [INSTALL]))


def _print_yaml(document: dict[str, Any]) -> None:
    import yaml

    typer.echo(yaml.safe_dump(document, sort_keys=False), nl=False)
