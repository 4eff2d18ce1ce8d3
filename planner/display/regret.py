"""Regret on a bench's held-out cases."""

from collections.abc import Sequence

from planner.display.console import say
from planner.display.table import print_table
from planner.evaluation.regret_report import EpisodeScore, LabelPrice, OnlineReport, RegretReport
from planner.scoring.metric import cell, columns
from planner.scoring.regret import PolicyScore


def print_regret(report: RegretReport) -> None:
    """Tables of policies on a bench's held-out cases; seen and unseen problems apart where there are both."""
    _print_scores(report.policies, None)
    if report.seen and report.unseen:
        for group in ("seen", "unseen"):
            _print_scores(getattr(report, group), f"{getattr(report, group)[0].cases} cases of {group} problems")
    say(
        f"{report.held_out_cases} held-out cases of {report.held_out_problems} problems, the latest by "
        f"{report.held_out_by}; {report.learning_cases} others to learn from"
    )
    say(
        f"{report.held_out_seen} held-out cases are of problems that learning saw too; "
        f"{report.held_out_before_learning_ended} are earlier than the last learning case"
    )
    say(
        f"left out: {report.account['faults_left_out']} faults of {report.account['cases_with_faults']} cases, and "
        f"{report.account['cases_left_out']} cases that compare no two actions"
    )
    for reason in report.unknown_provenance:
        say(f"what a run learned from is not known in full: {reason}")
    say("pass regret: share of passes lost against the best executed action; by itself it says little")
    say(
        "time, agent and $ regret: over the cases whose chosen action passes (their number: `passes`), what it takes "
        "beyond the least of any passing action executed there: wall s, s of all agents together, dollars"
    )
    say(f"regret: lost utility against the best action that ran to its end; utility = {report.utility}")
    say("own choice: share of cases in which the policy's favourite was among the executed actions")
    if any(row.capped_choices for row in report.policies):
        say(
            "pass regret and regret, `A to B`: between what is lost if every capped choice would have passed, and if "
            "none would; the interval holds for both"
        )
    say("intervals: 95 %, bootstrap over cases, those of one problem drawn together; the others are in the JSON file")
    for row in report.policies:
        if row.capped_choices:
            say(
                f"{row.policy}: {row.capped_choices:.4g} choices were capped, and nobody knows whether they would have "
                f"passed: its regret is {row.regret:.4f} if all did, and up to {row.regret_at_most:.4f} if none did"
            )
    _say_how_full(report)
    _print_episodes(report.episodes)
    for online in report.online:
        _say_online(online)
    for price in report.price:
        _say_price(price)
    for gain in report.gains:
        say(gain.sentence)


def _say_how_full(report: RegretReport) -> None:
    """By how many cases that ran to their end the policies were judged, and where these came from."""
    for ledger, n_cases in report.from_full_ledgers.items():
        say(f"{n_cases} held-out cases were judged by {ledger}, whose executions ran to their end")
    if n_capped := report.held_out_cases - report.full_cases:
        say(
            f"{n_capped} of {report.held_out_cases} held-out cases have capped executions, and no ledger with the same "
            f"settings beside {report.ledger} has run them to their end: bench again with --full, and what was capped "
            "or derived is run again"
        )
    else:
        say(f"all {report.held_out_cases} held-out cases ran to their end: no regret is a mere bound")


def _print_scores(scores: Sequence[PolicyScore], title: str | None) -> None:
    rows = [score.to_json() for score in scores]
    shown = [metric for metric in columns("bench") if any(row[metric.key] is not None for row in rows)]
    titles = ("policy", *(metric.title for metric in shown))
    # The other intervals are in the numbers' file: a table has to fit a terminal.
    cells = [
        [row["policy"], *(cell(metric, row, interval=metric.key in ("pass_regret", "regret")) for metric in shown)]
        for row in rows
    ]
    print_table(titles, cells, title=title, first=("regret", "pass", "agent s", "pass regret", "own choice"))


def _print_episodes(rows: Sequence[EpisodeScore]) -> None:
    """What two runs come to, the second if the first failed; nothing where no trials tell."""
    if not rows:
        return
    titles = ("policy", "pass", "wall min", "agent min", "utility", "won over the best fixed pair")
    cells = []
    for row in rows:
        won = f"{row.utility_won:+.3f} [{row.utility_won_low:+.3f}, {row.utility_won_high:+.3f}]"
        minutes = (f"{value:.1f}" for value in (row.wall_minutes, row.agent_minutes))
        cells.append([row.policy, f"{row.passed:.3f}", *minutes, f"{row.utility:.3f}", won])
    print_table(titles, cells, title=f"per episode, {rows[0].cases} cases", first=("utility", "pass", titles[-1]))
    say(
        "per episode: a second run if the first failed, chosen by asking again with one attempt more; it meets trials "
        "that the first has not used, over all orders of these"
    )


def _say_online(row: OnlineReport) -> None:
    text = (
        f"{row.policy} online: caps cut {row.wanted_more_than_caps} of {row.decisions} decisions, "
        f"{row.executed_more_than_caps} plans exceed them after that; "
    )
    if row.threshold is None:
        text += "it never abstains, because it was not calibrated"
    else:
        text += f"it abstains from {row.abstained} (confidence below {row.threshold:.3g})"
    if row.abstained_regret_of_todays_rule is not None:
        theirs = _within(row.abstained_regret_of_todays_rule, row.abstained_regret_of_todays_rule_at_most)
        own = _within(row.abstained_regret_of_policy, row.abstained_regret_of_policy_at_most)
        text += f", where today's rule has a regret of {theirs}, its own choice {own}"
    regret = _within(row.regret, row.regret_at_most)
    say(text + f"; regret with both: {regret} [{row.regret_low:.4f}, {row.regret_high:.4f}]")


def _within(least: float | None, most: float | None, sign: str = "") -> str:
    """A number, or both bounds of one that is known within them only."""
    if least is None or most is None:
        return "unknown"
    return f"{least:{sign}.4f}" if least == most else f"{least:{sign}.4f} to {most:{sign}.4f}"


def _say_price(row: LabelPrice) -> None:
    amount = _within(row.regret_won, row.regret_won_at_most, "+")
    won = f"{amount} [{row.regret_won_low:+.4f}, {row.regret_won_high:+.4f}] of regret against {row.before}"
    cost = f"{row.agent_minutes:.4g} agent minutes"
    if row.dollars is not None:
        cost += f" and ${row.dollars:.4g} ({row.executions_with_dollars} of {row.executions} recorded theirs)"
    if row.minutes_without_outcome:
        cost += f"; {row.minutes_without_outcome:.4g} minutes went to faults and lost attempts besides"
    by_single_best = _within(row.regret_won_by_single_best, row.regret_won_by_single_best_at_most, "+")
    simplest = f"; the single best action of the same labels wins {by_single_best}"
    if row.agent_minutes_per_point is None:
        verb = "was won" if row.regret_won_at_most <= 0 else "was surely won"
        say(f"{row.policy}: no regret {verb} ({won}); its labels cost {cost}{simplest}")
        return
    per_point = f"{row.agent_minutes_per_point:.4g} agent minutes"
    if row.dollars_per_point is not None:
        per_point += f" and ${row.dollars_per_point:.4g}"
    doubt = "" if row.regret_won_low > 0 else ", which may be nothing"
    say(f"{row.policy} won {won}{doubt}; its labels cost {cost}: {per_point} a point (0.01){simplest}")
