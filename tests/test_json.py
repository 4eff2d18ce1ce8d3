"""`--json` of every command that gives a result: one document on stdout, as its schema has it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from bench.ledger import Ledger
from planner.cli import app
from planner.commands.result_schemas import COMMANDS, DECIDE, command_schema
from planner.dataset.storage import load_dataset
from schemas import load_schema, schema_names
from tests.bench.conftest import SMALL_KERNEL
from tests.conftest import CORPUS

ELSEWHERE = {"quickstart": "tests/bench/test_quickstart.py", "error": "tests/test_failed_command.py"}
"""Result -> the test that validates it, because it takes long or is of no command."""
OTHERWISE = {
    "submit": "prints what its job prints",
    "view": "prints the address of a page",
    "cluster rayjob": "prints a manifest; tests/cluster/test_manifests.py",
    "cluster raycluster": "prints a manifest",
    "cluster machines": "prints a cluster file",
}
"""Command -> why it has no document of its own."""


class Workplace:
    """What one command makes for the next; everything in directories of its own."""

    def __init__(self, root: Path, dataset: Path) -> None:
        self.root, self.dataset = root, dataset
        self.run, self.bundle, self.after = root / "run", root / "bundle", root / "after"
        self.sim, self.winners = root / "sim", root / "winners"
        self.ledger = self.sim / ".cyntra/planner/bench/ledger.sqlite"

    def words(self, name: str) -> list[Any]:
        """The cheapest command line that gives the result called ``name``; those before it have been given."""
        small = ["--workers", 1, "--set", "epochs=1"]
        mlp = ["--arch", "mlp_planner", "--set", "epochs=1"]
        bench = ["bench", self.sim, "--executor", "simulate", "--k", 2, "--limit", 4]
        if name == "show":
            return ["show", self.benched(), "--repo", self.sim]
        found: dict[str, list[Any]] = {
            "simulate": ["simulate", self.sim, "--runs", 60, "--issues", 12, "--open", 6],
            "sandbox_create": ["sandbox", "create", self.root / "sandbox", "--issues", 3],
            "explain": ["explain", "regret"],
            "status": ["status", self.sim],
            "ls": ["ls", self.sim],
            "clean": ["clean", self.sim, "--older-than", "0m"],
            "sandbox_tools": ["sandbox", "tools"],
            "config_show": ["config", "show", self.root],
            "dataset_build": ["dataset", "build", CORPUS, "--out", self.root / "built"],
            "dataset_check": ["dataset", "check", self.dataset, "--out", self.root / "check.json"],
            "advise": ["advise", "--dataset", self.dataset, "--out", self.root / "advice.json"],
            "train": ["train", self.dataset, "--out", self.run, *small],
            "calibrate": ["calibrate", self.run],
            "evaluate": ["evaluate", self.run],
            "export": ["export", self.run, "--out", self.bundle],
            "bundle_check": ["bundle", "check", self.bundle, "--python", sys.executable],
            "decide": ["decide", self.bundle],
            "compare": ["compare", self.dataset, "--out", self.root / "compare", "--policies", "heuristic"],
            "tune": ["tune", self.dataset, "--out", self.root / "tune", "--trials", 1, "--epochs", 1],
            "ablate": ["ablate", self.dataset, "--axes", "decoding", "--seeds", 1, "--out", self.root / "ablate", *mlp],
            "bench_dry_run": [*bench, "--dry-run"],
            "bench_doctor": [*bench, "--doctor"],
            "bench": bench,
            "relabel": ["relabel", self.ledger, "--out", self.winners, "--repo", self.sim],
            "evaluate_bench": ["evaluate", self.after, "--bench", self.ledger],
            "export_table": ["export-table", self.ledger, "--out", self.root / "tables"],
            "report": ["report", self.ledger, "--out", self.root / "report.html"],
            "run": ["run", self.root / "sandbox", "--once", "--issue", "none", "--cyntra", " ".join(SMALL_KERNEL)],
            "evolve": ["evolve", self.root / "sandbox", "--issue", "none", "--cyntra", " ".join(SMALL_KERNEL)],
        }
        return found[name]

    def benched(self) -> str:
        """The id of a case."""
        with Ledger.read(self.ledger) as ledger:
            return ledger.cases()[0].case_id

    def before(self, name: str) -> bytes | None:
        """What the command needs besides; returns its stdin."""
        if name == "evaluate_bench":
            document_of(["train", self.winners, "--out", self.after, "--workers", 1, "--set", "epochs=1", "--json"])
        return orjson.dumps(load_dataset(self.dataset).splits["train"].contexts()[0]) if name == "decide" else None


def document_of(words: list[Any], stdin: bytes | None = None) -> Any:
    """What a command prints on stdout, as JSON."""
    done = CliRunner().invoke(app, [str(word) for word in words], input=stdin, catch_exceptions=False)
    assert done.exit_code in (0, 1), done.output
    return orjson.loads(done.stdout)


@pytest.fixture(scope="module")
def workplace(corpus_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("json"), corpus_dataset)


FIRST = ("simulate", "sandbox_create", "bench_dry_run", "bench", "relabel")
IN_ORDER = [*FIRST, *(name for name in COMMANDS if name not in FIRST)]
"""What a command needs comes before it."""


@pytest.mark.parametrize("name", [name for name in IN_ORDER if name not in ELSEWHERE])
def test_the_document_is_as_its_schema_has_it(name: str, workplace: Workplace) -> None:
    stdin = workplace.before(name)
    document = document_of([*workplace.words(name), "--json"], stdin)
    assert name == DECIDE or document["schema_version"] == f"planner.{name}.v1"
    Draft202012Validator(load_schema(f"command_{name}.v1")).validate(document)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_schema_file_is_the_one_that_its_type_makes(name: str) -> None:
    assert load_schema(f"command_{name}.v1") == command_schema(name)
    Draft202012Validator.check_schema(load_schema(f"command_{name}.v1"))


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command by its words."""
    for name, below in getattr(command, "commands", {}).items():
        yield from leaves(below, (*path, name)) if hasattr(below, "commands") else [" ".join((*path, name))]


def test_every_command_has_a_schema_or_a_reason_why_not() -> None:
    get_command: Callable[[Any], Any] = typer.main.get_command
    commands = {name.replace(" ", "_").replace("-", "_") for name in leaves(get_command(app)) if name not in OTHERWISE}
    assert commands - set(COMMANDS) == set()
    assert {name for name in schema_names() if name.startswith("command_")} == {f"command_{n}.v1" for n in COMMANDS}
