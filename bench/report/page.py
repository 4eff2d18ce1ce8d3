"""The page: everything that a report shows, put together by its template into one file that needs no other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bench.judging.results import HOLDOUT, HoldOutBy
from bench.report import words
from bench.report.answer import Answer, Cost, answer, cost_of
from bench.report.comparison import Comparison, Side, compare
from bench.report.drilldown import NO_LOGS, Drilldown, KeptLogs, drilldown
from bench.report.facts import Facts, facts
from bench.report.figures.importance import importance
from bench.report.figures.learning import learning
from bench.report.figures.regrets import regrets
from bench.report.figures.reliability import reliability
from bench.report.figures.search import search
from bench.report.figures.style import Figure
from bench.report.figures.timeline import timeline
from bench.report.figures.tradeoff import tradeoff
from bench.report.figures.variants import variants
from bench.report.grid import Grid, read_grid
from bench.report.runs import TrainedRun, read_run_record
from bench.report.shares import Shares, action_shares
from bench.report.sources import STUDY_FILES, SetAside, Sources, find_sources
from bench.report.standing import Standings, standings
from bench.report.studies import Search, VariantStudy, read_study
from planner.evaluation.regret_report import RegretReport

MS_PER_MINUTE = 60_000.0


@dataclass(frozen=True)
class Page:
    """What the template is given."""

    title: str
    answer: Answer
    cost: Cost | None
    standings: Standings | None
    report: RegretReport | None
    figures: dict[str, Figure]
    variants: tuple[Figure, ...]
    """Of comparisons, ablations and searches."""
    shares: Shares | None
    runs: tuple[TrainedRun, ...]
    drilldown: Drilldown | None
    facts: Facts
    grid: Grid | None
    comparison: Comparison | None


def write_report(
    named: Sequence[Path],
    runs: Sequence[Path],
    out: Path,
    *,
    holdout: float = HOLDOUT,
    by: HoldOutBy = "time",
    against: Path | None = None,
) -> Page:
    """Write the page of these records to ``out``, whole or not at all, and return what it shows.

    ``holdout`` and ``by`` say which cases of a ledger are unseen where no results on it say so. ``against``: other
    records, to set these beside.
    """
    other = None if against is None else find_sources([against], [])
    sources = find_sources(named, runs)
    logs = NO_LOGS if sources.ledger is None else KeptLogs.of(sources.ledger, out)
    page = read_page(sources, holdout=holdout, by=by, against=other, logs=logs)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.draft")
    draft.write_text(render(page), "utf-8")
    draft.replace(out)
    return page


def read_page(
    sources: Sources,
    *,
    holdout: float,
    by: HoldOutBy,
    against: Sources | None = None,
    logs: KeptLogs = NO_LOGS,
) -> Page:
    """Everything that the records say; ``logs`` are those that the page may link to."""
    report = None if sources.judged is None else sources.judged.report
    grid, found = _judged(sources, holdout, by)
    minute_ms = _minute_ms(grid, found)
    cost = None if grid is None else cost_of(grid, minute_ms)
    set_aside = list(sources.set_aside)
    records = [read_run_record(run) for run in sources.runs]
    studies = [read_study(study) for study in sources.studies]
    set_aside += [one for one in (*records, *studies) if isinstance(one, SetAside)]
    trained = tuple(one for one in records if isinstance(one, TrainedRun))
    figures = _figures(grid, found, trained, minute_ms)
    drawn = [figure for at, one in enumerate(studies) for figure in _of_study(one, at)]
    return Page(
        title=_title(sources),
        answer=answer(sources, found, cost),
        cost=cost,
        standings=found,
        report=report,
        figures={figure.key: figure for figure in figures},
        variants=tuple(figure for figure in drawn if figure is not None),
        shares=None if found is None else action_shares(found),
        runs=trained,
        drilldown=None if grid is None else drilldown(grid, found, minute_ms, logs),
        facts=facts(sources, grid, trained, set_aside),
        grid=grid,
        comparison=None
        if against is None
        else compare(
            Side(_title(sources), grid, found, trained),
            Side(_title(against), *_judged(against, holdout, by), _runs(against)),
        ),
    )


def _of_study(study: VariantStudy | Search | SetAside, at: int) -> list[Figure | None]:
    if isinstance(study, VariantStudy):
        return [variants(study, at)]
    return [search(study, at), importance(study, at)] if isinstance(study, Search) else []


def _judged(sources: Sources, holdout: float, by: HoldOutBy) -> tuple[Grid | None, Standings | None]:
    """The ledger, and where policies stand on it."""
    report = None if sources.judged is None else sources.judged.report
    minute = None if report is None else report.minute_seconds
    grid = None if sources.ledger is None else read_grid(sources.ledger, minute)
    return grid, standings(grid, report, holdout=holdout, by=by)


def _runs(sources: Sources) -> tuple[TrainedRun, ...]:
    return tuple(one for one in map(read_run_record, sources.runs) if isinstance(one, TrainedRun))


def _figures(
    grid: Grid | None,
    found: Standings | None,
    runs: Sequence[TrainedRun],
    minute_ms: float,
) -> Iterator[Figure]:
    drawn: list[Figure | None] = []
    if found is not None:
        drawn += [tradeoff(found, honest=grid is not None and grid.is_expected), regrets(found)]
    if grid is not None:
        drawn.append(timeline(grid, minute_ms))
    drawn += [reliability(runs), learning(runs)]
    return (figure for figure in drawn if figure is not None)


def _minute_ms(grid: Grid | None, found: Standings | None) -> float:
    if found is not None:
        return found.minute_ms
    return MS_PER_MINUTE if grid is None or grid.minute_seconds is None else grid.minute_seconds * 1000


def _title(sources: Sources) -> str:
    """What the page is about: the directory that its first record lies in."""
    judged = [] if sources.judged is None else [sources.judged.path]
    ledger = [] if sources.ledger is None else [sources.ledger]
    places = [*ledger, *judged, *sources.runs, *(study.path for study in sources.studies)]
    common = (".cyntra", "planner", "bench", "runs", "ledger.sqlite", *STUDY_FILES)
    parts = [part for part in places[0].resolve().parts if part not in common]
    return parts[-1] if len(parts) > 1 else str(places[0])


@dataclass(frozen=True)
class Live:
    """Of a page that is served while its records change."""

    version: int
    progress: str
    """How far what is running has come."""


def render(page: Page, live: Live | None = None) -> str:
    """The page as HTML; ``live``: it asks the server that it came from for a newer one."""
    environment = Environment(
        loader=PackageLoader("bench.report"),
        # Whatever comes from records is text, an issue's title above all.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "share": words.share,
        "amount": words.amount,
        "utility": words.utility,
        "gain": words.gain,
        "plural": words.plural,
    }
    environment.globals["interval"] = words.interval
    template = environment.get_template("report.html.j2")
    source = environment.loader
    assert source is not None
    assets = {
        name: Markup(source.get_source(environment, file)[0])
        for name, file in (("style", "report.css"), ("script", "report.js"), ("live_script", "live.js"))
    }
    data = Markup(page.drilldown.json) if page.drilldown is not None else Markup("null")
    return template.render(page=page, live=live, data=data, **assets)
