"""Checks a replayed bench against a second, independent replay, and says what capping saved.

    planner bench TABLES --executor replay --select all --full --ledger full.sqlite
    planner bench TABLES --executor replay --select all --ledger capped.sqlite
    python -m benchmarks.replay TABLES full.sqlite capped.sqlite

The second replay shares nothing with `bench`: it works on whole tables with numpy, where the executor works on one
execution, and restates the order on outcomes in its own words. Both count milliseconds, so they must agree to the last
digit; what differs is listed and the exit code is 1.
"""

import argparse
import itertools
import json
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pandas as pd

MINUTES = (15, 30, 45, 60, 120)
PLANS = [
    (swarm, candidates, minutes, iterations)
    for swarm in ("serial_handoff", "speculate_vote")
    for candidates, minutes, iterations in itertools.product((1, 2, 3), MINUTES, (1, 2, 3, 5))
]
HEADS = ("swarm_id", "max_candidates_bin", "max_minutes_bin", "max_iterations_bin")


def replay(directory: Path, n_trials: int, minute_seconds: float) -> pd.DataFrame:
    """One row per (case, plan): passed, wall and agent time (ms)."""
    trials = pd.read_parquet(directory / "outcomes.parquet").dropna(subset=["duration_s", "run_started_at"])
    trials = trials.sort_values(["issue_id", "action_id", "run_started_at", "trial"], kind="stable")
    trials["nth"] = trials.groupby(["issue_id", "action_id"]).cumcount()
    trials["ms"] = (trials["duration_s"] * 1000).round().astype("int64")
    table = trials[trials["nth"] < n_trials].pivot(
        index=["issue_id", "action_id"], columns="nth", values=["passed", "ms"]
    )
    table = table.dropna()
    passed, ms = table["passed"].to_numpy(bool), table["ms"].to_numpy("int64")
    names = [f"{issue_id}@{agent}" for issue_id, agent in table.index]
    frames = []
    for plan in PLANS:
        swarm, candidates, minutes, iterations = plan
        if candidates * iterations > n_trials:
            continue
        limit = round(1000 * minutes * minute_seconds)
        span = candidates * iterations
        if swarm == "serial_handoff":
            lanes = [lane(passed[:, :span], ms[:, :span], limit)]
        else:
            cuts = [slice(j * iterations, (j + 1) * iterations) for j in range(candidates)]
            lanes = [lane(passed[:, cut], ms[:, cut], limit) for cut in cuts]
        frames.append(
            pd.DataFrame(
                {
                    "case": names,
                    "plan": [plan] * len(names),
                    "passed": np.any([ok for ok, _ in lanes], axis=0),
                    "wall": np.max([time for _, time in lanes], axis=0),
                    "agent": np.sum([time for _, time in lanes], axis=0),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def lane(passed: np.ndarray, ms: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Attempts (cases, n) in a row: whether one passed within the limit, and the time until then, (cases,) each."""
    ends = np.cumsum(ms, axis=1)
    good = passed & (ends <= limit)
    first = np.where(good.any(axis=1), good.argmax(axis=1), ms.shape[1] - 1)
    time = np.minimum(ends[np.arange(len(ms)), first], limit)
    return good.any(axis=1), time


def winners(table: pd.DataFrame) -> dict[str, tuple]:
    """Per case: of those that pass (else of all) those within a tenth of the fastest, of these the smallest plan."""
    best = {}
    for case, group in table.groupby("case"):
        able = group[group["passed"]] if group["passed"].any() else group
        quick = able[able["wall"] <= able["wall"].min() * 1.1]
        best[case] = min(quick["plan"], key=lambda plan: (plan[1] * plan[2] * plan[3], plan_name(plan)))
    return best


def plan_name(plan: tuple) -> str:
    """How the product writes a plan."""
    return "{} c={} m={} i={}".format(*plan)


def ledger_table(path: Path) -> pd.DataFrame:
    """The outcomes in a ledger, in the same form, with the times that were really executed."""
    query = (
        "SELECT cases.issue_id, action, status, passed, json_extract(outcome, '$.duration_ms'),"
        " json_extract(outcome, '$.agent_ms'), json_extract(outcome, '$.derived_from')"
        " FROM executions JOIN cases USING (case_id) WHERE state = 'finished'"
    )
    with sqlite3.connect(path) as connection:
        rows = connection.execute(query).fetchall()
    return pd.DataFrame(
        {
            "case": [row[0] for row in rows],
            "plan": [tuple(json.loads(row[1])[head] for head in HEADS) for row in rows],
            "status": [row[2] for row in rows],
            "passed": [bool(row[3]) for row in rows],
            "wall": [row[4] for row in rows],
            "agent": [row[5] for row in rows],
            "was_run": [row[6] is None for row in rows],
        }
    )


def ledger_winners(path: Path) -> dict[str, tuple]:
    """The winners by the product's own order."""
    from bench.judging.results import read_results

    return {result.case.issue_id: tuple(result.verdict.action) for result in read_results(path)}


def utilities(table: pd.DataFrame, minute_seconds: float) -> pd.Series:
    """passed - 0.1 * wall / limit - 0.1 * agent / (3 * limit), clipped as the limit is."""
    limit = 120 * minute_seconds * 1000
    wall, agent = table["wall"].clip(upper=limit), table["agent"].clip(upper=3 * limit)
    return table["passed"] - 0.1 * wall / limit - 0.1 * agent / (3 * limit)


def describe(name: str, rows: pd.DataFrame, minute_seconds: float) -> str:
    """Pass rate, wall and agent minutes (unscaled), utility."""
    minute = 60_000
    return (
        f"{name}: pass {rows['passed'].mean():.3f}, wall {rows['wall'].mean() / minute:.1f} min, "
        f"agent {rows['agent'].mean() / minute:.1f} min, utility {utilities(rows, minute_seconds).mean():.3f}"
    )


def main() -> int:
    """Compare; 0 when both replays agree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path)
    parser.add_argument("full", type=Path, help="ledger of a bench with --full")
    parser.add_argument("capped", type=Path, help="ledger of the same bench without it")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--minute-seconds", type=float, default=60.0)
    options = parser.parse_args()
    ours = replay(options.tables, options.trials, options.minute_seconds)
    full, capped = ledger_table(options.full), ledger_table(options.capped)
    print(f"{ours['case'].nunique()} cases x {ours['plan'].nunique()} actions")
    wrong = 0
    for name, ledger in (("full", full), ("capped", capped)):
        whole = ledger[ledger["status"] != "stopped_early"]
        merged = ours.merge(whole, on=["case", "plan"], suffixes=("", "_bench"))
        differs = (merged["passed"] != merged["passed_bench"]) | (merged["wall"] != merged["wall_bench"])
        differs |= merged["agent"] != merged["agent_bench"]
        n_wrong = int(differs.sum()) + abs(len(ours) - len(ledger)) + len(whole) - len(merged)
        print(f"outcomes of the {name} bench that differ: {n_wrong} of {len(whole)}, {len(ledger) - len(whole)} capped")
        wrong += n_wrong
    expected = winners(ours)
    for name, path in (("full", options.full), ("capped", options.capped)):
        found = ledger_winners(path)
        n_wrong = sum(found.get(case) != plan for case, plan in expected.items())
        print(f"winners of the {name} bench that differ: {n_wrong} of {len(expected)}")
        wrong += n_wrong
    for table, source in ((ours, "independent"), (full, "ledger")):
        table["utility"] = utilities(table, options.minute_seconds)
        fixed = table.groupby("plan")["utility"].mean().idxmax()
        per_case = table.loc[table.groupby("case")["utility"].idxmax()]
        print(
            describe(
                f"{source}: best fixed action {plan_name(fixed)}", table[table["plan"] == fixed], options.minute_seconds
            )
        )
        print(describe(f"{source}: best action per case", per_case, options.minute_seconds))
    run = capped[capped["was_run"]]
    print(f"executions run, capped / full: {len(run)} / {len(full)}; the others follow from runs with more minutes")
    for unit in ("wall", "agent"):
        share = run[unit].sum() / full[unit].sum()
        print(f"executed {unit} time, capped / full: {share:.3f} (saved {1 - share:.0%})")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
