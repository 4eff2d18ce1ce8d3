"""The options of a bench, whatever performs its executions; `planner bench` makes its command line of them."""

from pathlib import Path
from typing import Literal

from planner.contracts.dataset import TokenProfile
from planner.options import OptionsModel, option
from planner.places import OR_URI

TRIED, RUN, COST, TROUBLE = "What is tried", "How and where it runs", "What it may take", "After trouble"
"""The sections of ``planner bench --help``."""
SHOW_A_LIMIT = ("deepagents", "lionagi", "li", "massgen")
"""Agents' programs that put a deadline or a countdown in front of the model. Those that kernel 0.1.0 starts by itself
(codex, claude, opencode, crush) are not among them: it passes no limit on, neither in the prompt nor in arguments."""


class BenchOptions(OptionsModel):
    """What a bench does; what an executor takes besides is in the options of its kind."""

    n_actions: int = option(4, "Different actions tried per issue.", flag="--k", section=TRIED, ge=1)
    repeats: int = option(1, "Executions per action; more than one averages noise out.", section=TRIED, ge=1)
    executor: str = option(
        "cyntra",
        "What performs executions: cyntra (the kernel), simulate (a repo from `planner simulate`), replay (recorded "
        "trials), or one of your own.",
        section=RUN,
    )
    select: Literal["coverage", "policy", "informative", "all"] = option(
        "coverage",
        "How actions are chosen: coverage (spread evenly), policy (see --policy), informative (whose outcomes would "
        "better decisions most, as the structural run in --policy has it), or all.",
        section=TRIED,
    )
    profile: TokenProfile = option(
        "planner",
        "Whose contexts the cases have: planner, or kernel for a policy that Cyntra itself runs; as in dataset build.",
        section=TRIED,
    )
    policies: list[Path] = option(
        [],
        "Trained run whose favourite and most uncertain actions are tried; may be repeated.",
        flag="--policy",
        section=TRIED,
    )
    full: bool = option(
        False,
        "Run every execution to its end, also one that cannot win any more, and those that the ledger has as capped or "
        "derived again: to judge policies by.",
        section=COST,
    )
    shown_limit: list[str] = option(
        list(SHOW_A_LIMIT),
        "Toolchain (by its name in the config, or its program's) whose agent is shown its time limit: its outcomes "
        "are run, never derived; may be repeated, and then replaces the defaults.",
        section=COST,
    )
    workers: int | None = option(None, "Executions at the same time. [default: the cluster's CPUs]", section=RUN, ge=1)
    max_case_minutes: float | None = option(
        None, "Minutes that all executions of a case may take. [default: no cap]", section=COST, ge=0
    )
    max_hours: float | None = option(
        None, "Hours that all executions may take, added up. [default: no cap]", section=COST, ge=0
    )
    max_dollars: float | None = option(
        None, "US dollars, as far as tools report their cost. [default: no cap]", section=COST, ge=0
    )
    limit: int | None = option(None, "At most this many issues. [default: all]", section=TRIED, ge=1)
    issue_ids: list[str] = option(
        [], "Only this issue, whatever its status; may be repeated.", flag="--issue", section=TRIED
    )
    ledger: Path | None = option(
        None, "Where outcomes go. [default: REPO/.cyntra/planner/bench/ledger.sqlite]", section=RUN
    )
    ledger_copy: str | None = option(
        None,
        "File to which a copy of the ledger goes, whole at any moment: at the start, once a minute and at the end.",
        section=RUN,
        metavar=f"PATH{OR_URI}",
    )
    seed: int = option(0, "Seed of the choice of actions.", section=TRIED)
    universe: str | None = option(None, "Universe id. [default: the only one, if any]", section=RUN)
    kernel_dir: Path | None = option(None, "The kernel's directory. [default: REPO/.cyntra]", section=RUN)
    work_dir: Path | None = option(
        None, "Where the throwaway clones live. [default: the system's temporary directory]", section=RUN
    )
    address: str | None = option(
        None, "Address of a running Ray. [default: RAY_ADDRESS, else Ray inside this command]", section=RUN
    )
    retry_faults: bool = option(False, "Run executions again that the machine spoiled.", section=TROUBLE)
    take_over: bool = option(
        False, "Take the ledger from a bench on another host that is known to be dead.", section=TROUBLE
    )
