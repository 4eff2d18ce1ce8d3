"""`planner evaluate --bench`: regret of trained runs against the best of K, on a bench's held-out cases."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.judging.episodes import Ask, Context, episode_scores
from bench.judging.online import Decided, caps_of, kernel_confidence, online_report
from bench.judging.provenance import Provenance, provenance
from bench.judging.relabel import builder_of, cases_dataset
from bench.judging.results import (
    HOLDOUT,
    BenchResults,
    CaseResults,
    HoldOutBy,
    hold_out,
    prefer_full,
    read_bench,
    spending,
)
from bench.ledger import Ledger
from bench.ledger_file import repo_of
from planner.actions import HEADS, Action, ActionSpace, action_from_document
from planner.artifacts.repo import Repo
from planner.contracts.dataset import DatasetInfo
from planner.contracts.kernel import ContextBuilderName
from planner.dataset.outcomes import Outcomes, make_outcomes
from planner.dataset.storage import inputs_of_split
from planner.encoding.inputs import Inputs, inputs_of_contexts
from planner.errors import ArtifactError, BenchError
from planner.evaluation.regret_report import CaseChoices, Gain, LabelPrice, RegretReport
from planner.policies.policy import Policy
from planner.policies.registry import fit_baselines
from planner.policies.single_best import SingleBest
from planner.runs.fitted import RunPolicy, load_run_policy
from planner.scoring.preferences import (
    JointScores,
    Preference,
    best_per_case,
    fixed_choices,
    policy_preference,
    uniform,
)
from planner.scoring.regret import PolicyScore, Won, chosen_rows, lost_within, regret_won, score
from planner.scoring.utility import Metrics, check_metrics, limit_ms

RULE = "heuristic"
"""Today's rule, whose plan is the first action of every case."""
POINT = 0.01
"""The regret that the price of labels is given for."""


def score_runs(
    ledger_path: Path,
    runs: Mapping[str, Path],
    *,
    holdout: float = HOLDOUT,
    by: HoldOutBy = "time",
    max_run_minutes: int | None = None,
) -> RegretReport:
    """Scores of trained runs (name -> run) beside a random choice, today's rule, the baselines fitted on the learning
    cases, and the best per case; all are judged on the held-out cases, those of seen and of unseen problems apart.

    A policy that would choose an action that was not executed takes its favourite among the executed ones. A held-out
    case with capped executions is judged by another ledger of the same directory and settings that ran it to its end,
    where there is one.
    ``max_run_minutes`` caps what the policies may do online (default: the universe's, where the ledger lies in its
    repo). BenchError without a run, or with one that has learned from held-out cases or from the other builder's
    contexts;
    DatasetError with one whose winners were judged by another objective than the ledger's.
    """
    if not runs:
        raise BenchError("give at least one trained run to judge")
    bench = read_bench(ledger_path)
    learning, held_out = hold_out(bench.cases, holdout, by)
    held_out, from_full_ledgers = prefer_full(held_out, bench)
    learned = {name: provenance(path) for name, path in runs.items()}
    _check_unseen(learned, held_out)
    for name, one in learned.items():
        if one.metrics is not None:
            check_metrics(one.metrics, bench.metrics, f"{name}, the winners that it learned from", str(ledger_path))
    policies = {name: load_run_policy(path) for name, path in runs.items()}
    _check_builder(policies, builder_of(bench.cases, str(ledger_path)), ledger_path)
    minute_seconds = _minute_seconds(bench, policies)
    space, outcomes, fitted, asked = _fit_baselines(learning, held_out, minute_seconds, bench, by)
    cases = [result.case for result in held_out]
    defaults = fixed_choices([action_from_document(c.actions[0].model_dump()) for c in cases], outcomes, space)
    decided = {name: _decide(policy, held_out, outcomes, space) for name, policy in policies.items()}
    preferences = {
        "random": uniform(outcomes),
        RULE: defaults,
        **fitted,
        **{name: preference for name, (_, preference) in decided.items()},
        "best per case": best_per_case(outcomes),
    }
    clusters = np.unique([result.problem for result in held_out], return_inverse=True)[1].astype(np.int64)
    seen = _seen(learning, held_out, learned)
    groups = {"all": np.ones(len(held_out), dtype=bool), "seen": seen, "unseen": ~seen}
    tables = {
        group: tuple(
            score(n, p, outcomes, examples=of_group, clusters=clusters, metrics=bench.metrics)
            for n, p in preferences.items()
        )
        for group, of_group in groups.items()
        if of_group.any()
    }

    def won(before: str, after: str) -> Won:
        return regret_won(preferences[before], preferences[after], outcomes, clusters=clusters, metrics=bench.metrics)

    max_minutes = _max_run_minutes(bench) if max_run_minutes is None else max_run_minutes
    caps = [caps_of(case, max_minutes) for case in cases]
    everything = spending([*bench.cases, *bench.left_out], minute_seconds)
    return RegretReport(
        ledger=str(ledger_path),
        holdout=holdout,
        held_out_by=by,
        learning_cases=len(learning),
        held_out_cases=len(held_out),
        held_out_problems=int(clusters.max()) + 1,
        held_out_seen=int(seen.sum()),
        held_out_before_learning_ended=sum(r.decided_ms < learning[-1].decided_ms for r in held_out),
        utility=bench.cases[0].objective.utility_text,
        minute_seconds=minute_seconds,
        executions=everything.executions,
        agent_minutes_spent=everything.agent_minutes,
        account=bench.account,
        full_cases=sum(result.is_full for result in held_out),
        from_full_ledgers=from_full_ledgers,
        unknown_provenance=tuple(sorted({reason for one in learned.values() for reason in one.unknown})),
        policies=tables["all"],
        seen=tables.get("seen", ()),
        unseen=tables.get("unseen", ()),
        max_run_minutes=max_minutes,
        online=tuple(
            online_report(name, choice, preference, defaults, cases, caps, outcomes, clusters, bench.metrics)
            for name, (choice, preference) in decided.items()
        ),
        recorded_order=_in_recorded_order(held_out, preferences, space, minute_seconds, clusters),
        gains=tuple(Gain(name, over, *won(over, name)) for name in runs for over in (RULE, SingleBest.name)),
        episodes=episode_scores(
            learning,
            held_out,
            {**asked, **{name: _ask_run(policy) for name, policy in policies.items()}},
            minute_seconds,
            bench.metrics,
            clusters,
        ),
        price=_prices(bench, learning, runs, learned, won, minute_seconds),
        cases=_choices(
            held_out,
            seen,
            preferences,
            {name: one.actions for name, (one, _) in decided.items()},
            outcomes,
            space,
            bench.metrics,
        ),
    )


def _choices(
    held_out: Sequence[CaseResults],
    seen: NDArray[np.bool_],
    preferences: Mapping[str, Preference],
    favourites: Mapping[str, Sequence[Action]],
    outcomes: Outcomes,
    space: ActionSpace,
    metrics: Metrics,
) -> tuple[CaseChoices, ...]:
    """Case by case, of those that show how good a choice was."""
    lost = lost_within(outcomes, metrics)
    rows = {name: chosen_rows(one.of_action, outcomes) for name, one in preferences.items() if one.shares is None}
    label = [str(space.action(index)) for index in outcomes.actions.tolist()]
    return tuple(
        CaseChoices(
            case_id=held_out[at].case.case_id,
            seen=bool(seen[at]),
            chosen={name: label[found[number]] for name, found in rows.items()},
            regret={name: float(lost.least[found[number]]) for name, found in rows.items()},
            regret_at_most={name: float(lost.most[found[number]]) for name, found in rows.items()},
            favourite={name: str(actions[at]) for name, actions in favourites.items()},
        )
        for number, at in enumerate(np.flatnonzero(outcomes.comparable).tolist())
    )


def _in_recorded_order(
    held_out: Sequence[CaseResults],
    preferences: Mapping[str, Preference],
    space: ActionSpace,
    minute_seconds: float,
    clusters: NDArray[np.int64],
) -> tuple[PolicyScore, ...]:
    """The same choices by what came in the order in which trials were recorded; empty where outcomes were run.

    The best per case is what it would be in that order alone: a draw's luck included.
    """
    if not any(result.expected for result in held_out):
        return ()
    limit = limit_ms(minute_seconds)
    recorded = make_outcomes([result.action_outcomes(limit, recorded=True) for result in held_out], space)
    judged = {**preferences, "best per case": best_per_case(recorded)}
    metrics = held_out[0].objective.metrics
    return tuple(score(name, one, recorded, clusters=clusters, metrics=metrics) for name, one in judged.items())


def _check_unseen(learned: Mapping[str, Provenance], held_out: Sequence[CaseResults]) -> None:
    ids = {result.case.case_id for result in held_out}
    for name, one in learned.items():
        if common := ids & one.example_ids:
            raise BenchError(
                f"{name}: learned from {len(common)} of the {len(ids)} held-out cases: give the --holdout and --by "
                "that its winners were relabelled with"
            )


def _seen(
    learning: Sequence[CaseResults], held_out: Sequence[CaseResults], learned: Mapping[str, Provenance]
) -> NDArray[np.bool_]:
    """The held-out cases whose problem is among the learning cases, or in what some run was trained on, (n,)."""
    known = {result.problem for result in learning}.union(*(one.issue_ids for one in learned.values()))
    return np.array([result.problem in known for result in held_out], dtype=bool)


def _minute_seconds(bench: BenchResults, policies: Mapping[str, RunPolicy]) -> float:
    if bench.minute_seconds is not None:
        return bench.minute_seconds
    found = {policy.document.minute_seconds for policy in policies.values()}
    if len(found) > 1:
        raise BenchError(
            f"the runs were trained where a minute of budget lasts {sorted(found)} s: judge those of one repo together"
        )
    return found.pop()


def _max_run_minutes(bench: BenchResults) -> int | None:
    """The cap of the universe that was benched; None where it cannot be found."""
    root = repo_of(bench.path)
    try:
        return None if root is None else Repo(root, None, bench.settings.get("universe_id")).universe.max_run_minutes
    except ArtifactError:
        return None


def _fit_baselines(
    learning: Sequence[CaseResults],
    held_out: Sequence[CaseResults],
    minute_seconds: float,
    bench: BenchResults,
    by: HoldOutBy,
) -> tuple[ActionSpace, Outcomes, dict[str, Preference], dict[str, Ask]]:
    """The action space of all cases, the outcomes of the held-out ones, and name -> what each baseline, fitted on the
    learning cases, prefers among these, and what it prefers in any context."""
    with tempfile.TemporaryDirectory(prefix="planner-cases-") as directory:
        dataset = cases_dataset(
            Path(directory) / "cases", learning, held_out, minute_seconds, bench.metrics, repo_of(bench.path), by
        )
        space, split = dataset.space, dataset.splits["test"]
        outcomes = make_outcomes([result.action_outcomes(limit_ms(minute_seconds)) for result in held_out], space)
        inputs = inputs_of_split(split)
        fitted = fit_baselines("bench", dataset)
        preferences = {name: _preference(one, inputs, outcomes, space) for name, one in fitted.items()}
    return space, outcomes, preferences, {name: _ask_baseline(one, dataset.info) for name, one in fitted.items()}


def _check_builder(policies: Mapping[str, RunPolicy], builder: ContextBuilderName | None, ledger_path: Path) -> None:
    """BenchError for a run that would read other contexts than it learned from."""
    for name, policy in policies.items():
        own = policy.document.context_builder
        if builder is not None and own not in (None, builder):
            raise BenchError(
                f"{name} learned from contexts of the profile {own}, {ledger_path} has those of {builder}: bench with "
                f"--profile {own}, or name a run of the profile {builder}"
            )


def _ask_baseline(policy: Policy, info: DatasetInfo) -> Ask:
    def ask(contexts: Sequence[Context]) -> list[dict[Action, float]]:
        inputs = inputs_of_contexts(contexts, policy.space, info.vocabulary, info.n_similar, info.token_profile)
        return _by_action(lambda rows, job_type: policy.score(inputs.take(rows), job_type), policy.space, contexts)

    return ask


def _ask_run(policy: RunPolicy) -> Ask:
    def ask(contexts: Sequence[Context]) -> list[dict[Action, float]]:
        heads, space = policy.log_probs_of(contexts), policy.space
        return _by_action(
            lambda rows, job_type: space.joint_log_probs([head[rows] for head in heads], job_type), space, contexts
        )

    return ask


def _by_action(joint_of: JointScores, space: ActionSpace, contexts: Sequence[Context]) -> list[dict[Action, float]]:
    """The log-probabilities of the actions that each context's job type admits."""
    found: list[dict[Action, float]] = [{} for _ in contexts]
    names = np.array([context["job_type"] for context in contexts])
    for job_type in np.unique(names).tolist():
        rows = np.flatnonzero(names == job_type)
        valid = space.valid_actions(job_type)
        for row, scores in zip(rows.tolist(), joint_of(rows, job_type).tolist(), strict=True):
            found[row] = dict(zip(valid, scores, strict=True))
    return found


def _preference(policy: Policy, inputs: Inputs, outcomes: Outcomes, space: ActionSpace) -> Preference:
    return policy_preference(
        lambda rows, job_type: policy.score(inputs.take(rows), job_type),
        policy.space,
        inputs.job_types.tolist(),
        outcomes,
        space,
    )


def _decide(
    policy: RunPolicy, results: Sequence[CaseResults], outcomes: Outcomes, space: ActionSpace
) -> tuple[Decided, Preference]:
    """A policy's favourites, and how much it prefers what was executed."""
    contexts = [result.case.context.model_dump(exclude_unset=True) for result in results]
    document = policy.document
    inputs = inputs_of_contexts(
        contexts, policy.space, document.vocabulary, document.dataset_n_similar, document.token_profile
    )
    heads = policy.head_log_probs(inputs)
    job_types = [context["job_type"] for context in contexts]
    actions: list[Action] = []
    confidence = np.zeros(len(contexts))
    for at, job_type in enumerate(job_types):
        joint = policy.space.joint_log_probs([head[at] for head in heads], job_type)
        actions.append(policy.space.valid_actions(job_type)[int(joint.argmax())])
        confidence[at] = np.exp(joint.max())
    if document.token_profile == "kernel" and len(heads) == len(HEADS):
        confidence = kernel_confidence(heads, actions, policy.space)
    threshold = None if policy.calibration is None else policy.calibration.threshold
    preference = policy_preference(
        lambda rows, job_type: policy.space.joint_log_probs([head[rows] for head in heads], job_type),
        policy.space,
        job_types,
        outcomes,
        space,
    )
    return Decided(actions, confidence, threshold), preference


def _prices(
    bench: BenchResults,
    learning: Sequence[CaseResults],
    runs: Mapping[str, Path],
    learned: Mapping[str, Provenance],
    won_between: Callable[[str, str], Won],
    minute_seconds: float,
) -> tuple[LabelPrice, ...]:
    """What the labels of each run that learned from winners cost for each point of regret that it won.

    It is set against the run that it started from, if that is judged too, and otherwise against today's rule.
    ``won_between`` says what the second of two policies wins over the first.
    """
    with Ledger.read(bench.path) as ledger:
        spent = ledger.spent()
    labels = spending(learning, minute_seconds)
    finished_ms = sum(o.duration_ms for result in learning for group in result.outcomes.values() for o in group)
    all_ms = sum(spent[result.case.case_id].time_ms for result in learning)
    paths = {path.resolve(): name for name, path in runs.items()}
    prices = []
    for name, one in learned.items():
        if not one.from_winners:
            continue
        start = None if one.started_from is None else one.started_from.resolve()
        before = paths.get(start, RULE) if start is not None else RULE
        won, simplest = won_between(before, name), won_between(before, SingleBest.name)
        points = won.least / POINT
        prices.append(
            LabelPrice(
                policy=name,
                before=before,
                regret_won=won.least,
                regret_won_low=won.low,
                regret_won_high=won.high,
                regret_won_at_most=won.most,
                regret_won_by_single_best=simplest.least,
                regret_won_by_single_best_at_most=simplest.most,
                executions=labels.executions,
                agent_minutes=labels.agent_minutes,
                dollars=labels.dollars,
                executions_with_dollars=labels.executions_with_dollars,
                minutes_without_outcome=max(0, all_ms - finished_ms) / 1000 / minute_seconds,
                agent_minutes_per_point=labels.agent_minutes / points if points > 0 else None,
                dollars_per_point=labels.dollars / points if points > 0 and labels.dollars is not None else None,
            )
        )
    return tuple(prices)
