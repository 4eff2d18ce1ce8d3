"""The loop of ``planner run``: pick, decide, journal, dispatch, verify, record; one issue after the other."""

import fcntl
import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.dispatch.artifacts import record_run
from bench.dispatch.budget import Budget
from bench.dispatch.journal import DECIDED, ENDED, NO_RUN, RECORDED, Entry, Journal
from bench.dispatch.kernel_run import Interrupted, Kernel, KernelRun, Places, run_kernel
from bench.dispatch.options import RunOptions
from bench.dispatch.overlay import PREFIX, obstacle, run_overlay
from bench.dispatch.queue import Queue, read_queue
from bench.dispatch.recovery import Say, close, recover
from bench.executors.cyntra.kind import command_words, tool_directories
from bench.executors.cyntra.overlay import yaml_text
from bench.executors.outcome import log_tail, total_cost
from bench.executors.places import hidden_directory
from bench.planning.cases import main_commit
from planner.actions import Action, action_from_document
from planner.artifacts.repo import Repo, locate
from planner.artifacts.toolchains import Toolchain, find_toolchains
from planner.artifacts.tracked_issue import TrackedIssue, tracked
from planner.artifacts.universe import NO_UNIVERSE
from planner.context import ContextBuilder, system_state
from planner.decision import Bundle, BundleError, Caps, decide, load_bundle
from planner.errors import BenchError, PlannerError, UsageError
from planner.policies.heuristic import HeuristicPolicy

WATCH_S = 5.0
WORLD_JOB = "world_job: Cyntra runs a world issue as it runs code; its evolutions are not decided here"


@dataclass
class Report:
    """What became of a command's decisions."""

    as_decided: int = 0
    by_itself: Counter[str] = field(default_factory=Counter)
    """Reason -> runs that were the kernel's own."""
    not_as_decided: int = 0
    without_run: int = 0
    interrupted: int = 0
    not_run: dict[str, str] = field(default_factory=dict)
    """Issue that was asked for -> why it was not run."""
    paused_by: str | None = None

    @property
    def runs(self) -> int:
        """The runs that the kernel archived."""
        return self.as_decided + self.by_itself.total() + self.not_as_decided

    @property
    def is_complete(self) -> bool:
        """Whether everything that was asked for was done and recorded."""
        failures = self.not_as_decided + self.without_run + self.interrupted
        return failures == 0 and not self.not_run and self.paused_by is None

    def lines(self) -> list[str]:
        """The account, a line each."""
        found = [f"{self.runs} runs: {self.as_decided} as decided, {self.by_itself.total()} by the kernel itself"]
        found += [f"  {reason}: {n}" for reason, n in self.by_itself.most_common()]
        for n, what in (
            (self.not_as_decided, "not as decided"),
            (self.without_run, "dispatched without a run"),
            (self.interrupted, "interrupted"),
            (len(self.not_run), "asked for and not run"),
        ):
            found += [f"{n} {what}"] if n else []
        return found


@dataclass(frozen=True)
class _Choice:
    """What is dispatched: the bundle's documents, and what is forced."""

    planner_input: dict[str, Any] | None
    planner_action: dict[str, Any] | None
    forced: Action | None
    reason: str | None


class Loop:
    """One ``planner run``. Only one at a time works on a repo."""

    def __init__(self, root: Path, options: RunOptions, say: Say, sleep: Callable[[float], None] = time.sleep) -> None:
        """``say`` prints a line. BenchError or UsageError when it cannot begin."""
        if options.max_concurrent > 1:
            raise UsageError(
                f"--max-concurrent {options.max_concurrent}: two runs of kernel 0.1.0 on one repo lose each other's "
                "attempts and leave issues running: issues are run one after the other"
            )
        if options.planner_enabled and options.planner_checkpoint is None and options.mode != "off":
            raise UsageError("--planner-enabled needs --planner-checkpoint, a directory written by `planner export`")
        self.root, self.kernel_dir = locate(root)
        main_commit(self.root)
        self.options, self.say, self.sleep = options, say, sleep
        words = command_words(options.cyntra)
        self.kernel = Kernel.find(words, tool_directories(words))
        self.mode = options.mode if options.planner_enabled else "off"
        self.bundle = self._load_bundle()
        self.caps = Caps(options.max_candidates, options.max_minutes, options.max_iterations)
        self.directory = hidden_directory(self.root, "run")
        self.report = Report()
        self._troubled: dict[str, str] = {}
        self._ended_s: dict[str, int] = {}
        self._once: set[str] = set()

    def run(self) -> Report:
        """Run until nothing is left to do; Interrupted after Ctrl-C, when all that ran is ended and journalled."""
        with _alone(self.directory):
            self.journal = Journal(self.directory / "journal.jsonl")
            self.report.interrupted += recover(self.root, self.kernel_dir, self.directory, self.journal, self.say)
            options = self.options
            self.budget = Budget(
                _now_ms(),
                options.max_dollars,
                options.max_hours,
                options.max_dollars_per_day,
                options.max_hours_per_day,
            )
            while self._step():
                continue
        return self.report

    def _step(self) -> bool:
        """One issue; whether to go on."""
        repo = Repo(self.root, universe_id=self.options.universe)
        queue = read_queue(repo, HeuristicPolicy.of_repo(repo), _now_ms())
        issue_id = self._next(queue)
        if issue_id is None:
            if not self.options.watch:
                self._name_what_waits(repo, queue)
                return False
            self.sleep(WATCH_S)
            return True
        paused_by = self.budget.reached(self.journal.entries.values(), _now_ms())
        if paused_by is not None:
            if self.report.paused_by != paused_by:
                self.say(f"paused by {paused_by}")
            self.report.paused_by = paused_by
            if not self.options.watch:
                return False
            self.sleep(WATCH_S)
            return True
        self.report.paused_by = None
        self._once.add(issue_id)
        self._dispatch(repo, issue_id)
        return not self.options.once or bool(self.options.issue_ids) or self.options.watch

    def _next(self, queue: Queue) -> str | None:
        wanted = self.options.issue_ids
        for issue_id in queue.ready:
            if wanted and issue_id not in wanted:
                continue
            if issue_id not in self._troubled and not (self.options.once and issue_id in self._once):
                return issue_id
        return None

    def _name_what_waits(self, repo: Repo, queue: Queue) -> None:
        for issue_id in dict.fromkeys(self.options.issue_ids):
            if issue_id in self._once:
                continue
            issue = repo.issues.get(issue_id)
            if issue is None:
                self.report.not_run[issue_id] = "there is no such issue"
            elif issue.get("status") == "done":
                self.say(f"issue {issue_id}: done already")
                continue
            else:
                self.report.not_run[issue_id] = queue.waiting.get(issue_id, "not ready")
            self.say(f"issue {issue_id}: not run: {self.report.not_run[issue_id]}")
        if not self._once and not self.options.issue_ids:
            self.say("no issue is ready")

    def _dispatch(self, repo: Repo, issue_id: str) -> None:
        self._await_next_second(issue_id)
        decision_id = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex[:8]}"
        places = Places(self.directory, decision_id)
        toolchains = find_toolchains(repo.config, repo.root, self.kernel.search_path)
        if not toolchains:
            raise BenchError(f"{self.root}: none of the config's toolchains is on PATH: install one of their tools")
        wrappers = places.make(toolchains)
        config_path = self.kernel_dir / f"{PREFIX}{decision_id}.yaml"
        try:
            choice = self._choose(repo, issue_id, toolchains, wrappers, config_path)
            self.say(f"issue {issue_id}: {_said(choice)}")
            started_ms = _now_ms()
            self.journal.write(
                DECIDED,
                decision_id,
                started_ms,
                issue_id=issue_id,
                mode=self.mode,
                status=repo.issues[issue_id].get("status", "open"),
                planner_input=choice.planner_input,
                planner_action=choice.planner_action,
                forced=None if choice.forced is None else choice.forced._asdict(),
                reason=choice.reason,
                pid=os.getpid(),
            )
            entry = self.journal.entries[decision_id]
            wall_s = self.budget.wall_s(self.journal.entries.values(), started_ms)
            run = run_kernel(
                self.kernel,
                self._arguments(repo, issue_id, config_path),
                self.root,
                places,
                started_ms=started_ms,
                wall_s=wall_s,
            )
            self._conclude(entry, run, places)
        finally:
            config_path.unlink(missing_ok=True)
            places.clear()

    def _choose(
        self,
        repo: Repo,
        issue_id: str,
        toolchains: list[Toolchain],
        wrappers: dict[str, Path],
        config_path: Path,
    ) -> _Choice:
        """Decide, and write the config that makes the kernel follow; where nothing is forced, its own rule decides."""
        issue = TrackedIssue.of(repo.issues[issue_id])
        choice = _Choice(None, None, None, None)
        if self.mode != "off":
            choice = self._decision(repo, issue_id, [toolchain.name for toolchain in toolchains])
        if choice.forced is not None:
            reason: str | None
            try:
                _write_config(config_path, run_overlay(repo, choice.forced, issue, toolchains, wrappers))
                names = [toolchain.name for toolchain in toolchains]
                critical = tracked(repo)[1].is_on_critical_path(issue_id)
                reason = obstacle(repo, config_path, choice.forced, issue, critical, names)
            except BenchError as error:
                reason = f"cannot_be_forced: {error}"
            if reason is None:
                return choice
            choice = _abstained(choice, reason)
        _write_config(config_path, run_overlay(repo, None, issue, toolchains, wrappers))
        return choice

    def _decision(self, repo: Repo, issue_id: str, tools: list[str]) -> _Choice:
        now_ms = _now_ms()
        builder = ContextBuilder(repo)
        context = builder.build(issue_id, created_ms=now_ms, system_state=system_state(tools, now_ms))
        decision = decide(context, self.bundle, mode=self.mode, caps=self.caps, kernel_config=repo.config)
        action, reason = decision.planner_action, decision.executed_plan["fallback_reason"]
        choice = _Choice(context, action, None if reason else action_from_document(action), reason)
        return _abstained(choice, WORLD_JOB) if context["job_type"] != "code" and reason is None else choice

    def _arguments(self, repo: Repo, issue_id: str, config_path: Path) -> list[str]:
        universe = [] if repo.universe is NO_UNIVERSE else [f"--universe={repo.universe.universe_id}"]
        return ["--config", str(config_path), "run", "--once", "--issue", issue_id, *universe]

    def _conclude(self, entry: Entry, run: KernelRun, places: Places) -> None:
        """Journal what the run took, and write the decision into what it left."""
        issue_id, report, now_ms = entry.decided["issue_id"], run.report, _now_ms()
        self._ended_s[issue_id] = now_ms // 1000
        cost = total_cost(run.launches)
        self.journal.write(
            ENDED,
            entry.decision_id,
            now_ms,
            wall_ms=report.wall_ms,
            exit_code=report.exit_code,
            stopped_by=report.stopped_by,
            cost_usd=cost,
            launches=len(run.launches),
        )
        if run.interrupted or report.stopped_by is not None:
            cause = "Ctrl-C" if run.interrupted else f"a cap on hours was reached ({report.stopped_by})"
            completed = close(self.root, self.kernel_dir, self.journal, entry, self.say, cause)
            self.report.interrupted += not completed
            if run.interrupted:
                raise Interrupted
            return
        try:
            recorded = record_run(self.kernel_dir, entry, len(run.launches))
            reason = f"Cyntra archived no run (exit code {report.exit_code})"
        except (PlannerError, OSError) as error:
            recorded, reason = None, str(error)
        if recorded is None:
            reason = f"{reason}{log_tail(places.log)}"
            self.journal.write(NO_RUN, entry.decision_id, now_ms, reason=reason)
            self.report.without_run += 1
            self._troubled[issue_id] = reason
            self.say(f"issue {issue_id}: {reason}")
            return
        self.journal.write(
            RECORDED, entry.decision_id, now_ms, archive=recorded.archive, executed_plan=recorded.executed_plan
        )
        self._count(entry, recorded.as_decided)
        dollars = "" if cost is None else f", ${cost:.2f}"
        plan = recorded.executed_plan
        self.say(
            f"issue {issue_id}: ran {plan['swarm_id_executed']} x{plan['max_candidates_executed']} "
            f"{plan['timeout_seconds_executed']} s in {report.wall_ms / 1000:.1f} s{dollars}: {recorded.archive}"
            + ("" if recorded.as_decided else f"; NOT AS DECIDED: {plan['fallback_reason']}")
        )
        for path in (places.launches, places.log):
            path.unlink(missing_ok=True)

    def _count(self, entry: Entry, as_decided: bool) -> None:
        if not as_decided:
            self.report.not_as_decided += 1
        elif entry.decided["forced"] is not None:
            self.report.as_decided += 1
        else:
            reason = entry.decided["reason"] or "mode_off"
            self.report.by_itself[reason.partition(":")[0]] += 1

    def _await_next_second(self, issue_id: str) -> None:
        """The kernel names a workcell by issue and second, and an archive of that name would be overwritten."""
        while _now_ms() // 1000 <= self._ended_s.get(issue_id, 0):
            self.sleep(0.05)

    def _load_bundle(self) -> Bundle | BundleError:
        if self.mode == "off" or self.options.planner_checkpoint is None:
            return BundleError("no bundle was named")
        bundle = load_bundle(self.options.planner_checkpoint)
        if isinstance(bundle, BundleError):
            self.say(f"the kernel decides by itself: {bundle}")
        return bundle


def _abstained(choice: _Choice, reason: str) -> _Choice:
    """The same decision, not followed."""
    assert choice.planner_action is not None
    action = {**choice.planner_action, "abstain_to_default": True, "reason": reason}
    return _Choice(choice.planner_input, action, None, reason)


def _said(choice: _Choice) -> str:
    if choice.planner_action is None:
        return "the kernel decides"
    predicted = action_from_document(choice.planner_action)
    if choice.forced is None:
        return f"the kernel decides: {choice.reason}" + (
            f" (the bundle: {predicted})" if "confidence" in choice.planner_action else ""
        )
    return f"{predicted} (confidence {choice.planner_action.get('confidence', 0):.2f})"


def _write_config(path: Path, overlay: dict[str, Any]) -> None:
    path.write_text(yaml_text(overlay), "utf-8")


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold the lock of a repo's runs for the length of the block; BenchError when another command has it."""
    with (directory / "lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchError(f"{directory}: another `planner run` works on this repo: wait for it, or end it") from None
        yield


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
