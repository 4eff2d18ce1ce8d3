"""The loop of ``planner run``: ready issues in the kernel's order, one after the other, on the user's own repo."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.dispatch.kernel_run import Places
from bench.dispatch.options import RunOptions
from bench.dispatch.overlay import PREFIX, obstacle, run_overlay
from bench.dispatch.queue import Queue, read_queue
from bench.dispatch.recovery import Say
from bench.dispatch.report import Report
from bench.dispatch.session import Choice, Session, now_ms
from bench.executors.cyntra.overlay import yaml_text
from planner.artifacts.beads import job_type_of
from planner.artifacts.repo import Repo
from planner.artifacts.toolchains import Toolchain, find_toolchains
from planner.artifacts.tracked_issue import TrackedIssue
from planner.artifacts.universe import NO_UNIVERSE
from planner.errors import BenchError, UsageError
from planner.policies.heuristic import HeuristicPolicy

WATCH_S = 5.0
WORLD_JOB = "world_job: Cyntra runs a world's issue as it runs code: its evolutions are decided by `planner evolve`"


class Loop:
    """One ``planner run``."""

    def __init__(self, root: Path, options: RunOptions, say: Say, sleep: Callable[[float], None] = time.sleep) -> None:
        """As :class:`Session`; UsageError for more than one issue at a time."""
        if options.max_concurrent > 1:
            raise UsageError(
                f"--max-concurrent {options.max_concurrent}: two runs of kernel 0.1.0 on one repo lose each other's "
                "attempts and leave issues running: issues are run one after the other"
            )
        self.session = Session(root, options, say, sleep)
        self.options, self.say, self.sleep = options, say, sleep
        self._dispatched: set[str] = set()
        self._states: dict[str, tuple[Any, Any]] = {}
        """Issue -> what the tracker said of it before its last run."""

    def run(self) -> Report:
        """Run until nothing is left to do; Interrupted after Ctrl-C, when all that ran is ended and journalled."""
        with self.session.opened():
            while self._step():
                continue
        return self.session.report

    def _step(self) -> bool:
        """One issue; whether to go on."""
        repo = Repo(self.session.root, universe_id=self.options.universe)
        self._set_aside_unchanged(repo)
        queue = read_queue(repo, HeuristicPolicy.of_repo(repo), now_ms())
        issue_id = self._next(queue)
        if issue_id is not None and not self.session.is_paused():
            self._dispatched.add(issue_id)
            self._dispatch(repo, issue_id)
            return not self.options.once or bool(self.options.issue_ids) or self.options.watch
        if self.options.watch:
            self.sleep(WATCH_S)
        elif issue_id is None:
            self._name_what_waits(repo, queue)
        return self.options.watch

    def _set_aside_unchanged(self, repo: Repo) -> None:
        """Issues of which the tracker says after a run what it said before: they would be run again for ever."""
        for issue_id, state in list(self._states.items()):
            if _state(repo, issue_id) == state and issue_id not in self.session.troubled:
                reason = "the tracker says nothing of its run: .beads/issues.jsonl is as before"
                self.session.troubled[issue_id] = self.session.report.not_run[issue_id] = reason
                self.say(f"issue {issue_id}: not run again: {reason}")

    def _next(self, queue: Queue) -> str | None:
        wanted, tried = self.options.issue_ids, set(self.session.troubled)
        if self.options.once:
            tried |= self._dispatched
        return next((key for key in queue.ready if key not in tried and (not wanted or key in wanted)), None)

    def _name_what_waits(self, repo: Repo, queue: Queue) -> None:
        for issue_id in dict.fromkeys(self.options.issue_ids):
            if issue_id in self._dispatched:
                continue
            issue = repo.issues.get(issue_id)
            if issue is not None and issue.get("status") == "done":
                self.say(f"issue {issue_id}: done already")
                continue
            reason = "there is no such issue" if issue is None else queue.waiting.get(issue_id, "not ready")
            self.session.report.not_run[issue_id] = reason
            self.say(f"issue {issue_id}: not run: {reason}")
        if not self._dispatched and not self.options.issue_ids:
            self.say("no issue is ready")

    def _dispatch(self, repo: Repo, issue_id: str) -> None:
        toolchains = find_toolchains(repo.config, repo.root, self.session.kernel.search_path)
        if not toolchains:
            raise BenchError(f"{repo.root}: none of the config's toolchains is on PATH: install one of their tools")
        places = self.session.new_places(issue_id)
        config_path = self.session.kernel_dir / f"{PREFIX}{places.decision_id}.yaml"
        try:
            choice = self._choose(repo, issue_id, toolchains, places, config_path)
            arguments = ["--config", str(config_path), "run", "--once", "--issue", issue_id]
            if repo.universe is not NO_UNIVERSE:
                arguments.append(f"--universe={repo.universe.universe_id}")
            if self.session.dispatch(repo.issues[issue_id], choice, arguments, places):
                self._states[issue_id] = _state(repo, issue_id)
        finally:
            config_path.unlink(missing_ok=True)
            places.clear()

    def _choose(
        self, repo: Repo, issue_id: str, toolchains: list[Toolchain], places: Places, config_path: Path
    ) -> Choice:
        """Decide, and write the config that makes the kernel follow; where nothing is forced, its own rule decides."""
        wrappers = places.make(toolchains)
        issue, names = TrackedIssue.of(repo.issues[issue_id]), [toolchain.name for toolchain in toolchains]
        choice = self.session.decide(repo, issue_id, names)
        if choice.forced is not None and job_type_of(repo.issues[issue_id]) != "code":
            choice = choice.abstained(WORLD_JOB)
        if choice.forced is not None:
            reason: str | None
            try:
                _write_config(config_path, run_overlay(repo, choice.forced, issue, toolchains, wrappers))
                critical = repo.tracked[1].is_on_critical_path(issue_id)
                reason = obstacle(repo, config_path, choice.forced, issue, critical, names)
            except BenchError as error:
                reason = f"cannot_be_forced: {error}"
            if reason is None:
                return choice
            choice = choice.abstained(reason)
        _write_config(config_path, run_overlay(repo, None, issue, toolchains, wrappers))
        return choice


def _state(repo: Repo, issue_id: str) -> tuple[Any, Any]:
    issue = repo.issues.get(issue_id, {})
    return issue.get("status"), issue.get("dk_attempts")


def _write_config(path: Path, overlay: dict[str, Any]) -> None:
    path.write_text(yaml_text(overlay), "utf-8")
