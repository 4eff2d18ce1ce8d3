"""The report's timeline: a lane for each worker, with its name; of old ledgers lanes as far as they can be known."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.ledger import Ledger, PlannedExecution
from bench.report.figures.style import Figure
from bench.report.figures.timeline import _Bar, _bars, timeline
from bench.report.grid import read_grid
from tests.bench.ledgers import ten_cases


def ledger(path: Path, worker_of: Callable[[int], str | None], batch: int = 1) -> Path:
    """Ten cases, whose executions are begun and ended ``batch`` at a time by the workers that ``worker_of`` gives."""
    with Ledger.open(path) as opened:
        cases = ten_cases()
        outcomes = {case.case_id: by_action for case, by_action in cases}
        opened.add_cases([case for case, _ in cases])
        planned = opened.planned()
        for at in range(0, len(planned), batch):
            group: list[PlannedExecution] = planned[at : at + batch]
            opened.start([one.execution_id for one in group], worker_of(at))
            opened.finish({one.execution_id: outcomes[one.case_id][one.action] for one in group})
    return path


def figure(path: Path) -> Figure:
    found = timeline(read_grid(path, 60.0), 60_000)
    assert found is not None
    return found


def bars(path: Path) -> tuple[list[_Bar], list[str]]:
    with Ledger.read(path) as opened:
        return _bars(opened.logged())


def test_a_lane_is_a_worker_with_its_name(tmp_path: Path) -> None:
    names = ["node-b 1", "a-host-with-a-very-long-name 2", "a-host-with-a-very-long-name 10"]
    path = ledger(tmp_path / "ledger.sqlite", lambda at: names[at % 3])
    found, workers = bars(path)
    assert workers == [names[1], names[2], names[0]], "by machine, then by number"
    with Ledger.read(path) as opened:
        expected = [workers.index(str(one.worker)) for one in opened.logged() if one.outcome]
    assert sorted(bar.lane for bar in found) == sorted(expected) and set(expected) == {0, 1, 2}
    drawn = figure(path)
    assert "named by its machine and a number" in drawn.caption and "workers were busy for" in drawn.caption
    assert "by 2 workers on a-host-with-a-very-long-name, 1 worker on node-b" in drawn.summary
    for name in ("a-host-with-a-v\N{HORIZONTAL ELLIPSIS} 2", "a-host-with-a-\N{HORIZONTAL ELLIPSIS} 10", "node-b 1"):
        assert f">{name}</text>" in drawn.wide, name


def test_on_one_machine_the_caption_names_it(tmp_path: Path) -> None:
    drawn = figure(ledger(tmp_path / "ledger.sqlite", lambda at: f"laptop {at % 2 + 1}"))
    assert "A lane is a worker on laptop;" in drawn.caption and ">2</text>" in drawn.wide


def test_executions_that_a_worker_was_given_together_stand_one_after_another(tmp_path: Path) -> None:
    found, workers = bars(ledger(tmp_path / "ledger.sqlite", lambda at: "laptop 1", batch=10))
    assert workers == ["laptop 1"] and {bar.lane for bar in found} == {0}
    in_order = sorted(found, key=lambda bar: (bar.start, bar.end))
    assert all(before.end <= after.start for before, after in itertools.pairwise(in_order))


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (0, "this ledger does not say by which worker"),
        (4, "a worker on laptop; the lowest are executions of which the ledger does not say the worker"),
    ],
)
def test_what_a_ledger_does_not_say_is_said(tmp_path: Path, known: int, said: str) -> None:
    path = ledger(tmp_path / "ledger.sqlite", lambda at: "laptop 1" if at < known else None)
    assert said in figure(path).caption
    found, _ = bars(path)
    assert sum(bar.lane == 0 for bar in found) >= known and len(found) == len(read_grid(path).executions)
