"""The options of ``planner run`` and ``planner evolve``; sections of these names in a project file set defaults."""

from pathlib import Path
from typing import Literal

from planner.options import OptionsModel, option

DECIDES, PICKS, LIMITS, KERNEL = "Who decides", "Which issues", "What it may take", "The kernel"
"""The sections of ``planner run --help``."""


class DispatchOptions(OptionsModel):
    """Who decides, and what may be taken: of both commands."""

    planner_enabled: bool = option(False, "Let a bundle decide; without it the kernel alone does.", section=DECIDES)
    planner_checkpoint: Path | None = option(None, "Bundle that decides, from `planner export`.", section=DECIDES)
    mode: Literal["off", "log", "enforce"] = option(
        "enforce",
        "enforce (what the bundle decides is run), log (it is only recorded), or off (only the kernel).",
        section=DECIDES,
    )
    max_candidates: int | None = option(
        None, "A decision for more is not followed: the kernel runs by itself. [default: no cap]", section=DECIDES, ge=1
    )
    max_minutes: int | None = option(None, "The same for minutes. [default: no cap]", section=DECIDES, ge=1)
    max_iterations: int | None = option(None, "The same for iterations. [default: no cap]", section=DECIDES, ge=1)
    max_dollars: float | None = option(
        None,
        "US dollars that this command's runs may cost, as far as tools report. [default: no cap]",
        section=LIMITS,
        ge=0,
    )
    max_hours: float | None = option(
        None, "Hours that this command's runs may take. [default: no cap]", section=LIMITS, ge=0
    )
    max_dollars_per_day: float | None = option(
        None, "The same dollars of all runs since midnight. [default: no cap]", section=LIMITS, ge=0
    )
    max_hours_per_day: float | None = option(
        None, "The same hours of all runs since midnight. [default: no cap]", section=LIMITS, ge=0
    )
    universe: str | None = option(None, "Universe id. [default: the only one, if any]", section=KERNEL)
    cyntra: str = option(
        "cyntra", "Kernel command, may be several words; `cyntra-sandbox` in a sandbox.", section=KERNEL
    )


class RunOptions(DispatchOptions):
    """Those of ``planner run``."""

    once: bool = option(False, "One cycle: the first ready issue, or each --issue once.", section=PICKS)
    issue_ids: list[str] = option([], "Only this issue; may be repeated.", flag="--issue", section=PICKS)
    watch: bool = option(False, "Go on when nothing is ready, and look again every five seconds.", section=PICKS)
    max_concurrent: int = option(
        1,
        "Issues at the same time. Only 1: two runs of kernel 0.1.0 on one repo lose each other's attempts.",
        section=PICKS,
        ge=1,
    )


class EvolveOptions(DispatchOptions):
    """Those of ``planner evolve``."""

    issue_ids: list[str] = option([], "World issue to evolve; may be repeated.", flag="--issue", section=PICKS)
    seed: int | None = option(None, "Seed of the evolutions. [default: the world's own]", section=PICKS)
