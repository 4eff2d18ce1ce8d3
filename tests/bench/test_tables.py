"""A bench as tables: documented columns, the same outcomes when it is replayed, nothing of its owner when hashed."""

import re
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from bench.engine.run import run_bench
from bench.executors.replay_kind import ReplayOptions
from bench.judging.results import read_results
from bench.ledger import Ledger
from bench.options import BenchOptions
from bench.tables.columns import TABLES
from bench.tables.export import export_tables
from bench.testbeds.simulation.repo import simulate_repo
from planner.actions import action_from_document
from planner.cli import app
from planner.errors import BenchError
from tests.bench.reported import bench_of
from tests.bench.test_replay import TRIALS, write_tables

Outcomes = dict[tuple[str, str, int], dict[str, Any]]


@pytest.fixture(scope="module")
def simulated(ray_cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of a bench of seven simulated issues, some of whose executions were capped or derived."""
    root = tmp_path_factory.mktemp("simulated") / "repo"
    simulate_repo(root, runs=60, issues=20, open_issues=6, seed=1)
    return run_bench(root, BenchOptions(executor="simulate", n_actions=4, repeats=2)).ledger_path


def outcomes_of(ledger: Path) -> Outcomes:
    """What came of each action of each issue, by repeat; without what names other executions."""
    with Ledger.read(ledger) as opened:
        issues = {case.case_id: case.issue_id for case in opened.cases()}
        return {
            (issues[one.case_id], str(action_from_document(one.action.model_dump())), one.repeat): (
                one.outcome.model_dump(exclude={"derived_from"})
            )
            for one in opened.executions()
            if one.outcome.status != "fault"
        }


def test_a_replay_of_an_exported_bench_has_the_same_outcomes_and_winners(simulated: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["export-table", str(simulated), "--out", str(tmp_path / "tables")])
    assert done.exit_code == 0 and f"{tmp_path / 'tables' / 'executions.parquet'}: 56 rows" in done.output
    ledger = tmp_path / "again.sqlite"
    options = BenchOptions(executor="replay", full=True, repeats=2, ledger=ledger)
    report = run_bench(tmp_path / "tables", options)
    recorded = outcomes_of(simulated)
    assert len(recorded) == 56 and len({one["status"] for one in recorded.values()}) >= 2
    assert outcomes_of(ledger) == recorded and report.faults == report.derived == 0
    winners = [
        {(result.case.case_id, result.verdict.action) for result in read_results(path)} for path in (simulated, ledger)
    ]
    assert winners[0] == winners[1] and winners[0]


def test_a_replayed_bench_can_be_exported_and_replayed_by_its_trials(tmp_path: Path, ray_cluster: Any) -> None:
    tables = write_tables(tmp_path / "first", {("p", "x"): TRIALS, ("q", "x"): TRIALS[::-1]})
    options = BenchOptions(executor="replay", select="all", full=True, ledger=tmp_path / "first.sqlite")
    run_bench(tables, options, ReplayOptions(trials=4))
    export_tables(tmp_path / "first.sqlite", tmp_path / "second", hash_identifiers=True)
    again = options.model_copy(update={"ledger": tmp_path / "second.sqlite"})
    run_bench(tmp_path / "second", again, ReplayOptions(trials=4))
    first, second = (outcomes_of(tmp_path / name) for name in ("first.sqlite", "second.sqlite"))
    assert len(first) == len(second) == 120

    def by_action(outcomes: Outcomes) -> list[tuple[Any, ...]]:
        return sorted(
            (plan, one["passed"], one["duration_ms"], one["agent_ms"]) for (_, plan, _), one in outcomes.items()
        )

    assert by_action(first) == by_action(second)


def test_every_file_says_what_its_columns_mean(simulated: Path, tmp_path: Path) -> None:
    export_tables(simulated, tmp_path / "tables")
    readme = (tmp_path / "tables" / "README.md").read_text()
    for table in TABLES:
        schema = pq.read_schema(tmp_path / "tables" / table.file)
        assert schema.names == [column.name for column in table.columns]
        for column in table.columns:
            assert schema.field(column.name).metadata[b"meaning"].decode() == column.meaning
            assert f"| `{column.name}` | {column.kind} | {column.meaning} |" in readme


def test_trials_are_launches_whose_end_is_known(simulated: Path, tmp_path: Path) -> None:
    exported = export_tables(simulated, tmp_path / "tables")
    trials = pq.read_table(tmp_path / "tables" / "outcomes.parquet").to_pylist()
    assert all(trial["passed"] is not None and trial["duration_s"] > 0 for trial in trials)
    with Ledger.read(simulated) as ledger:
        ran = [one.outcome for one in ledger.executions() if one.outcome.derived_from is None]
    assert len(trials) + sum(exported.left_out.values()) == sum(len(outcome.launches) for outcome in ran)
    assert set(exported.left_out) <= {"cut at a limit", "of several that ended well, one of which passed"}
    numbered = [(trial["issue_id"], trial["action_id"], trial["trial"]) for trial in trials]
    assert len(set(numbered)) == len(numbered)


def test_a_hashed_bench_names_nothing_of_its_owner(simulated: Path, tmp_path: Path) -> None:
    plain, hashed = tmp_path / "plain", tmp_path / "hashed"
    export_tables(simulated, plain)
    export_tables(simulated, hashed, hash_identifiers=True)
    with Ledger.read(simulated) as ledger:
        cases = ledger.cases()
    names = {case.issue_id for case in cases} | {case.case_id for case in cases} | {cases[0].base_commit}
    words: set[str] = set()
    for case in cases:
        issue = case.context.issue
        words |= {*issue.tags, *(issue.title or "").split(), *(issue.keywords or ()), *(issue.words or ())}
        words |= {run.run_id for run in case.context.history.last_n_similar_runs}
    told = texts_of(hashed)
    assert len(words) > 30 and not names & told
    # A word of the planner's own vocabulary (success, codex) may be a word of an issue too.
    own = {"failed", "success", "timeout", "test", "lint", "code", "planner", "medium", "high", "low", "critical"}
    assert not {word for word in words - own if word in told}
    assert words & texts_of(plain), "the test looks where names are"
    by_tables = [len(set(pq.read_table(at / "cases.parquet")["issue_id"].to_pylist())) for at in (plain, hashed)]
    assert by_tables[0] == by_tables[1] == 7
    replayed = BenchOptions(executor="replay", full=True, repeats=2, ledger=tmp_path / "hashed.sqlite")
    assert run_bench(hashed, replayed).faults == 0
    # Another export has another key, so that hashes of two cannot be set side by side.
    export_tables(simulated, tmp_path / "other", hash_identifiers=True)
    assert not {text for text in texts_of(tmp_path / "other") & told if re.fullmatch("h[0-9a-f]{16}", text)}


def texts_of(folder: Path) -> set[str]:
    """Every text and key in a folder's tables, those inside of documents by themselves."""
    found: set[str] = set()

    def look(value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                found.add(name)
                look(inner if name != "hour_bucket" else None)
        elif isinstance(value, list):
            for inner in value:
                look(inner)
        elif isinstance(value, str):
            look(orjson.loads(value)) if value.startswith('{"') else found.update([value, *value.split()])

    for table in TABLES:
        look(pq.read_table(folder / table.file).to_pylist())
    return found


def test_faults_and_free_text_of_hostile_issues_are_kept_or_left_out_as_asked(tmp_path: Path) -> None:
    ledger = bench_of(tmp_path)
    export_tables(ledger, tmp_path / "plain")
    export_tables(ledger, tmp_path / "hashed", hash_identifiers=True)
    plain, hashed = ((tmp_path / name / "executions.parquet") for name in ("plain", "hashed"))
    states = pq.read_table(plain)["state"].to_pylist()
    assert len(states) == 90 and states.count("planned") == 1
    assert pq.read_table(plain)["status"].to_pylist().count("fault") == 2
    assert "window.hacked" in " ".join(texts_of(tmp_path / "plain"))
    assert "window.hacked" not in " ".join(texts_of(tmp_path / "hashed"))
    derived = [row for row in pq.read_table(hashed).to_pylist() if row["derived_from"]]
    known = set(pq.read_table(hashed)["execution_id"].to_pylist())
    assert derived and all(row["derived_from"] in known for row in derived)


def test_what_cannot_be_exported_or_replayed_is_answered_in_a_line(tmp_path: Path, simulated: Path) -> None:
    with Ledger.open(tmp_path / "empty.sqlite"):
        pass
    with pytest.raises(BenchError, match="has no case: run `planner bench` first"):
        export_tables(tmp_path / "empty.sqlite", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(BenchError, match="give a new or empty directory"):
        export_tables(simulated, tmp_path / "full")
    export_tables(simulated, tmp_path / "tables")
    options = BenchOptions(executor="replay", ledger=tmp_path / "l.sqlite", issue_ids=["nobody"])
    with pytest.raises(BenchError, match="none of its executions has an outcome of these issues"):
        run_bench(tmp_path / "tables", options)
    (tmp_path / "tables" / "cases.parquet").write_bytes(b"no parquet")
    with pytest.raises(BenchError, match=r"cases\.parquet: no table of an exported bench"):
        run_bench(tmp_path / "tables", options)
