"""`planner view`: a page for this machine and for who knows its address, that follows a bench."""

import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from bench.ledger import Ledger
from bench.view.live import LOOK_EVERY_S, LivePage
from bench.view.server import PageServer
from planner.cli import app
from planner.errors import UsageError
from tests.bench.browser import browser_or_skip
from tests.bench.reported import bench_of
from tests.bench.test_objective import outcome


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of which one execution is yet to be run."""
    return bench_of(tmp_path_factory.mktemp("view"))


@pytest.fixture(scope="module")
def served(ledger: Path) -> Iterator[PageServer]:
    """The page of it; the last tests change it."""
    page, server = LivePage([ledger], []), PageServer()
    page.start()
    server.start(page)
    yield server
    server.stop()
    page.stop()


def ask(url: str, path: str | None = None, *, method: str = "GET", **headers: str) -> tuple[int, str, Any]:
    """Status, text and headers of an answer."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=10)
    connection.request(method, place.path if path is None else path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), answer.headers
    connection.close()
    return found


def finish_the_last(ledger: Path) -> None:
    """Run what is yet to be run."""
    with Ledger.open(ledger) as opened:
        (waiting,) = opened.planned()
        opened.start([waiting.execution_id])
        opened.finish({waiting.execution_id: outcome(True, 300_000)})


def until(found: Any, what: str) -> None:
    """Wait until ``found()`` is true."""
    deadline = time.monotonic() + 60
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_a_page_is_there_for_who_knows_the_token_and_asks_by_the_right_name(served: PageServer) -> None:
    status, text, headers = ask(served.url)
    assert status == 200 and "bench: 89 of 90 executions ended" in text
    assert headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"
    port = urlsplit(served.url).port
    assert ask(served.url, Host=f"localhost:{port}")[0] == 200
    # Another name that leads here is how a foreign page gets round the browser's rules.
    assert ask(served.url, Host=f"evil.example:{port}")[0] == 421
    assert ask(served.url, Host="127.0.0.1")[0] == 421
    for path in ("/", "/index.html", f"/{served.token[:-1]}/", f"/{'a' * len(served.token)}/", "/%00/", "//"):
        status, text, _ = ask(served.url, path)
        assert status == 403 and "executions" not in text, path
    assert ask(served.url, f"/{served.token}/../../etc/passwd")[0] == 404
    assert ask(served.url, method="POST")[0] == 501
    assert ask(served.url, method="HEAD")[:2] == (200, "")


def test_nothing_but_this_machine_reaches_it(served: PageServer) -> None:
    port = f"{urlsplit(served.url).port:04X}"
    listening = [
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    ]
    assert [place for place in listening if place.endswith(f":{port}")] == [f"0100007F:{port}"]


def test_ports_that_are_taken_and_records_that_are_not_there_are_answered_in_a_line(
    served: PageServer, ledger: Path
) -> None:
    port = str(urlsplit(served.url).port)
    for words, named in (([str(ledger), "--port", port], "take another one"), (["nowhere"], "no such file")):
        done = CliRunner().invoke(app, ["view", *words])
        assert isinstance(done.exception, UsageError) and named in str(done.exception)


def test_ctrl_c_ends_it_with_a_sentence_and_exit_code_0(ledger: Path, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("planner")), "view", str(ledger)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{40,}/", url) and ask(url)[0] == 200
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0 and said.splitlines()[-1] == "Stopped; the records are as they were."
    assert "Traceback" not in said and not list(tmp_path.iterdir())


def test_a_record_that_is_broken_for_a_while_leaves_the_page_as_it_was(served: PageServer, ledger: Path) -> None:
    whole = ledger.read_bytes()
    before = version_of(served)
    ledger.write_bytes(whole[:50])
    time.sleep(2 * LOOK_EVERY_S)
    assert version_of(served) == before and "89 of 90" in ask(served.url)[1]
    ledger.write_bytes(whole)
    until(lambda: version_of(served) > before, "the page of the ledger that is whole again")


def test_what_a_bench_writes_is_on_the_next_page(served: PageServer, ledger: Path) -> None:
    before = version_of(served)
    finish_the_last(ledger)
    until(lambda: version_of(served) > before, "a newer page")
    until(lambda: "bench: 90 of 90 executions ended" in ask(served.url)[1], "the last execution")


def test_a_browser_loads_what_is_new_unless_somebody_is_reading(served: PageServer, ledger: Path) -> None:
    with browser_or_skip() as browser:
        tab = browser.new_page()
        complaints: list[str] = []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(served.url)
        assert tab.locator("#live").inner_text().startswith("Live. bench: 90 of 90")
        first = tab.locator("#live").get_attribute("data-version")
        os.utime(ledger)
        tab.locator(f"#live:not([data-version='{first}'])").wait_for(timeout=60_000)
        tab.locator(".open").first.click()
        os.utime(ledger)
        load = tab.get_by_role("button", name="Show it")
        load.wait_for(timeout=60_000)
        assert tab.locator("tr.detail").count() == 1, "what was opened stays open"
        load.click()
        tab.locator("tr.detail").wait_for(state="detached", timeout=60_000)
        assert complaints == []


def version_of(served: PageServer) -> int:
    return int(ask(f"{served.url}version")[1])
