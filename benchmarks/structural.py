"""How long the structural model takes on one core: to fit, to value every plan, to judge its gate, and to decide.

python -m benchmarks.structural                      650 planted cases with six trials each, 90 plans
python -m benchmarks.structural --cases 650 20000    several sizes, each in a process of its own

The planted cases have tools, issues, groups, sizes and words, so that every kernel takes part. Times are the best of
--runs in processor seconds, of a decision in ms (least / median / most). "fit" is the model with the models that lack
a fold, "plans" are all of the --questions, "policy" is what training a run takes: both, for 120 plans, and those of the
models that lack each question's fold.
The factor is that of one dense Cholesky decomposition of as many cases (at most 4,000), as a measure of the machine.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from threadpoolctl import threadpool_limits

from bench.executors.replay import SPACE, TODAYS_RULE, ReplayCase, ReplayExecutor, is_observed
from bench.executors.replay import Trial as Recorded
from planner.bundle import Bundle
from planner.dataset.trials import Trial, Trials, trials_of
from planner.decision import decide
from planner.export.structural_bundle import write_structural
from planner.policies.case_trials import sum_trials
from planner.policies.case_vocabulary import CaseVocabulary
from planner.policies.questions import Question, question_of
from planner.policies.structural import StructuralFit, fit_structural
from planner.policies.trial_policy import TrialPolicy
from planner.policies.trial_values import Known, cases_of, fit_trial_values
from planner.scoring.plan_outcome import PlanOutcomes, plan_of
from planner.scoring.utility import DEFAULT_METRICS, LIMIT_MINUTES

TOOLS, GROUPS, WORDS, WORDS_OF_ISSUE = 10, 40, 3000, 20
TRIALS_OF_CASE = 6
MAX_CHOLESKY = 4000


@dataclass(frozen=True)
class Planted:
    """A world of ``n`` cases."""

    trials: Trials
    questions: list[Question]
    contexts: list[Mapping[str, Any]]

    @classmethod
    def make(cls, n: int, *, tools: int = TOOLS, seed: int = 0) -> "Planted":
        """Issues that each of ``tools`` tried: logits and log times add up from tool, issue, group, their pair and
        the size."""
        draw = np.random.default_rng(seed)
        n_issues = -(-n // tools)
        group = draw.integers(0, GROUPS, n_issues)
        size = draw.normal(size=n_issues)
        of_issue, of_pair = draw.normal(size=(2, n_issues)), draw.normal(size=(2, GROUPS, tools))
        common = 1 / np.arange(10, 10 + WORDS)
        words = draw.choice(WORDS, size=(n_issues, WORDS_OF_ISSUE), p=common / common.sum())
        cases: dict[str, ReplayCase] = {}
        for at in range(n):
            issue, tool = divmod(at, tools)
            logit = 0.3 * (tool - tools / 2) + of_issue[0, issue] - 0.5 * size[issue] + of_pair[0, group[issue], tool]
            log_time = 2.5 + 0.4 * (size[issue] + of_issue[1, issue] + of_pair[1, group[issue], tool])
            problem = {
                "issue_id": f"problem-{issue}",
                "issue_group": f"group-{group[issue]}",
                "human_minutes": float(np.exp(4 + size[issue])),
                "text": " ".join(f"word{word}" for word in words[issue]),
            }
            minutes = np.exp(log_time + 0.4 * draw.normal(size=TRIALS_OF_CASE))
            passed = draw.random(TRIALS_OF_CASE) < 1 / (1 + np.exp(-logit))
            trials = tuple(
                Recorded(bool(p), round(60_000 * m), None, 1_700_000_000_000 + 1000 * at)
                for p, m in zip(passed, minutes, strict=True)
            )
            cases[str(at)] = ReplayCase(str(at), problem, f"tool-{tool}", trials)
        drafts = list(ReplayExecutor(cases, 60.0, {}).drafts(None, "recorded"))
        contexts = [draft.choice.context for draft in drafts]
        questions = [question_of(context, {}) for context in contexts]
        rows = [
            Trial(
                f"{case.case_id}-{at}",
                "bench",
                "code",
                case.agent,
                question.subject,
                at,
                trial.passed,
                trial.duration_ms,
                False,
                trial.started_ms,
                "train",
            )
            for case, question in zip((cases[d.choice.case_id] for d in drafts), questions, strict=True)
            for at, trial in enumerate(case.trials)
        ]
        return cls(trials_of(rows), questions, contexts)


PLANS = [plan_of(action, 1.0) for action in SPACE.valid_actions("code") if is_observed(action, TRIALS_OF_CASE)]
EVERY_PLAN = [plan_of(action, 1.0) for action in SPACE.valid_actions("code")]


def fit(planted: Planted) -> StructuralFit:
    """The model by itself."""
    trials = planted.trials
    vocabulary = CaseVocabulary.fit(trials.subjects, trials.tool.tolist())
    case, _ = cases_of(trials)
    firsts = np.unique(case, return_index=True)[1]
    cases = vocabulary.cases([trials.subjects[at] for at in firsts], trials.tool[firsts].tolist())
    seen, residuals = sum_trials(
        case, len(firsts), (trials.passed == 1).astype(np.float64), np.log(trials.duration_ms / 60_000), trials.cut
    )
    return fit_structural(vocabulary, cases, seen, residuals)


METADATA = {
    "schema_version": "cyntra.planner_bundle.v1",
    "token_profile": "planner",
    "reads": "trials",
    "outputs": ["joint"],
    "checkpoint_id": "benchmark",
    "kernel_config": {},
}


@dataclass(frozen=True)
class Figures:
    """What one size takes."""

    cases: int
    fit_s: float
    plans_s: float
    policy_s: float
    cholesky_s: float
    peak_mb: float
    bundle_kb: float
    load_ms: float
    decide_ms: list[float]


def measure(n: int, n_questions: int, runs: int) -> Figures:
    """Everything, on one core."""
    planted = Planted.make(n)
    questions = planted.questions[-n_questions:]
    fit_s, fitted = best_of(runs, lambda: fit(planted))
    plans_s, _ = best_of(runs, lambda: fitted.model.values(questions, PLANS))
    unknown = PlanOutcomes(*(np.full((len(questions), len(EVERY_PLAN)), np.nan) for _ in range(3)))
    known = Known(questions, unknown, np.full(len(questions), EVERY_PLAN.index(plan_of(TODAYS_RULE, 1.0))))
    policy_s, values = best_of(
        1, lambda: fit_trial_values(planted.trials, known, EVERY_PLAN, LIMIT_MINUTES, ("structural",))
    )
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    policy = TrialPolicy("benchmark", SPACE, values, {}, DEFAULT_METRICS, {})
    with tempfile.TemporaryDirectory(prefix="planner-benchmark-") as name:
        directory = Path(name)
        # The gate would answer for the model where it is shut.
        write_structural(directory, policy, METADATA)
        about = orjson.loads((directory / "structural.json").read_bytes())
        (directory / "structural.json").write_bytes(orjson.dumps({**about, "open": {"known": True, "new": True}}))
        bundle_kb = sum(path.stat().st_size for path in directory.iterdir()) / 1024
        load_s, bundle = best_of(3, lambda: Bundle(directory))
        times = [best_of(1, partial(decide, context, bundle))[0] for context in planted.contexts[-60:]]
    for context in planted.contexts[-3:]:
        assert decide(context, bundle).executed_plan["fallback_reason"] is None
    ms = sorted(1000 * seconds for seconds in times[10:])
    factor = np.eye(min(n, MAX_CHOLESKY)) + 1.0
    cholesky_s, _ = best_of(3, lambda: np.linalg.cholesky(factor))
    return Figures(
        n, fit_s, plans_s, policy_s, cholesky_s, peak_mb, bundle_kb, 1000 * load_s, [ms[0], ms[len(ms) // 2], ms[-1]]
    )


def best_of(runs: int, function: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of the quickest run, and what the last one returned."""
    times, found = [], None
    for _ in range(runs):
        began = time.process_time()
        found = function()
        times.append(time.process_time() - began)
    return min(times), found


def main() -> None:
    """Measure each size and print one row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="+", default=[650])
    parser.add_argument("--questions", type=int, default=1000, help="cases whose plans are valued, at most")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    if len(options.cases) > 1:
        for at, n in enumerate(options.cases):
            arguments = ["--cases", str(n), "--questions", str(options.questions), "--runs", str(options.runs)]
            command = [sys.executable, "-m", "benchmarks.structural", *arguments]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            print("\n".join(done.stdout.splitlines()[1 if at else 0 :]), flush=True)
        return
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with threadpool_limits(1):
        f = measure(options.cases[0], options.questions, options.runs)
    print(
        "  cases   fit s  plans s  fit + plans  policy s  factor s  fit/factor  peak MB  bundle KB  load ms  decide ms"
    )
    decide_ms = " / ".join(f"{ms:.1f}" for ms in f.decide_ms)
    print(
        f"{f.cases:7d} {f.fit_s:7.2f} {f.plans_s:8.2f} {f.fit_s + f.plans_s:12.2f} {f.policy_s:9.2f} "
        f"{f.cholesky_s:9.4f} {f.fit_s / f.cholesky_s:11.0f} {f.peak_mb:8.0f} {f.bundle_kb:10.0f} {f.load_ms:8.1f} "
        f" {decide_ms}"
    )


if __name__ == "__main__":
    main()
