"""``planner cluster``: manifests that bring the planner's commands to a cluster, printed for `kubectl` and `ray up`."""

from typing import Annotated, Any

import typer

INSTALL = "cd cyntra-planner && pip install -c constraints.txt torch==2.13.0 '.[train,bench]'"
"""What prepares a machine by default: the package is on no index, so a checkout must lie in the user's home there."""

cluster_app = typer.Typer(help="Manifests that bring planner commands to a cluster.", no_args_is_help=True)


def add_commands(app: typer.Typer) -> None:
    """Mount ``planner cluster``."""
    app.add_typer(cluster_app, name="cluster")


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
