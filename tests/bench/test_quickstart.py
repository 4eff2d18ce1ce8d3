"""The main job, small: the whole loop on a sandbox repo, and again without doing anything twice."""

import subprocess
import sys
from pathlib import Path

import orjson
from jsonschema import Draft202012Validator

from bench.ledger import Ledger
from planner.contracts.dataset import DatasetInfo
from planner.contracts.document import read_document
from planner.policies.registry import baselines
from schemas import load_schema


def quickstart(directory: Path, *more: str) -> tuple[str, str]:
    """What it prints, and what it notes."""
    planner = Path(sys.executable).with_name("planner")
    command = [str(planner), "quickstart", str(directory), "--issues", "14", "--k", "2", *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, done.stderr


def test_the_whole_loop_runs_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    directory = tmp_path / "loop"
    output, _ = quickstart(directory)
    report = orjson.loads((directory / "results.json").read_bytes())
    names = [row["policy"] for row in report["policies"]]
    # Eighteen runs are too few for the baselines that learn from single launches.
    wanted = ["random", "heuristic", *(name for name, one in baselines("bench").items() if not one.needs_trials)]
    wanted += ["learned from logs alone", "mlp before retraining", "mlp after retraining", "best per case"]
    assert names == wanted
    assert all(name in output for name in wanted)
    assert output.splitlines()[-1].startswith("In one sentence, on 3 unseen issues: learned from logs alone ")
    assert report["learning_cases"] + report["held_out_cases"] == 5
    best = report["policies"][-1]
    assert all(row["regret"] >= best["regret"] == 0 for row in report["policies"])
    assert read_document(DatasetInfo, directory / "dataset" / "dataset.json").counts["runs"] == 18
    with Ledger.read(directory / "bench" / "ledger.sqlite") as ledger:
        executions = [execution.execution_id for execution in ledger.executions()]
    assert len(executions) == 10

    (directory / "results.json").unlink()
    document, notes = quickstart(directory, "--json")
    assert "0 executions run, 10 resumed" in notes
    assert orjson.loads((directory / "results.json").read_bytes()) == report
    found = orjson.loads(document)
    Draft202012Validator(load_schema("command_quickstart.v1")).validate(found)
    assert found["answer"] == output.splitlines()[-1] and found["results"] == report
