"""``planner view``."""

import threading
from pathlib import Path
from typing import Annotated

import typer


def view(
    records: Annotated[
        list[Path] | None,
        typer.Argument(help="As in report. [default: what this repo has in .cyntra/planner]"),
    ] = None,
    runs: Annotated[list[Path] | None, typer.Option(help="Trained run; may be repeated.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 = any free one.")] = 0,
) -> None:
    """Show the report in a browser, and keep it current while a bench, a search or a training runs.

    Only this machine can reach it, and only with the address that is printed. Ctrl-C ends it.
    """
    from bench.view.live import LivePage
    from bench.view.server import PageServer
    from planner.errors import UsageError

    try:
        server = PageServer(port)
    except OSError as error:
        raise UsageError(f"--port {port}: {error.strerror}: take another one, or leave it out") from None
    page = LivePage(records or [], runs or [])
    page.start()
    server.start(page)
    typer.echo(server.url)
    typer.echo("Open this address in a browser of this machine; Ctrl-C ends it.", err=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.stop()
        page.stop()
        typer.echo("Stopped; the records are as they were.", err=True)
