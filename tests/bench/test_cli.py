"""Tests of the `planner bench` command line."""

import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from bench.cli import add_commands
from tests.bench.conftest import SMALL_KERNEL, KernelRepo


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    add_commands(app)
    return app


def test_the_table_names_winners_and_the_summary_counts(
    kernel_repo: KernelRepo, ray_cluster: Any, app: typer.Typer
) -> None:
    finished = [{"id": str(number), "status": "done"} for number in range(10, 35)]
    kernel_repo.write_issues({"id": "1"}, {"id": "[red]2", "status": "done"}, *finished)
    arguments = ["bench", str(kernel_repo.root), "--k", "1", "--cyntra", " ".join(SMALL_KERNEL)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "set aside: its id cannot be a file name, which Cyntra makes of it: '[red]2'" in result.output
    assert "set aside: status 'done': '10', '11'," in result.output and "'29' and 5 more\n" in result.output
    assert (
        "read 27 issues (26 set aside); 1 cases: 1 executions run, 0 resumed from the ledger, 0 faulty" in result.output
    )


def test_help_needs_neither_ray_nor_torch() -> None:
    program = (
        "import sys, typer; from bench.cli import bench\n"
        "app = typer.Typer(); app.command()(bench)\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'ray', 'torch', 'sqlite3', 'pydantic'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--retry-faults" in done.stdout
