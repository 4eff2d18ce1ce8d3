"""A repo with scripted agents and a bundle that decides by tags, and `planner run` on it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from bench.dispatch.journal import Journal
from bench.dispatch.loop import Loop
from bench.dispatch.options import RunOptions
from bench.dispatch.report import Report
from planner.artifacts.repo import Repo
from planner.contracts.document import validate
from planner.contracts.kernel import ExecutedPlan, PlannerAction, PlannerInput
from tests.bench.conftest import KernelRepo
from tests.bench.scripted_bundle import CODE_ACTIONS, write_scripted_bundle

KERNEL = f"{sys.executable} -m bench.testbeds.sandbox.kernel"
PLANNER = (sys.executable, "-c", "from planner.cli import main; main()")
ROOT = Path(__file__).parents[2]
SPECULATE_3_30 = next(n for n, a in enumerate(CODE_ACTIONS) if a[:3] == ("speculate_vote", 3, 30))
SERIAL_45 = next(n for n, a in enumerate(CODE_ACTIONS) if a[:3] == ("serial_handoff", 1, 45))


def killing(moment: str, kernel: str = KERNEL) -> str:
    """The kernel's command, as one that kills the `planner run` which starts it; see killing_kernel.py."""
    return f"{sys.executable} {Path(__file__).with_name('killing_kernel.py')} {moment} {kernel}"


class DispatchRepo:
    """A repo, a bundle, and the tag of each action that the bundle decides for."""

    def __init__(self, repo: KernelRepo) -> None:
        self.repo, self.root = repo, repo.root
        self.bundle = repo.root.parent / "bundle"
        self.tags = write_scripted_bundle(self.bundle)

    def run(self, say: Callable[[str], None] = print, **options: Any) -> Report:
        """`planner run` in this process."""
        given = {"planner_enabled": True, "planner_checkpoint": self.bundle, "cyntra": KERNEL, **options}
        return Loop(self.root, RunOptions(**given), say).run()

    def start(self, *arguments: str, kernel: str = KERNEL) -> subprocess.Popen[str]:
        """`planner run` in a process of its own."""
        enabled = ("--planner-enabled", "--planner-checkpoint", str(self.bundle), "--cyntra", kernel)
        return subprocess.Popen(
            [*PLANNER, "run", str(self.root), *enabled, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def journal(self) -> Journal:
        return Journal(self.root / ".cyntra/planner/run/journal.jsonl")

    @property
    def statuses(self) -> dict[str, str]:
        return {issue_id: issue["status"] for issue_id, issue in Repo(self.root).issues.items()}

    def documents(self, issue_id: str) -> dict[str, Any]:
        """The planner section of the issue's only archive, the same in manifest and rollout, each part valid."""
        (archive,) = (self.root / ".cyntra" / "archives").glob(f"wc-{issue_id}-*")
        section = orjson.loads((archive / "manifest.json").read_bytes())["planner"]
        if (archive / "rollout.json").exists():
            assert orjson.loads((archive / "rollout.json").read_bytes())["planner"].items() >= section.items()
        models: dict[str, Any] = {
            "planner_input": PlannerInput,
            "planner_action": PlannerAction,
            "executed_plan": ExecutedPlan,
        }
        for name, model in models.items():
            validate(model, section[name], name)
        return section

    def leftovers(self) -> list[str]:
        """What a run is to take away with it."""
        run = self.root / ".cyntra/planner/run"
        found = [*self.root.glob(".cyntra/.planner-run-*"), *run.glob("work/*"), *self.root.glob(".workcells/*")]
        return [path.name for path in found]
