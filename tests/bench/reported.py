"""A bench with everything that a report shows, its issues' titles hostile, and a run that was judged on it."""

from pathlib import Path
from typing import Any

import orjson

from bench.judging.judge_runs import score_runs
from bench.judging.relabel import relabel
from bench.ledger import Ledger
from planner.actions import Action
from planner.contracts.bench import BenchCase, BenchOutcome
from tests.bench.ledgers import SERIAL, VOTE, told
from tests.bench.test_objective import FAULT, outcome
from tests.trained_runs import trained

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "{{ 7 * 7 }} ${window.hacked = 1} $x_{2 -->",
    "<svg onload=alert(1)> & 'quoted'",
)
"""Titles as somebody might give them to an issue."""
LONG = Action("serial_handoff", 1, 120, "NA")
CASES = 30
MINUTE_SECONDS = 60.0


def bench_of(directory: Path) -> Path:
    """A ledger of 30 cases with passes, failures, capped and derived outcomes, faults, and one that is yet to be run.

    In the last 12, which are held out, the vote passes in all, and the serial plan, today's rule, in every third one.
    """
    path = directory / "ledger.sqlite"
    cases = [_case(number) for number in range(CASES)]
    with Ledger.open(path) as ledger:
        ledger.bind({"minute_seconds": MINUTE_SECONDS})
        ledger.add_cases([case for case, _ in cases])
        outcomes = {case.case_id: by_action for case, by_action in cases}
        waiting = ledger.planned()[1]
        for execution in ledger.planned():
            if execution == waiting:
                continue
            ledger.start([execution.execution_id])
            ledger.finish({execution.execution_id: outcomes[execution.case_id][execution.action]})
    return path


def _case(number: int) -> tuple[BenchCase, dict[Action, BenchOutcome]]:
    passes = number % 3 == 0
    serial = outcome(passes, 300_000, fail_codes=[] if passes else ["tests"], gates=[] if passes else [GATE])
    longer: dict[str, Any] = {"derived_from": f"case-{number}-a1-r0"} if number % 5 == 1 else {}
    if number % 7 == 2:
        longer = {"status": "stopped_early", "stopped_by": "capped"}
    last = FAULT if number in (4, 11) else outcome(not longer.get("status"), 900_000, **longer)
    case, outcomes = told(str(number), {SERIAL: serial, VOTE: outcome(True, 600_000), LONG: last}, day=number % 28)
    document = case.model_dump()
    title = HOSTILE[number] if number < len(HOSTILE) else f"issue {number} & more"
    document["context"]["issue"] |= {"title": title, "tags": ["<b>tag</b>"]}
    return BenchCase.model_validate(document), outcomes


GATE = {"name": "<i>test</i>", "passed": False}


def judged_run(directory: Path, ledger: Path) -> Path:
    """A run that learned from the bench's winners, with the results of judging it beside it."""
    relabel(ledger, None, directory / "winners")
    run = trained(directory / "winners", directory / "runs" / "run <1>", "epochs=3")
    report = score_runs(ledger, {run.name: run})
    (run / "regret.json").write_bytes(orjson.dumps(report.to_json()))
    return run
