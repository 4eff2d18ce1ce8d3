"""Run by the kernel's own Python: what the kernel decides for the repos in a directory, and in which order it goes.

Nothing is dispatched: the moment in which the kernel would hand its decision to its planner ends the run.
"""

import asyncio
import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any


class Decided(Exception):
    """The kernel has decided."""


def order_of(repo: Path, config: str, universe: str | None) -> list[str]:
    """The ready issues in the order in which the kernel would start them if it had room for all."""
    from cyntra.kernel.runner import KernelRunner  # type: ignore[import-not-found]

    runner = KernelRunner(config_path=repo / ".cyntra" / config, universe_id=universe)
    runner.config.max_concurrent_workcells = runner.config.max_concurrent_tokens = 10**9
    return [issue.id for issue in runner.scheduler.schedule(runner.state_manager.load_beads_graph()).scheduled_lanes]


def decision_of(repo: Path, target: str, config: str, universe: str | None) -> Any:
    """[swarm, candidates, seconds], or "nothing" when the kernel would run nothing for the issue."""
    from cyntra.kernel.runner import KernelRunner

    runner = KernelRunner(
        config_path=repo / ".cyntra" / config, single_cycle=True, target_issue=target, universe_id=universe
    )
    seen = []

    def decide(**asked: Any) -> None:
        if asked["issue"].id == target:
            names = ("baseline_swarm_id", "baseline_max_candidates", "baseline_timeout_cap_seconds")
            seen.append([asked[name] for name in names])
        raise Decided

    runner.planner_integration.decide = decide
    runner.workcell_manager.create = lambda issue_id, **_: repo / "cell"
    with contextlib.suppress(Decided):
        asyncio.run(runner._run_cycle())
    return seen[0] if seen else "nothing"


def main(directory: Path) -> None:
    """Answers as a JSON list on stdout, for [target, whether it has a universe, config] each in a JSON list on stdin.

    Without a target the answer is the order of all.
    """
    system_path, answers = "/usr/bin:/bin", []
    for number, (target, has_universe, config) in enumerate(json.load(sys.stdin)):
        repo = directory / str(number)
        os.environ["PATH"] = f"{repo / 'tools'}{os.pathsep}{system_path}"
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                universe = "u" if has_universe else None
                answers.append(
                    order_of(repo, config, universe) if target is None else decision_of(repo, target, config, universe)
                )
        except Exception as error:
            answers.append(f"{type(error).__name__}: {error}")
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
