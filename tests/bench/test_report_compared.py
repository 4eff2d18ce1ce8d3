"""A report beside another one, cell by cell; and dollars beside minutes, where they are known."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.report.comparison import Comparison
from bench.report.page import Page, read_page
from bench.report.sources import find_sources
from planner.cli import app
from tests.bench.browser import browser_or_skip
from tests.bench.ledgers import SERIAL, VOTE, bound, told, write_ledger
from tests.bench.reported import HOSTILE, bench_of
from tests.bench.test_objective import outcome


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bench of tests.bench.reported."""
    return bench_of(tmp_path_factory.mktemp("here"))


@pytest.fixture(scope="module")
def other(ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, but the vote fails in case 20, takes twice as long in case 21, and case 0 was never run."""
    copy = Path(shutil.copy(ledger, tmp_path_factory.mktemp("there") / "other.sqlite"))
    with closing(sqlite3.connect(copy)) as changed:
        failed = "json_set(outcome, '$.passed', json('false'), '$.status', 'failed')"
        slow = "json_set(outcome, '$.duration_ms', 1200000)"
        for made, key in ((failed, "case-20-a1-r0"), (slow, "case-21-a1-r0")):
            assert (
                changed.execute(f"UPDATE executions SET outcome = {made} WHERE execution_id = ?", [key]).rowcount == 1
            )
        changed.execute("UPDATE executions SET outcome = NULL, state = 'planned' WHERE case_id = 'case-0'")
        changed.commit()
    return copy


def page_of(ledger: Path, against: Path | None = None) -> Page:
    other = None if against is None else find_sources([against], [])
    return read_page(find_sources([ledger], []), holdout=0.4, by="time", against=other)


def comparison_of(ledger: Path, against: Path) -> Comparison:
    found = page_of(ledger, against).comparison
    assert found is not None
    return found


def test_cells_that_differ_are_found_and_counted(ledger: Path, other: Path) -> None:
    found = comparison_of(ledger, other)
    assert found.cells is not None
    assert (found.cells.common, found.cells.only_here, found.cells.only_there) == (85, 2, 0)
    assert (found.cells.passes_more_here, found.cells.passes_more_there, found.cells.differing) == (1, 0, 2)
    first, second = found.cells.rows
    assert (first.issue, first.action, first.here.passed, first.there.passed) == ("20", str(VOTE), 1, 0)
    assert (second.issue, second.difference) == ("21", pytest.approx(10 / 120 * 0.1))
    gained = found.cells.utility_gained
    assert gained is not None and gained.low <= gained.mean <= gained.high
    assert gained.mean == pytest.approx(sum(one.difference or 0 for one in found.cells.rows) / 85)
    facts = {what: (here, there) for what, here, there in found.facts}
    assert facts["ledger: executions that ended"] == ("89", "87")


def test_policies_are_compared_on_the_unseen_cases_that_both_have(ledger: Path, other: Path) -> None:
    pairs = {one.here: one for one in comparison_of(ledger, other).policies}
    fixed = pairs["single best"]
    assert fixed.cases == fixed.same_choice == 12 and "best per case" in pairs
    # The vote failed in one of the twelve there, and was slow in another one.
    assert fixed.regret_here < fixed.regret_there and fixed.saved.mean == pytest.approx(
        fixed.regret_there - fixed.regret_here
    )


def test_a_report_beside_itself_differs_in_nothing(ledger: Path) -> None:
    found = comparison_of(ledger, ledger)
    assert found.cells is not None and found.cells.rows == () and found.facts == ()
    assert all(one.saved.mean == 0 for one in found.policies)


def test_cases_of_another_commit_are_matched_by_their_issue(ledger: Path, tmp_path: Path) -> None:
    renamed = Path(shutil.copy(ledger, tmp_path / "renamed.sqlite"))
    with closing(sqlite3.connect(renamed)) as changed:
        changed.execute("UPDATE executions SET case_id = 'new-' || case_id")
        changed.execute("UPDATE cases SET document = json_set(document, '$.case_id', 'new-' || case_id)")
        changed.execute("UPDATE cases SET case_id = 'new-' || case_id")
        changed.commit()
    found = comparison_of(ledger, renamed)
    assert found.cells is not None and (found.cells.common, found.cells.only_here, found.cells.differing) == (87, 0, 0)
    assert {one.cases for one in found.policies} == {12} and all(one.same_choice == 12 for one in found.policies)


@pytest.fixture(scope="module")
def html(ledger: Path, other: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page that the command writes."""
    out = tmp_path_factory.mktemp("page") / "report.html"
    done = CliRunner().invoke(app, ["report", str(ledger), "--against", str(other), "--out", str(out)])
    assert done.exit_code == 0
    return out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browser_or_skip() as opened:
        yield opened


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_the_comparison_can_be_read(browser: Any, html: Path, width: int, scheme: str, tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_core_python.sync_playwright", reason="axe-core-python is not installed")
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.goto(html.as_uri())
    section = tab.locator("#compared")
    assert "1 pass more often here and 0 there" in section.inner_text()
    for summary in section.locator("summary").all():
        summary.click()
    assert section.locator("#cells tbody tr").count() == 2
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(tab, context={"include": [["#compared"]]}, options={"runOnly": ["wcag2a", "wcag2aa"]})
    assert [one["id"] for one in found["violations"]] == [] and complaints == []
    section.screenshot(path=tmp_path / f"compared-{width}.png")
    tab.close()


def test_hostile_names_are_text_in_the_comparison(tmp_path: Path) -> None:
    cases = [
        told(name, {SERIAL: outcome(True, 60_000), VOTE: outcome(at > 0, 60_000)}) for at, name in enumerate(HOSTILE)
    ]
    flipped = [(case, {SERIAL: found[VOTE], VOTE: found[SERIAL]}) for case, found in cases]
    here, there = (
        bound(write_ledger(tmp_path / f"{name}.sqlite", made), minute_seconds=60.0)
        for name, made in (("here", cases), ("there", flipped))
    )
    out = tmp_path / "report.html"
    assert CliRunner().invoke(app, ["report", str(here), "--against", str(there), "--out", str(out)]).exit_code == 0
    section = out.read_text("utf-8").split('<section id="compared">')[1].split("</section>")[0]
    assert "&lt;/script&gt;" in section and "<script" not in section and 'onerror="' not in section


def test_dollars_stand_beside_minutes_where_all_that_was_chosen_has_a_cost(ledger: Path, tmp_path: Path) -> None:
    page = page_of(ledger)
    assert page.standings is not None and page.figures["tradeoff"].table.head[-2:] == ("dollars", "")
    assert {one.dollars.mean for one in page.standings.policies if one.chosen and one.dollars} == {1.0}
    assert any("agent minutes and $1.00 a case" in line for line in page.answer.evidence)
    copy = Path(shutil.copy(ledger, tmp_path / "ledger.sqlite"))
    with closing(sqlite3.connect(copy)) as changed:
        # Of today's rule in one unseen case.
        query = "UPDATE executions SET outcome = json_set(outcome, '$.cost_usd', NULL) WHERE execution_id = ?"
        assert changed.execute(query, ["case-25-a0-r0"]).rowcount == 1
        changed.commit()
    found = page_of(copy)
    assert found.standings is not None
    dollars = {one.name: one.dollars for one in found.standings.policies}
    assert dollars["heuristic"] is None and dollars["single best"] is not None
    (rule,) = (row for row in found.figures["tradeoff"].table.rows if row[0] == "today's rule")
    assert rule[-2:] == ("\N{EN DASH}", "")
