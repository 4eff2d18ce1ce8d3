"""Tests of the `planner bench` command line."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from typer.testing import CliRunner

from bench.cli import add_commands
from planner.cli import app as planner_app
from planner.command_app import CommandApp
from planner.dataset.storage import load_dataset
from planner.options import resolve
from tests.bench.conftest import SMALL_KERNEL, KernelRepo
from tests.bench.ledgers import SERIAL, VOTE, told, write_ledger
from tests.bench.test_objective import outcome
from tests.trained_runs import trained


@pytest.fixture
def app() -> typer.Typer:
    app = CommandApp()
    app.callback()(lambda: None)
    add_commands(app)
    return app


def test_the_table_names_winners_and_the_summary_counts(
    kernel_repo: KernelRepo, ray_cluster: Any, app: typer.Typer
) -> None:
    finished = [{"id": str(number), "status": "done"} for number in range(10, 35)]
    kernel_repo.write_issues({"id": "1"}, {"id": "[red]2", "status": "done"}, *finished)
    arguments = ["bench", str(kernel_repo.root), "--k", "1", "--cyntra", " ".join(SMALL_KERNEL)]
    priced = CliRunner().invoke(app, [*arguments, "--dry-run", "--json"])
    assert priced.exit_code == 0, priced.output
    assert orjson.loads(priced.stdout)["executions"] == 1
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    again = CliRunner().invoke(app, [*arguments, "--json"])
    report = orjson.loads(again.stdout)
    assert (report["read"], report["run"], report["resumed"], report["faults"]) == (27, 0, 1, 0)
    assert report["cases"][0]["verdict"]["action"]["swarm_id"] == "serial_handoff"
    (line,) = [line for line in result.output.splitlines() if "'[red]2'" in line]
    assert line.startswith("set aside: its id ")
    assert "set aside: status 'done': '10', '11'," in result.output and "'29' and 5 more\n" in result.output
    assert (
        "read 27 issues (26 set aside); 1 cases: 1 executions run, 0 resumed from the ledger, 0 faulty" in result.output
    )


def test_a_bench_that_only_faults_says_why_how_often_and_ends_with_a_code_of_its_own(
    kernel_repo: KernelRepo, ray_cluster: Any, app: typer.Typer
) -> None:
    arguments = ["bench", str(kernel_repo.root), "--k", "2", "--limit", "1", "--cyntra", "sh -c 'exit 0'"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 3, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("fault: ")]
    assert line.startswith("fault: 2 executions: ") and " -> the kernel refused the issue" in line
    assert "--retry-faults" in result.output and "nothing could be judged" in result.output


def test_an_issue_line_that_cannot_be_read_is_named_by_the_bench_and_by_the_dry_run(
    kernel_repo: KernelRepo, ray_cluster: Any, app: typer.Typer
) -> None:
    issues = kernel_repo.root / ".beads" / "issues.jsonl"
    issues.write_text("<<<<<<< ours\n" + issues.read_text())
    arguments = ["bench", str(kernel_repo.root), "--k", "1", "--limit", "1", "--cyntra", " ".join(SMALL_KERNEL)]
    for more in ([], ["--dry-run"]):
        result = CliRunner().invoke(app, [*arguments, *more])
        assert result.exit_code == 0, result.output
        assert "dropped: .beads/issues.jsonl:1: not JSON" in result.output


def test_help_shows_every_option_once_and_in_a_section() -> None:
    shown = CliRunner().invoke(planner_app, ["bench", "--help"]).output
    sections = {part.split(":\n")[0]: re.findall(r"(?m)^  (--[a-z-]+)", part) for part in shown.split("\n\n")}
    assert sections["Options"] == ["--fresh", "--help"]
    assert sections["Instead of running"] == ["--dry-run", "--doctor"]
    options = {name for names in sections.values() for name in names}
    assert sum(map(len, sections.values())) == len(options) > 25
    assert {"--" + key.replace("_", "-") for key in resolve("bench", {}, Path()).settings} < options


def test_help_needs_neither_ray_nor_torch() -> None:
    program = (
        "import sys, typer; from bench.cli import bench\n"
        "app = typer.Typer(); app.command()(bench)\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'ray', 'torch', 'sqlite3'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--retry-faults" in done.stdout


def test_winners_and_judgement_are_of_the_repo_and_by_the_problems_that_are_asked_for(tmp_path: Path) -> None:
    outcomes = {SERIAL: outcome(True, 60_000), VOTE: outcome(True, 600_000)}
    pairs = [(problem, agent) for agent in "xy" for problem in "abcd"]
    cases = [told(f"{p}@{a}", outcomes, day=day, hint=a, commit="recorded") for day, (p, a) in enumerate(pairs)]
    ledger, winners = str(write_ledger(tmp_path / "ledger.sqlite", cases)), tmp_path / "winners"
    (tmp_path / "repo" / ".cyntra").mkdir(parents=True)
    (tmp_path / "repo" / ".cyntra" / "config.yaml").write_text("sandbox: {seconds_per_minute: 0.5}\n")
    by_problem = ["--holdout", "0.5", "--by", "problem"]
    command = ["relabel", ledger, "--out", str(winners), "--repo", str(tmp_path / "repo"), *by_problem]
    result = CliRunner().invoke(planner_app, command)
    assert result.exit_code == 0, result.output
    assert load_dataset(winners).info.minute_seconds == 0.5
    assert not load_dataset(winners).splits["test"].seen.any()
    run = trained(winners, tmp_path / "run")
    result = CliRunner().invoke(planner_app, ["evaluate", str(run), "--bench", ledger, *by_problem])
    assert result.exit_code == 0, result.output
    report = orjson.loads((run / "regret.json").read_bytes())
    # Held out by time, two of the four cases would be of problems that learning saw.
    assert (report["held_out_seen"], report["held_out_before_learning_ended"]) == (0, 2)
