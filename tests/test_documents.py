"""What a stranger reads first is short, leads somewhere, and says of the code what the code says."""

import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.ledger import Ledger
from benchmarks.write_results import PAGE, page
from tests.bench.test_ledger import bench_case
from tests.bench.test_objective import FAULT, outcome

ROOT = Path(__file__).parents[1]
PACKAGES = ("planner", "bench", "tune", "cluster", "schemas", "tests", "benchmarks")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / name / "README.md" for name in PACKAGES)])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def links(path: Path) -> Iterator[str]:
    """Targets of a page's links, those in code left out."""
    yield from LINK.findall(re.sub(r"`[^`\n]*`", "", FENCE.sub("", path.read_text("utf-8"))))


def anchors(path: Path) -> set[str]:
    """What a link may name after the # of a page."""
    text = FENCE.sub("", path.read_text("utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title.lower())).strip("-") for title in titles}


def trouble_with(path: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for link in links(path):
        target, _, anchor = link.partition("#")
        page = (path.parent / target).resolve() if target else path
        if link.startswith(("http:", "https:")):
            continue
        if not page.exists() or (anchor and anchor not in anchors(page)):
            found.append(f"{path.relative_to(ROOT)}: {link}")
    return found


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(path: Path) -> None:
    assert trouble_with(path) == []


def test_a_link_that_leads_nowhere_would_be_noticed(tmp_path: Path) -> None:
    page = ROOT / "docs" / "glossary.md"
    assert trouble_with(page) == [] and "data" in anchors(page)
    broken = tmp_path / "page.md"
    broken.write_text("[a](nowhere.md) `[b](code.md)` [c](#here) [d](#Here)\n# Here\n```\n[e](code.md)\n```\n")
    assert [link for link in links(broken)] == ["nowhere.md", "#here", "#Here"]
    assert anchors(broken) == {"here"}


def test_every_package_says_in_a_few_lines_what_it_is() -> None:
    for name in PACKAGES:
        assert 5 <= len((ROOT / name / "README.md").read_text("utf-8").splitlines()) <= 20


def test_the_page_of_commands_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, ".ci/write_reference.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_page_of_results_is_put_together_from_its_sections() -> None:
    assert PAGE.read_text("utf-8") == page()


def test_what_the_code_cites_of_the_kernels_contract_is_there() -> None:
    sections = re.findall(r"^## (\d)\. ", (ROOT / "docs" / "kernel-contract.md").read_text("utf-8"), re.MULTILINE)
    cited = []
    for name in PACKAGES:
        for path in (ROOT / name).rglob("*.py"):
            cited += re.findall(r"kernel-contract\.md, (?:table of )?sections? (\d)", path.read_text("utf-8"))
    assert len(cited) > 10 and set(cited) <= set(sections)


QUERIES = re.findall(
    r"^```sql\n(.*?)^```$", (ROOT / "docs" / "debugging.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with a passing, a failing, a faulty and a running execution."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.sqlite"
    gates = [{"name": "test", "passed": False}]
    with Ledger.open(path) as writer:
        writer.add_cases([bench_case("1"), bench_case("2")])
        first, second, third, fourth = (execution.execution_id for execution in writer.planned())
        writer.start([first, second, third, fourth])
        failed = outcome(passed=False).model_dump() | {"gates": gates}
        writer.finish({first: outcome(), second: type(outcome()).model_validate(failed), third: FAULT})
        running = path.with_name("running.sqlite")
        shutil.copy(path, running)
        shutil.copy(path.with_name("ledger.sqlite-wal"), path.with_name("running.sqlite-wal"))
    return running


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: " ".join(query.split())[:60])
def test_every_query_of_the_page_on_debugging_answers(query: str, ledger: Path) -> None:
    assert sqlite3.connect(ledger).execute(query).fetchall()


def test_there_are_queries() -> None:
    assert len(QUERIES) >= 7
