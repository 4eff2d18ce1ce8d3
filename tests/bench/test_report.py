"""`planner report`: what the page says is what the records say, and a browser shows it to everybody."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.judging.results import read_bench
from bench.report import drilldown as drilldown_of
from bench.report.answer import answer
from bench.report.grid import fate_of, read_grid
from bench.report.page import Page, read_page, render, write_report
from bench.report.runs import TrainedRun, read_run_record
from bench.report.sources import find_sources
from bench.report.standing import BEST_PER_CASE, RULE, SINGLE_BEST, standings
from planner.errors import UsageError
from planner.evaluation.regret_report import RegretReport
from planner.scoring.utility import limit_ms
from tests.bench.browser import browser_or_skip
from tests.bench.grouped import bench_tables
from tests.bench.ledgers import bound, write_ledger
from tests.bench.reported import HOSTILE, MINUTE_SECONDS, bench_of, judged_run
from tests.bench.test_ledger import ACTIONS, bench_case
from tests.bench.test_objective import outcome
from tests.bench.test_replay import write_tables
from tests.conftest import FIXTURES

SCHEMES = ("light", "dark")
STUDY = {
    "dataset": "d",
    "dataset_hash": "0" * 64,
    "seeds": 2,
    "rows": [
        {"policy": name, "split": "test", "issues": "all", "exact_match": value, "exact_match_low": value - 0.1}
        for name, value in (("heuristic", 0.2), ("<u>mlp</u>", 0.4))
    ],
}
TRIALS = [
    {"number": 3, "state": "complete", "val_log_likelihood": -3.2, "epochs": 5, "settings": {"lr": 0.002}},
    {"number": 2, "state": "stopped", "val_log_likelihood": -3.9, "epochs": 2, "settings": {"lr": 0.03}},
    {"number": 1, "state": "failed", "val_log_likelihood": None, "epochs": 0, "settings": {"lr": 0.1}},
]


@dataclass(frozen=True)
class Reported:
    """A bench, a run judged on it, and their page."""

    ledger: Path
    run: Path
    page: Page
    html: Path


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """Tests must not change it."""
    directory = tmp_path_factory.mktemp("reported")
    ledger = bench_of(directory)
    run = judged_run(directory, ledger)
    checkpoint = run / orjson.loads((run / "run.json").read_bytes())["best"]
    calibration = orjson.loads(next((FIXTURES / "frozen").rglob("calibration.json")).read_bytes())
    bins = [{"confidence": 0.2, "accuracy": 0.1, "examples": 4}, {"confidence": 0.7, "accuracy": 0.9, "examples": 4}]
    calibration |= {"reliability_before": bins, "reliability_after": bins}
    for name, default in (
        ("accepted", 3),
        ("examples", 8),
        ("max_risk", 0.1),
        ("guaranteed", True),
        ("threshold", 0.3),
    ):
        calibration.setdefault(name, default)
    (checkpoint / "calibration.json").write_bytes(orjson.dumps(calibration))
    matters = {"trials": 12, "importance": {"model.layers": 0.1, "lr": 0.9}}
    for name, document in (("comparison.json", STUDY), ("trials.json", TRIALS), ("importance.json", matters)):
        (directory / name).write_bytes(orjson.dumps(document))
    html = directory / "report.html"
    named = [ledger, directory / "comparison.json", directory / "trials.json"]
    return Reported(ledger, run, write_report(named, [run], html), html)


# --- what it says ---


def test_a_ledger_alone_is_judged_as_evaluate_judges_its_fixed_policies(reported: Reported) -> None:
    found = standings(read_grid(reported.ledger), None, holdout=0.4, by="time")
    report = RegretReport.from_json(orjson.loads((reported.run / "regret.json").read_bytes()))
    assert found is not None and found.n_cases == report.held_out_cases == 12
    wanted = {row.policy: row for row in report.policies}
    for name in (RULE, SINGLE_BEST, BEST_PER_CASE, "random"):
        one, score = found.get(name), wanted[name]
        assert one is not None and one.regret is not None and one.agent_minutes is not None
        assert one.regret.mean == pytest.approx(score.regret)
        assert (one.regret.low, one.regret.high) == pytest.approx((score.regret_low, score.regret_high))
        assert one.agent_minutes.mean == pytest.approx(score.mean_agent_time_s / MINUTE_SECONDS)
        if one.passed is not None:
            assert one.passed.mean == pytest.approx(score.pass_rate)


def test_choices_in_the_results_lead_to_the_scores_in_them(reported: Reported) -> None:
    report = RegretReport.from_json(orjson.loads((reported.run / "regret.json").read_bytes()))
    assert len(report.cases) == report.held_out_cases
    for row in report.policies:
        lost = [case.regret[row.policy] for case in report.cases if row.policy in case.regret]
        if row.policy != "random":
            assert sum(lost) / len(lost) == pytest.approx(row.regret)
    found = reported.page.standings
    assert found is not None
    run = found.get(reported.run.name)
    score = next(row for row in report.policies if row.policy == reported.run.name)
    # Of the choices themselves, looked up in the ledger, comes what evaluate says of them.
    assert run is not None and run.passed is not None and run.passed.mean == pytest.approx(score.pass_rate)


@pytest.mark.parametrize("name", ["own", "frozen", "replayed"])
def test_the_page_reads_outcomes_as_every_other_command_does(name: str, reported: Reported, tmp_path: Path) -> None:
    ledger = reported.ledger
    if name == "frozen":
        ledger = Path(shutil.copy(FIXTURES / "frozen" / "ledger-v2" / "ledger.sqlite", tmp_path))
    elif name == "replayed":
        trials = [(True, 5.0), (False, 50.0), (True, 80.0)]
        ledger = bench_tables(
            write_tables(tmp_path / "tables", {("p", "x"): trials, ("q", "x"): trials[::-1]}), tmp_path
        )
    grid = read_grid(ledger, MINUTE_SECONDS)
    of_case = {case.case.case_id: case for case in grid.cases}
    for result in read_bench(ledger).cases:
        wanted = {one.action: one for one in result.action_outcomes(limit_ms(MINUTE_SECONDS))}
        found = of_case[result.case.case_id].outcomes
        assert {action: str(one) for action, one in found.items()} == {a: str(one) for a, one in wanted.items()}


def test_the_answer_names_the_action_its_worth_and_what_it_took(reported: Reported) -> None:
    grid = read_grid(reported.ledger)
    alone = read_page(find_sources([reported.ledger], []), holdout=0.4, by="time")
    assert alone.answer.verdict == "fixed"
    # Of 12 held-out cases the serial plan passes 4; the vote takes 10 minutes of its two agents' time, 5 more.
    assert alone.standings is not None
    gain = alone.standings.gain(SINGLE_BEST, RULE)
    assert gain is not None and gain.won == pytest.approx(8 / 12 - 5 / 120 * 0.1 - 5 / 360 * 0.1)
    assert f"speculate_vote c=2 m=30 i=NA: on 12 unseen cases it is worth {gain.won:.3f}" in alone.answer.sentence
    assert any("planner evaluate RUN --bench" in step for step in alone.answer.next_steps)
    ran = [one for one in grid.executions if fate_of(one) in ("passed", "failed", "capped", "fault")]
    assert alone.cost is not None and alone.cost.executions == len(ran) == 90 - 1 - 4
    assert alone.answer.evidence[-1].startswith("Knowing this cost 800 agent minutes and $85.00 of 85 executions")
    judged = reported.page.answer
    assert f"“{reported.run.name}”" in judged.sentence and "unseen cases" in judged.sentence


def test_too_few_cases_say_nothing_and_what_to_measure_next(tmp_path: Path) -> None:
    cases = [(bench_case(str(n)), {action: outcome(n % 2 > 0, 60_000) for action in ACTIONS}) for n in range(4)]
    ledger = bound(write_ledger(tmp_path / "few.sqlite", cases), minute_seconds=60.0)
    page = read_page(find_sources([ledger], []), holdout=0.5, by="time")
    assert (page.answer.verdict, page.answer.sentence[:26]) == ("open", "Nothing can be said yet: 2")
    assert "planner bench" in page.answer.next_steps[0]
    render(page)
    empty = write_ledger(tmp_path / "empty.sqlite", [])
    assert read_page(find_sources([empty], []), holdout=0.4, by="time").answer.verdict == "nothing"


def test_results_without_a_bench_say_that_nothing_was_measured(reported: Reported) -> None:
    sources = find_sources([reported.html.with_name("comparison.json")], [])
    page = read_page(sources, holdout=0.4, by="time")
    assert page.answer == answer(sources, None, None) and "no bench is among these records" in page.answer.sentence
    assert "&lt;u&gt;mlp&lt;/u&gt;" in render(page)


def test_what_comes_from_records_is_text_and_never_markup(reported: Reported) -> None:
    html = reported.html.read_text("utf-8")
    outside = re.sub(r'<script type="application/json" id="data">.*?</script>', "", html, flags=re.DOTALL)
    assert "<img" not in html and "onerror=" not in outside and "window.hacked = 1</script>" not in html
    assert "<i>" not in html and "<b>" not in html and "run &lt;1&gt;" in html and "run <1>" not in html
    # Nothing is fetched from elsewhere.
    assert not re.findall(r'(?:src|href)="(?!#|data:,)', html) and not re.findall(r"url\((?!#)", html)
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    titles = {case["title"] for case in orjson.loads(data[1])["cases"]}
    assert set(HOSTILE) <= titles
    assert "49" not in {title for title in titles if "{{" in title}


def test_every_case_and_action_is_in_the_table_with_what_became_of_it(reported: Reported) -> None:
    assert reported.page.drilldown is not None
    data = orjson.loads(reported.page.drilldown.json)
    assert len(data["cases"]) == 30 and sum(len(case["actions"]) for case in data["cases"]) == 90
    fates = [data["fates"][row[1]] for case in data["cases"] for row in case["actions"]]
    counted = {fate: fates.count(fate) for fate in set(fates)}
    assert counted == {"passed": 59, "failed": 20, "capped": 4, "derived": 4, "fault": 2, "planned": 1}
    lead = data["lead"]
    order = [case["regret"][lead] for case in data["cases"] if case["held"]]
    assert order == sorted(order, reverse=True) and data["policies"][lead]["kind"] == "run"
    failing = next(row for case in data["cases"] for row in case["actions"] if data["fates"][row[1]] == "failed")
    assert failing[7] == "gate <i>test</i>, tests"


def test_a_large_bench_gives_up_the_details_of_the_least_regret(
    reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, found = read_grid(reported.ledger), reported.page.standings
    monkeypatch.setattr(drilldown_of, "MAX_BYTES", 14_000)
    made = drilldown_of.drilldown(grid, found, 60_000)
    data = orjson.loads(made.json)
    assert 0 < made.without_details < 30 == len(data["cases"])
    kept = [case["actions"] is not None for case in data["cases"]]
    assert kept == sorted(kept, reverse=True)


def test_what_cannot_be_read_is_set_aside_with_its_reason(reported: Reported, tmp_path: Path) -> None:
    shutil.copy(reported.ledger, tmp_path / "other.sqlite")
    for name in ("broken", "elsewhere"):
        (tmp_path / name).mkdir()
        shutil.copy(reported.run / "run.json", tmp_path / name / "run.json")
    (tmp_path / "broken" / "run.json").write_text("{")
    shutil.copy(reported.run / "regret.json", tmp_path / "elsewhere" / "regret.json")
    page = read_page(
        find_sources([tmp_path / "other.sqlite"], [tmp_path / "broken", tmp_path / "elsewhere"]), holdout=0.4, by="time"
    )
    reasons = {Path(one.path).parent.name + "/" + Path(one.path).name: one.reason for one in page.facts.set_aside}
    assert "judged on another ledger" in reasons["elsewhere/regret.json"]
    assert "cannot be read" in reasons[f"{tmp_path.name}/broken"]
    assert any("2 faulty executions" in name for name in reasons)
    assert page.report is None and [run.name for run in page.runs] == ["elsewhere"]


def test_a_run_is_read_to_the_line_at_which_a_crash_cut_it(reported: Reported, tmp_path: Path) -> None:
    run = Path(shutil.copytree(reported.run, tmp_path / "run"))
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "train_lo')
    found = read_run_record(run)
    assert isinstance(found, TrainedRun) and found.epochs == 3 and len(found.loss.values) == 3
    assert found.calibration is not None and found.calibration.after[1].accuracy == 0.9


def test_what_is_no_record_is_answered_in_a_line(reported: Reported, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        find_sources([tmp_path / "nowhere"], [])
    (tmp_path / "other.json").write_text('{"a": 1}')
    with pytest.raises(UsageError, match="its keys are of no result"):
        find_sources([tmp_path / "other.json"], [])
    with pytest.raises(UsageError, match="no trained run there"):
        find_sources([], [tmp_path])
    second = Path(shutil.copy(reported.ledger, tmp_path / "second.sqlite"))
    with pytest.raises(UsageError, match="a report has one ledger"):
        find_sources([reported.ledger, second], [])


def test_the_command_finds_a_repos_records_and_needs_no_torch(reported: Reported, tmp_path: Path) -> None:
    home = tmp_path / ".cyntra" / "planner"
    (home / "bench").mkdir(parents=True)
    shutil.copy(reported.ledger, home / "bench" / "ledger.sqlite")
    shutil.copytree(reported.run, home / "runs" / "run <1>")
    results = home / "runs" / "run <1>" / "regret.json"
    document = orjson.loads(results.read_bytes())
    results.write_bytes(orjson.dumps(document | {"ledger": ".cyntra/planner/bench/ledger.sqlite"}))
    code = (
        "import sys; sys.modules['torch'] = sys.modules['ray'] = None; sys.argv = ['planner', 'report'];"
        " from planner.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == reported.page.answer.sentence
    assert "set aside: 2 faulty executions: no clone" in done.stderr
    html = (tmp_path / "report.html").read_text("utf-8")
    assert reported.page.answer.sentence in unescape(html) and not list(tmp_path.glob(".report*"))


# --- what a browser shows ---


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    with browser_or_skip() as opened:
        yield opened


@dataclass
class Shown:
    """A page in a browser, and what it complained of."""

    tab: Any
    complaints: list[str]


def opened(browser: Any, html: Path, *, width: int = 1280, scheme: str = "light") -> Shown:
    tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:")) else complaints.append(request.url),
    )
    tab.goto(html.as_uri())
    return Shown(tab, complaints)


@pytest.mark.parametrize(("width", "shape"), [(1280, "wide"), (360, "narrow")])
def test_every_figure_is_drawn_and_nothing_complains(
    browser: Any, reported: Reported, width: int, shape: str, tmp_path: Path
) -> None:
    shown = opened(browser, reported.html, width=width)
    figures = shown.tab.locator("figure")
    assert figures.count() == len(reported.page.figures) + len(reported.page.variants) == 8
    for at in range(figures.count()):
        box = figures.nth(at).locator(f".{shape} svg").bounding_box()
        assert box is not None and box["width"] > 200 and box["height"] > 60
        assert figures.nth(at).locator(f".{shape} svg path").count() > 5
        assert figures.nth(at).locator("table tbody tr").count() > 0
        assert figures.nth(at).locator("p.sr").inner_text().strip()
    shown.tab.locator(".open").first.click()
    # Wide tables scroll inside themselves; the page never does.
    assert shown.tab.evaluate("document.documentElement.scrollWidth") <= width
    assert shown.complaints == [] and shown.tab.evaluate("window.hacked") is None
    shown.tab.screenshot(path=tmp_path / f"report-{shape}.png", full_page=True)
    shown.tab.close()


def test_cases_are_searched_filtered_sorted_and_opened_from_the_keyboard(browser: Any, reported: Reported) -> None:
    shown = opened(browser, reported.html)
    tab, rows = shown.tab, shown.tab.locator("#case-table > tbody > tr")
    assert rows.count() == 20 and tab.locator("#count").inner_text() == "20 of 30 cases shown"
    tab.locator("#more").click()
    assert rows.count() == 30 and tab.locator("#more").is_hidden()
    tab.locator("#which").select_option("held")
    assert rows.count() == 12
    tab.locator("#which").select_option("fault")
    assert rows.count() == 2
    tab.locator("#which").select_option("all")
    tab.locator("#search").fill("onerror")
    assert rows.count() == 1 and HOSTILE[1] in rows.first.inner_text()
    tab.locator("#search").fill("")
    tab.locator("#policy").select_option(label="today's rule")
    regrets = tab.locator('td[data-label="regret"]').all_inner_texts()
    known = [float(text) for text in regrets if text != "\N{EN DASH}"]
    assert known == sorted(known, reverse=True) and known[0] > 0.9
    head = tab.get_by_role("button", name="Agent min")
    head.focus()
    tab.keyboard.press("Enter")
    assert tab.locator('th[aria-sort="descending"]').inner_text().startswith("Agent min")
    first = tab.locator(".open").first
    first.focus()
    tab.keyboard.press("Enter")
    assert first.get_attribute("aria-expanded") == "true"
    detail = tab.locator("tr.detail")
    assert detail.locator("tbody tr").count() == 3 and "past runs in its context" in detail.inner_text()
    tab.keyboard.press("Enter")
    assert tab.locator("tr.detail").count() == 0 and shown.complaints == []
    tab.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_everybody_can_read_it_in_both_colour_schemes(browser: Any, reported: Reported, scheme: str) -> None:
    axe = pytest.importorskip("axe_core_python.sync_playwright", reason="axe-core-python is not installed")
    shown = opened(browser, reported.html, scheme=scheme)
    shown.tab.locator(".open").first.click()
    shown.tab.locator("summary").first.click()
    # What differs between the schemes is the contrast.
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa"] if scheme == "light" else ["color-contrast"]}
    found = axe.Axe().run(shown.tab, context={"exclude": [["svg"]]}, options=options)["violations"]
    assert [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found] == []
    # Figures are left out by axe: their letters have these colours.
    names = re.findall(r"--([a-z]+):", shown.tab.locator("style").text_content())
    value = "name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()"
    colours = {name: shown.tab.evaluate(value, name) for name in set(names) - {"s"}}
    paper = _luminance(colours["paper"])
    for name in set(colours) - {"paper", "raised", "line"}:
        light, dark = sorted((_luminance(colours[name]), paper), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{name} on paper"
    shown.tab.close()


def _luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, WCAG 2.2."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
