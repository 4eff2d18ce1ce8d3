"""Tests of the ledger: its states, its lock, and what a killed owner leaves."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.containment.process_identity import ProcessIdentity
from bench.ledger import Ledger, Spent
from planner.actions import Action, ActionSpace
from planner.contracts.bench import BenchCase
from planner.errors import BenchError
from tests.bench.test_objective import FAULT, outcome

ACTIONS = [Action("serial_handoff", 1, 15, "NA"), Action("speculate_vote", 2, 30, "NA")]


def bench_case(issue_id: str) -> BenchCase:
    issue = {"issue_id": issue_id, "dk_priority": "P2", "dk_risk": "low", "dk_size": "M", "dk_tool_hint": None}
    context: dict[str, Any] = {
        "schema_version": "cyntra.planner_input.v1",
        "created_at": "2026-11-22T19:49:03Z",
        "universe_id": "default",
        "job_type": "code",
        "universe_defaults": {"swarm_id": None, "objective_id": None},
        "issue": {**issue, "dk_attempts": 0, "tags": []},
        "history": {"last_n_similar_runs": []},
        "action_space": ActionSpace.default(["serial_handoff", "speculate_vote"]).to_document(),
        "system_state": None,
    }
    return BenchCase.model_validate(
        {
            "schema_version": "cyntra.bench_case.v1",
            "case_id": f"case-{issue_id}",
            "issue_id": issue_id,
            "base_commit": "0" * 40,
            "context": context,
            "actions": [action._asdict() for action in ACTIONS],
        }
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "ledger.sqlite"


def test_an_execution_goes_from_planned_over_started_to_finished_once(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.add_cases([bench_case("1")])
        first, second = ledger.planned()
        assert [first.action, second.action] == ACTIONS
        ledger.start([first.execution_id])
        with pytest.raises(BenchError, match="not in the state"):
            ledger.start([first.execution_id])
        ledger.finish({first.execution_id: outcome()})
        with pytest.raises(BenchError, match="not in the state"):
            ledger.finish({first.execution_id: outcome()})
        with pytest.raises(BenchError, match="not in the state"):
            ledger.finish({second.execution_id: outcome()})
        assert (ledger.progress().planned, ledger.progress().finished, ledger.progress().passed) == (1, 1, 1)


def test_documents_come_back_as_they_were_stored(path: Path) -> None:
    cases = [bench_case("1"), bench_case("2; rm -rf /\n\"'")]
    with Ledger.open(path) as ledger:
        ledger.add_cases(cases)
        for execution in ledger.planned():
            ledger.start([execution.execution_id])
            ledger.finish({execution.execution_id: outcome(cost=0.125)})
    with Ledger.read(path) as reader:
        assert reader.cases() == cases
        (finished, _) = reader.executions(cases[1].case_id)
        assert (finished.case_id, finished.outcome) == (cases[1].case_id, outcome(cost=0.125))
        assert len(reader.executions()) == 4


def test_adding_the_same_cases_again_changes_nothing_and_more_repeats_are_added(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.add_cases([bench_case("1")])
        ledger.add_cases([bench_case("1")])
        assert ledger.progress().total == 2
        ledger.add_cases([bench_case("1")], repeats=3)
        assert ledger.progress().total == 6


def test_faults_can_be_planned_again(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.add_cases([bench_case("1")])
        for execution, result in zip(ledger.planned(), (FAULT, outcome(False)), strict=True):
            ledger.start([execution.execution_id])
            ledger.finish({execution.execution_id: result})
        assert ledger.progress().faults == 1
        assert ledger.plan_faults_again() == 1
        assert (ledger.progress().planned, ledger.progress().finished, ledger.progress().faults) == (1, 1, 0)
        # Its earlier attempts are forgotten, so that it has as many as any other, and what they used up is not.
        (again,) = ledger.planned()
        assert (again.action, again.attempts, ledger.progress().retried) == (ACTIONS[0], 0, 0)
        assert ledger.spent()["case-1"].time_ms == FAULT.duration_ms + outcome().duration_ms


def test_what_was_taken_back_has_used_up_its_time_and_is_an_attempt_more(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.add_cases([bench_case("1")])
        first, _ = ledger.planned()
        for spent_ms in (700, 50):
            ledger.start([first.execution_id])
            ledger.plan_again(first.execution_id, "its worker was lost", spent_ms)
        assert (ledger.planned()[0].attempts, ledger.progress().retried) == (2, 1)
        ledger.start([first.execution_id])
        ledger.finish({first.execution_id: outcome(cost=0.5)})
        assert ledger.spent() == {"case-1": Spent(750 + outcome().duration_ms, 0.5)}


def test_executions_and_cases_come_in_the_order_in_which_they_were_added(path: Path) -> None:
    names = ["z", "a", "m"]
    with Ledger.open(path) as ledger:
        ledger.add_cases([bench_case(name) for name in names])
        order = [f"case-{name}" for name in names]
        assert [case.case_id for case in ledger.cases()] == order
        assert [execution.case_id for execution in ledger.planned()] == [name for name in order for _ in ACTIONS]
        ids = [execution.execution_id for execution in ledger.planned()]
        for key in reversed(ids):
            ledger.start([key])
            ledger.finish({key: outcome()})
        assert [execution.execution_id for execution in ledger.executions()] == ids


def test_a_bench_lasts_from_its_first_start_to_its_last_end(path: Path) -> None:
    with Ledger.open(path) as ledger:
        assert ledger.span_ms() == (0, 0)
        ledger.add_cases([bench_case("1")])
        first, second = (execution.execution_id for execution in ledger.planned())
        ledger.start([first])
        time.sleep(0.02)
        ledger.start([second])
        ledger.finish({second: outcome()})
        time.sleep(0.02)
        ledger.finish({first: outcome()})
        with sqlite3.connect(path) as connection:
            rows = connection.execute("SELECT started_ms, finished_ms FROM executions ORDER BY position").fetchall()
        assert ledger.span_ms() == (rows[0][0], rows[0][1])
        assert rows[0][0] < rows[1][0] <= rows[1][1] < rows[0][1]


def test_progress_counts_stopped_and_failed_executions_apart(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.add_cases([bench_case("1"), bench_case("2")])
        results = (outcome(), outcome(False), outcome(False, status="stopped_early"))
        for execution, result in zip(ledger.planned(), results, strict=False):
            ledger.start([execution.execution_id])
            ledger.finish({execution.execution_id: result})
        ledger.start([ledger.planned()[0].execution_id])
        found = ledger.progress()
        assert (found.started, found.finished, found.passed, found.capped, found.faults) == (1, 3, 1, 1, 0)
        assert found.total == 4


def test_a_second_live_bench_is_refused_while_readers_are_not(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.add_cases([bench_case("1")])
        code = "import sys; from pathlib import Path; from bench.ledger import Ledger; Ledger.open(Path(sys.argv[1]))"
        second = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
        assert f"{path}: another bench writes to it (process " in second.stderr
        with Ledger.read(path) as reader:
            assert len(reader.cases()) == 1
            with pytest.raises(BenchError, match="readonly"):
                reader.add_cases([bench_case("2")])
    Ledger.open(path).close()


def test_a_killed_owners_lock_is_taken_over_and_its_started_executions_are_planned_again(path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from bench.ledger import Ledger\n"
        "from tests.bench.test_ledger import bench_case\n"
        "ledger = Ledger.open(Path(sys.argv[1])); ledger.add_cases([bench_case('1')])\n"
        "ledger.start([ledger.planned()[0].execution_id]); os.kill(os.getpid(), 9)"
    )
    owner = subprocess.run([sys.executable, "-c", code, str(path)])
    assert owner.returncode == -signal.SIGKILL
    with Ledger.read(path) as reader:
        assert reader.progress().started == 1
    with Ledger.open(path) as ledger:
        assert [execution.attempts for execution in ledger.planned()] == [0, 0], "a death of the driver is no attempt"


def set_owner(path: Path, **owner: object) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('owner', ?)", [json.dumps(owner)])


def test_a_number_that_the_system_gave_out_again_is_not_taken_for_the_owner(path: Path) -> None:
    Ledger.open(path).close()
    own = ProcessIdentity.own()
    set_owner(path, host=own.host, pid=own.pid, started_ticks=own.started_ticks - 1)
    Ledger.open(path).close()


def test_an_owner_on_another_host_is_only_replaced_on_demand(path: Path) -> None:
    Ledger.open(path).close()
    set_owner(path, host="elsewhere", pid=1, started_ticks=1)
    with pytest.raises(BenchError, match=r"on host elsewhere.*--take-over"):
        Ledger.open(path)
    Ledger.open(path, take_over=True).close()


@pytest.mark.parametrize("before", ["nothing", "a dead owner", "an old version"])
def test_of_benches_that_start_at_the_same_instant_one_wins_and_the_others_name_it(tmp_path: Path, before: str) -> None:
    code = (
        "import sys; from pathlib import Path; from bench.ledger import Ledger; from planner.errors import BenchError\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        "    try:\n"
        "        ledger = Ledger.open(Path(line.strip()))\n"
        "        print('won', flush=True); sys.stdin.readline(); ledger.close()\n"
        "    except BenchError as error:\n"
        "        print(error, flush=True); sys.stdin.readline()"
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    try:
        assert [answer(racer) for racer in racers] == ["ready"] * 4
        for number in range(10):
            path = tmp_path / str(number)
            if before == "a dead owner":
                Ledger.open(path).close()
                set_owner(path, host=ProcessIdentity.own().host, pid=4194999, started_ticks=1)
            elif before == "an old version":
                make_old(path)
            for racer in racers:
                send(racer, str(path))
            answers = {racer.pid: answer(racer) for racer in racers}
            (winner,) = [pid for pid, text in answers.items() if text == "won"]
            refused = f"{path}: another bench writes to it (process {winner}): wait for its end, or stop it"
            assert sorted(answers.values()) == sorted([refused] * 3 + ["won"])
            for racer in racers:
                send(racer, "")
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()


def send(racer: subprocess.Popen[str], line: str) -> None:
    assert racer.stdin is not None
    racer.stdin.write(line + "\n")
    racer.stdin.flush()


def answer(racer: subprocess.Popen[str]) -> str:
    assert racer.stdout is not None
    return racer.stdout.readline().strip()


def make_old(path: Path) -> None:
    """What version 1 of the ledger had: three columns fewer."""
    Ledger.open(path).close()
    with sqlite3.connect(path) as connection:
        for column in ("spent_ms", "trouble", "worker"):
            connection.execute(f"ALTER TABLE executions DROP COLUMN {column}")
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'schema_version'")
    connection.close()


def test_a_bench_whose_ledger_was_taken_over_writes_no_more_and_leaves_the_new_owner_its_lock(path: Path) -> None:
    ledger = Ledger.open(path)
    ledger.add_cases([bench_case("1")])
    first = ledger.planned()[0].execution_id
    ledger.start([first])
    # As one on another host does with --take-over, in the belief that the first is dead.
    set_owner(path, host="elsewhere", pid=7, started_ticks=1)
    with pytest.raises(BenchError, match=r"taken over from this bench, now owned by process 7 on host elsewhere"):
        ledger.finish({first: outcome()})
    ledger.close()
    with pytest.raises(BenchError, match="in use by process 7 on host elsewhere"):
        Ledger.open(path)
    with Ledger.open(path, take_over=True) as ledger:
        assert (ledger.progress().planned, ledger.progress().finished) == (2, 0)


def test_other_settings_are_refused(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.bind({"command": ["cyntra"]})
        ledger.bind({"command": ["cyntra"]})
        with pytest.raises(BenchError, match=r"made with command \['cyntra'\].*--ledger"):
            ledger.bind({"command": ["cyntra-sandbox"]})


def test_what_is_no_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("this is no database, however long it may be " * 100)
    for read in (Ledger.open, Ledger.read):
        with pytest.raises(BenchError, match="text: cannot be used as a ledger"):
            read(tmp_path / "text")
    with pytest.raises(BenchError, match="no ledger; make one with"):
        Ledger.read(tmp_path / "none")
    with sqlite3.connect(tmp_path / "newer") as connection:
        connection.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT)")
        connection.execute("INSERT INTO meta VALUES ('schema_version', '99')")
    with pytest.raises(BenchError, match="version 99"):
        Ledger.open(tmp_path / "newer")


def test_an_outcome_that_another_execution_told_has_used_up_nothing(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.add_cases([bench_case("1")])
        first, second = ledger.planned()
        ledger.start([first.execution_id, second.execution_id])
        told = outcome(duration_ms=5000, cost=2.0, derived_from=first.execution_id)
        ledger.finish({first.execution_id: outcome(duration_ms=3000, cost=1.0), second.execution_id: told})
        assert ledger.spent() == {"case-1": Spent(3000, 1.0)}


def test_a_copy_of_the_file_alone_holds_what_was_planned_while_the_bench_still_runs(path: Path, tmp_path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.add_cases([bench_case("1")])
        shutil.copyfile(path, tmp_path / "copy.sqlite")
    with Ledger.read(tmp_path / "copy.sqlite") as copy:
        assert (len(copy.cases()), copy.progress().planned) == (1, 2)


@pytest.mark.parametrize("left", [0, 50, -962, -1])
def test_a_ledger_that_was_emptied_or_cut_short_is_refused(path: Path, left: int) -> None:
    with Ledger.open(path) as ledger:
        ledger.add_cases([bench_case(str(number)) for number in range(20)])
    data = path.read_bytes()
    path.write_bytes(data[:left])
    for opened in (Ledger.open, Ledger.read):
        with pytest.raises(BenchError, match=r"(empty|cut short|no SQLite file).*--ledger"):
            opened(path)
    assert path.read_bytes() == data[:left]


def test_a_ledger_with_damaged_pages_is_refused(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.add_cases([bench_case(str(number)) for number in range(20)])
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2048] = b"\xff" * 2048
    path.write_bytes(data)
    with pytest.raises(BenchError, match=r"ledger\.sqlite: (damaged|cannot be used)"):
        Ledger.open(path)


def test_a_ledger_is_read_where_nothing_can_be_written(path: Path) -> None:
    with Ledger.open(path) as ledger:
        ledger.add_cases([bench_case("1")])
    code = (
        "import sys; from pathlib import Path; from bench.ledger import Ledger\n"
        "with Ledger.read(Path(sys.argv[1])) as ledger: print(len(ledger.cases()))"
    )
    read = f"mount --bind -o ro '{path.parent}' '{path.parent}' && '{sys.executable}' -c \"$0\" '{path}'"
    done = subprocess.run(["unshare", "-rm", "bash", "-c", read, code], capture_output=True, text=True)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
    assert done.stdout.strip() == "1", done.stderr
