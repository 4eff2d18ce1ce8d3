"""Regret on a bench's held-out cases."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Column, Table

from planner.display.console import console, say
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
    say("intervals: 95 %, bootstrap over cases, those of one problem drawn together; the others are in the JSON file")
    for row in report.policies:
        if row.capped_choices:
            say(
                f"{row.policy}: {row.capped_choices:.4g} choices were capped: their pass is unknown, their "
                f"regret a lower bound (had they all failed, it would be {row.regret_at_most:.4f})"
            )
    if any(row.capped_choices for row in report.policies):
        say("to judge exactly, bench the held-out cases with --full: a policy that likes capped actions looks too good")
    _print_episodes(report.episodes)
    for online in report.online:
        _say_online(online)
    for price in report.price:
        _say_price(price)
    for gain in report.gains:
        say(gain.sentence)


def _print_scores(scores: Sequence[PolicyScore], title: str | None) -> None:
    rows = [score.to_json() for score in scores]
    shown = [metric for metric in columns("bench") if any(row[metric.key] is not None for row in rows)]
    titles = ("policy", *(metric.title for metric in shown))
    table = Table(*(Column(name, no_wrap=True) for name in titles), title=title, title_justify="left", padding=(0, 0))
    for row in rows:
        # The other intervals are in the numbers' file: a table has to fit a terminal.
        cells = (cell(metric, row, interval=metric.key in ("pass_regret", "regret")) for metric in shown)
        table.add_row(row["policy"], *map(escape, cells))
    console.print(table)


def _print_episodes(rows: Sequence[EpisodeScore]) -> None:
    """What two runs come to, the second if the first failed; nothing where no trials tell."""
    if not rows:
        return
    titles = ("policy", "pass", "wall min", "agent min", "utility", "won over the best fixed pair")
    table = Table(*titles, title=f"per episode, {rows[0].cases} cases", title_justify="left", padding=(0, 0))
    for row in rows:
        won = f"{row.utility_won:+.3f} [{row.utility_won_low:+.3f}, {row.utility_won_high:+.3f}]"
        minutes = (f"{value:.1f}" for value in (row.wall_minutes, row.agent_minutes))
        table.add_row(row.policy, f"{row.passed:.3f}", *minutes, f"{row.utility:.3f}", escape(won))
    console.print(table)
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
        text += (
            f", where today's rule has a regret of {row.abstained_regret_of_todays_rule:.4f}, its own choice "
            f"{row.abstained_regret_of_policy:.4f}"
        )
    say(text + f"; regret with both: {row.regret:.4f} [{row.regret_low:.4f}, {row.regret_high:.4f}]")


def _say_price(row: LabelPrice) -> None:
    won = (
        f"{row.regret_won:+.4f} [{row.regret_won_low:+.4f}, {row.regret_won_high:+.4f}] of regret against {row.before}"
    )
    cost = f"{row.agent_minutes:.4g} agent minutes"
    if row.dollars is not None:
        cost += f" and ${row.dollars:.4g} ({row.executions_with_dollars} of {row.executions} recorded theirs)"
    if row.minutes_without_outcome:
        cost += f"; {row.minutes_without_outcome:.4g} minutes went to faults and lost attempts besides"
    simplest = f"; the single best action of the same labels wins {row.regret_won_by_single_best:+.4f}"
    if row.agent_minutes_per_point is None:
        say(f"{row.policy}: no regret was won ({won}); its labels cost {cost}{simplest}")
        return
    per_point = f"{row.agent_minutes_per_point:.4g} agent minutes"
    if row.dollars_per_point is not None:
        per_point += f" and ${row.dollars_per_point:.4g}"
    doubt = "" if row.regret_won_low > 0 else ", which may be nothing"
    say(f"{row.policy} won {won}{doubt}; its labels cost {cost}: {per_point} a point (0.01){simplest}")
