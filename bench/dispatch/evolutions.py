"""``planner evolve``: evolutions of worlds with a bundle's swarm, population, generations and minutes.

Cyntra's evolve knows no limit on time: a decision's minutes are the supervisor's, and an evolution that is ended there
leaves no result. It does not look at the tracker either: whether a world's issue is done, a person says.
"""

from pathlib import Path

from bench.dispatch.artifacts import EVOLUTION
from bench.dispatch.options import EvolveOptions
from bench.dispatch.overlay import PREFIX, run_overlay
from bench.dispatch.recovery import Say
from bench.dispatch.report import Report
from bench.dispatch.session import Session
from bench.executors.cyntra.overlay import yaml_text
from bench.executors.cyntra.world_jobs import WORLD_JOB_TYPE, evolve_arguments, world_of_job
from planner.artifacts.beads import job_type_of
from planner.artifacts.repo import Repo
from planner.artifacts.toolchains import find_toolchains
from planner.artifacts.tracked_issue import TrackedIssue
from planner.artifacts.universe import NO_UNIVERSE, minute_seconds
from planner.errors import BenchError, UsageError

MINUTE_S = 60.0


def evolve_worlds(root: Path, options: EvolveOptions, say: Say) -> Report:
    """Evolve the world of each issue once, in their order; Interrupted after Ctrl-C. UsageError without an issue."""
    if not options.issue_ids:
        raise UsageError("--issue is missing: name the world's issue; it has the tags asset:world and world:<world id>")
    session = Session(root, options, say)
    with session.opened():
        for issue_id in dict.fromkeys(options.issue_ids):
            repo = Repo(session.root, universe_id=options.universe)
            if (reason := _obstacle(repo, issue_id)) is not None:
                session.report.not_run[issue_id] = reason
                say(f"issue {issue_id}: not evolved: {reason}")
                continue
            if session.is_paused():
                break
            _evolve(session, repo, issue_id, options.seed)
    return session.report


def _obstacle(repo: Repo, issue_id: str) -> str | None:
    issue = repo.issues.get(issue_id)
    if issue is None:
        return "there is no such issue"
    if job_type_of(issue) != WORLD_JOB_TYPE:
        return "no world job: it has no tag asset:world"
    if repo.universe is NO_UNIVERSE:
        return "the repo has no universe, and worlds belong to one"
    try:
        world_of_job(issue_id, issue)
    except BenchError as error:
        return str(error)
    return None


def _evolve(session: Session, repo: Repo, issue_id: str, seed: int | None) -> None:
    issue, universe = repo.issues[issue_id], repo.universe
    toolchains = find_toolchains(repo.config, repo.root, session.kernel.search_path)
    world_id = world_of_job(issue_id, issue)
    places = session.new_places(world_id)
    config_path = session.kernel_dir / f"{PREFIX}{places.decision_id}.yaml"
    try:
        wrappers = places.make(toolchains)
        choice = session.decide(repo, issue_id, [toolchain.name for toolchain in toolchains])
        overlay = run_overlay(repo, None, TrackedIssue.of(issue), toolchains, wrappers)
        config_path.write_text(yaml_text(overlay), "utf-8")
        arguments = evolve_arguments(
            universe_id=universe.universe_id,
            world_id=world_id,
            objective_id=universe.default_objective_id,
            action=choice.forced,
            seed=seed,
        )
        minutes = "NA" if choice.forced is None else choice.forced.max_minutes_bin
        # The real kernel knows real minutes only, whatever a sandbox's config says to its stand-in.
        is_real = Path(session.kernel.command[0]).name == "cyntra"
        minute_s = MINUTE_S if is_real else minute_seconds(repo.config)
        session.dispatch(
            issue,
            choice,
            ["--config", str(config_path), *arguments],
            places,
            kind=EVOLUTION,
            world_id=world_id,
            wall_s=None if minutes == "NA" else minutes * minute_s,
        )
    finally:
        config_path.unlink(missing_ok=True)
        places.clear()
