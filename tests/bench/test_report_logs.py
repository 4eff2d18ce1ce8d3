"""The report's links to what executions printed."""

from pathlib import Path
from urllib.parse import unquote

import orjson

from bench.engine.execution_logs import ExecutionLogs
from bench.ledger import Ledger
from bench.report.page import write_report
from tests.bench.reported import bench_of


def test_an_execution_whose_log_was_kept_links_to_it(tmp_path: Path) -> None:
    ledger = tmp_path / "a b" / "ledger.sqlite"
    ledger.parent.mkdir()
    bench_of(ledger.parent)
    with Ledger.read(ledger) as opened:
        logged = opened.executions()[3].execution_id
    ExecutionLogs(ledger).keep(logged, b"what it printed")
    page = write_report([ledger], [], tmp_path / "pages" / "report.html")
    assert page.drilldown is not None
    data = orjson.loads(page.drilldown.json)
    assert [row[8] for case in data["cases"] for row in case["actions"] if len(row) > 8] == [[logged]]
    target = tmp_path / "pages" / unquote(f"{data['logs']}/{logged}.log")
    assert target.read_bytes() == b"what it printed"
