"""What ``planner run`` and ``planner evolve`` have in common: decide, journal, dispatch, verify, record, one by one."""

import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.dispatch.artifacts import EVOLUTION, RUN, Recorded, record_run
from bench.dispatch.budget import Budget
from bench.dispatch.journal import DECIDED, ENDED, NO_RUN, RECORDED, Entry, Journal
from bench.dispatch.kernel_run import Interrupted, Kernel, KernelRun, Places, run_kernel
from bench.dispatch.options import DispatchOptions
from bench.dispatch.recovery import Say, close, recover
from bench.dispatch.report import Report
from bench.executors.cyntra.kernel_command import tool_directories
from bench.executors.cyntra.kind import command_words
from bench.executors.outcome import log_tail, total_cost
from bench.executors.places import hidden_directory
from bench.planning.cases import main_commit
from planner.actions import Action, action_from_document
from planner.artifacts.repo import Repo, locate
from planner.bundle import Bundle, BundleError, load_bundle
from planner.caps import Caps
from planner.context import ContextBuilder, system_state
from planner.decision import decide
from planner.errors import BenchError, PlannerError, UsageError


@dataclass(frozen=True)
class Choice:
    """A bundle's documents, and what of them is forced on the kernel; all None where it alone decides."""

    planner_input: dict[str, Any] | None = None
    planner_action: dict[str, Any] | None = None
    forced: Action | None = None
    reason: str | None = None
    """Why the decision is not followed."""

    def abstained(self, reason: str) -> "Choice":
        """The same decision, not followed."""
        assert self.planner_action is not None
        action = {**self.planner_action, "abstain_to_default": True, "reason": reason}
        return Choice(self.planner_input, action, None, reason)

    @property
    def text(self) -> str:
        """For a person."""
        if self.planner_action is None:
            return "the kernel decides"
        predicted = action_from_document(self.planner_action)
        if self.forced is not None:
            return f"{predicted} (confidence {self.planner_action.get('confidence', 0):.2f})"
        asked = f" (the bundle: {predicted})" if "confidence" in self.planner_action else ""
        return f"the kernel decides: {self.reason}{asked}"


class Session:
    """One command on one repo; :meth:`opened` holds the repo for it alone."""

    journal: Journal
    budget: Budget

    def __init__(
        self, root: Path, options: DispatchOptions, say: Say, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """``say`` prints a line. BenchError or UsageError when it cannot begin."""
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
        self.troubled: dict[str, str] = {}
        """Issue -> why its run left nothing: it is not tried again."""
        self._ended_s: dict[str, int] = {}

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the repo's lock and close what an earlier command left open; BenchError when another one has it."""
        with (self.directory / "lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BenchError(
                    f"{self.directory}: another `planner run` works on this repo: wait for it, or end it"
                ) from None
            self.journal = Journal(self.directory / "journal.jsonl")
            self.report.left_open = recover(self.root, self.kernel_dir, self.directory, self.journal, self.say)
            caps = self.options
            self.budget = Budget(
                now_ms(), caps.max_dollars, caps.max_hours, caps.max_dollars_per_day, caps.max_hours_per_day
            )
            yield

    def is_paused(self) -> bool:
        """Whether a cap is reached; the first time it is named."""
        paused_by = self.budget.reached(self.journal.entries.values(), now_ms())
        if paused_by is not None and self.report.paused_by != paused_by:
            self.say(f"paused by {paused_by}")
        self.report.paused_by = paused_by
        return paused_by is not None

    def decide(self, repo: Repo, issue_id: str, tools: Sequence[str]) -> Choice:
        """What the bundle says of the issue now, in a context of the planner's own; in mode off nothing."""
        if self.mode == "off":
            return Choice()
        at_ms = now_ms()
        context = ContextBuilder(repo).build(issue_id, created_ms=at_ms, system_state=system_state(tools, at_ms))
        decision = decide(context, self.bundle, mode=self.mode, caps=self.caps, kernel_config=repo.config)
        action, reason = decision.planner_action, decision.executed_plan["fallback_reason"]
        return Choice(context, action, None if reason else action_from_document(action), reason)

    def new_places(self, subject: str) -> Places:
        """Where the next run keeps its things; ``subject`` is its issue, or the world that it evolves.

        The kernel names what it leaves by subject and second, and would write over what has the same name.
        """
        while now_ms() // 1000 <= self._ended_s.get(subject, 0):
            self.sleep(0.05)
        return Places(self.directory, f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{uuid.uuid4().hex[:8]}")

    def dispatch(
        self,
        issue: dict[str, Any],
        choice: Choice,
        arguments: Sequence[str],
        places: Places,
        *,
        kind: str = RUN,
        world_id: str | None = None,
        wall_s: float | None = None,
    ) -> bool:
        """Journal the decision, run the kernel with ``arguments``, and write the decision into what that leaves.

        Whether there was a run to write it into.

        ``wall_s`` is the decision's own limit, where the kernel has none. Interrupted after Ctrl-C.
        """
        issue_id, started_ms = issue["id"], now_ms()
        self.say(f"issue {issue_id}: {choice.text}")
        self.journal.write(
            DECIDED,
            places.decision_id,
            started_ms,
            kind=kind,
            issue_id=issue_id,
            world_id=world_id,
            mode=self.mode,
            status=issue.get("status", "open"),
            planner_input=choice.planner_input,
            planner_action=choice.planner_action,
            forced=None if choice.forced is None else choice.forced._asdict(),
            reason=choice.reason,
            pid=os.getpid(),
        )
        left_s = self.budget.wall_s(self.journal.entries.values(), started_ms)
        run = run_kernel(
            self.kernel,
            arguments,
            self.root,
            places,
            started_ms=started_ms,
            wall_s=left_s if wall_s is None else min(wall_s, left_s),
        )
        own_limit = wall_s is not None and wall_s <= left_s
        return self._conclude(self.journal.entries[places.decision_id], run, places, own_limit=own_limit)

    def _conclude(self, entry: Entry, run: KernelRun, places: Places, *, own_limit: bool) -> bool:
        issue_id, report, at_ms = entry.decided["issue_id"], run.report, now_ms()
        self._ended_s[entry.decided["world_id"] or issue_id] = at_ms // 1000
        cost = total_cost(run.launches)
        self.journal.write(
            ENDED,
            entry.decision_id,
            at_ms,
            wall_ms=report.wall_ms,
            exit_code=report.exit_code,
            stopped_by=report.stopped_by,
            cost_usd=cost,
            launches=len(run.launches),
        )
        timed_out = own_limit and report.stopped_by == "walltime" and not run.interrupted
        if (run.interrupted or report.stopped_by is not None) and not timed_out:
            cause = "Ctrl-C" if run.interrupted else f"a cap on hours was reached ({report.stopped_by})"
            completed = close(self.root, self.kernel_dir, self.journal, entry, self.say, cause)
            self.report.interrupted += not completed
            if run.interrupted:
                raise Interrupted
            return completed
        try:
            recorded = record_run(self.kernel_dir, entry, len(run.launches))
            reason = f"Cyntra left no run (exit code {report.exit_code})"
        except (PlannerError, OSError) as error:
            recorded, reason = None, str(error)
        if recorded is None:
            if timed_out:
                reason = f"ended at the decision's own limit after {report.wall_ms / 1000:.0f} s, and so without result"
            self._without_run(entry, f"{reason}{log_tail(places.log)}")
            return False
        self._recorded(entry, recorded, f"{report.wall_ms / 1000:.1f} s" + ("" if cost is None else f", ${cost:.2f}"))
        for path in (places.launches, places.log):
            path.unlink(missing_ok=True)
        return True

    def _without_run(self, entry: Entry, reason: str) -> None:
        issue_id = entry.decided["issue_id"]
        self.journal.write(NO_RUN, entry.decision_id, now_ms(), reason=reason)
        self.report.without_run += 1
        self.troubled[issue_id] = reason
        self.say(f"issue {issue_id}: {reason}")

    def _recorded(self, entry: Entry, recorded: Recorded, took: str) -> None:
        plan, decided = recorded.executed_plan, entry.decided
        self.journal.write(
            RECORDED, entry.decision_id, now_ms(), archive=recorded.archive, executed_plan=recorded.executed_plan
        )
        if not recorded.as_decided:
            self.report.not_as_decided += 1
        elif decided["forced"] is not None:
            self.report.as_decided += 1
        else:
            self.report.by_itself[(decided["reason"] or "mode_off").partition(":")[0]] += 1
        ran = [f"{plan['swarm_id_executed']} x{plan['max_candidates_executed']}"]
        ran += [f"{plan['timeout_seconds_executed']} s"] if plan["timeout_seconds_executed"] is not None else []
        ran += [f"{plan['max_iterations_executed']} generations"] if decided["kind"] == EVOLUTION else []
        wrong = "" if recorded.as_decided else f"; NOT AS DECIDED: {plan['fallback_reason']}"
        self.say(f"issue {decided['issue_id']}: ran {' '.join(ran)} in {took}: {recorded.archive}{wrong}")

    def _load_bundle(self) -> Bundle | BundleError:
        if self.mode == "off" or self.options.planner_checkpoint is None:
            return BundleError("no bundle was named")
        bundle = load_bundle(self.options.planner_checkpoint)
        if isinstance(bundle, BundleError):
            self.say(f"the kernel decides by itself: {bundle}")
        return bundle


def now_ms() -> int:
    """ms since the epoch, UTC."""
    return time.time_ns() // 1_000_000
