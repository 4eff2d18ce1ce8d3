"""Run by the kernel's own Python: what the kernel decides for the repos in a directory.

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


def decision_of(repo: Path, target: str, universe: str | None) -> Any:
    """[swarm, candidates, seconds], or "nothing" when the kernel would run nothing for the issue."""
    from cyntra.kernel.runner import KernelRunner  # type: ignore[import-not-found]

    runner = KernelRunner(
        config_path=repo / ".cyntra" / "config.yaml", single_cycle=True, target_issue=target, universe_id=universe
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
    """Answers as a JSON list on stdout, for targets as a JSON list on stdin."""
    system_path, answers = "/usr/bin:/bin", []
    for number, (target, has_universe) in enumerate(json.load(sys.stdin)):
        repo = directory / str(number)
        os.environ["PATH"] = f"{repo / 'tools'}{os.pathsep}{system_path}"
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                answers.append(decision_of(repo, target, "u" if has_universe else None))
        except Exception as error:
            answers.append(f"{type(error).__name__}: {error}")
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
