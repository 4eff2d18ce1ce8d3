"""Executes actions in the simulated world that a repo was made from: the outcome is drawn, nothing is run."""

import math
from dataclasses import dataclass
from pathlib import Path

from bench.containment.limits import Deadline
from bench.executors.outcome import cut
from bench.planning.cases import CaseOrigin
from bench.testbeds.simulation.archive import failures
from bench.testbeds.simulation.world import TOOLS, SimulatedRun, World
from planner.actions import Action, executed_plan
from planner.artifacts.lenient import moment, section
from planner.artifacts.repo import Repo
from planner.contracts.bench import BenchCase, BenchOutcome, Launch
from planner.contracts.document import timestamp_to_ms
from planner.errors import BenchError


@dataclass(frozen=True)
class SimulateExecutor:
    """The world of one repo."""

    instant = True  # nothing is run
    source = None  # all that is needed travels along

    world: World

    @classmethod
    def prepare(cls, repo: Repo) -> "SimulateExecutor":
        """Find in the kernel's config which world it is; BenchError when the repo is not a simulated one."""
        world = section(repo.config, "simulation")
        if not all(isinstance(world.get(key), int) for key in ("seed", "days")):
            raise BenchError(
                f"{repo.config_path}: no simulation settings: make a simulated repo with `planner simulate`"
            )
        return cls(World(world["seed"], world["days"]))

    def execute(self, case: BenchCase, action: Action, work_dir: Path, repeat: int, deadline: Deadline) -> BenchOutcome:
        """The outcome of ``action`` at the moment of the case's context; times are those of the simulated world."""
        decided_ms = timestamp_to_ms(case.context.created_at)
        run = self.world.run(self.world.issue(case.issue_id), action, repeat, decided_ms)
        return cut(_outcome(run, action, decided_ms), deadline.cap_s)

    def lane_limit_ms(self, action: Action) -> int | None:
        """How long each agent of ``action`` may work; None for "NA" minutes."""
        minutes = action.max_minutes_bin
        return None if minutes == "NA" else 60_000 * minutes

    def wall_limit(self, action: Action) -> float:
        """The action's minutes, in the simulated world's time."""
        return math.inf if action.max_minutes_bin == "NA" else 60.0 * action.max_minutes_bin


def simulated_origin(repo: Repo, executor: SimulateExecutor) -> CaseOrigin:
    """Every issue is decided when it was filed, with the history known then; there are no commits."""
    moments = {issue_id: moment(issue, "created") for issue_id, issue in repo.issues.items()}
    return CaseOrigin(
        base_commit=f"simulated-{executor.world.seed}",
        toolchains=TOOLS,
        moments_ms={issue_id: ms for issue_id, ms in moments.items() if ms is not None},
    )


def _outcome(run: SimulatedRun, action: Action, started_ms: int) -> BenchOutcome:
    """Agent time and cost are sums over all lanes."""
    launches = [
        Launch(
            tool=lane.tool,
            started_ms=started_ms,
            duration_ms=lane.duration_ms,
            exit_code=lane.exit_code,
            cost_usd=lane.cost_usd,
        )
        for lane in run.lanes
    ]
    return BenchOutcome.model_validate(
        {
            "passed": run.passed,
            "status": run.kept.status if run.kept.status in ("success", "timeout") else "failed",
            "stopped_by": None,
            "fault": None,
            "duration_ms": run.duration_ms,
            "agent_ms": run.agent_ms,
            "cost_usd": round(sum(lane.cost_usd for lane in run.lanes), 6),
            "gates": [{"name": name, "passed": passed} for name, passed in run.gates.items()],
            "fail_codes": sorted(failures(run, action)),
            "exit_code": 0,
            "launches": launches,
            "executed_plan": executed_plan(action),
        }
    )
