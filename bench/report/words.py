"""Numbers as the page writes them."""

import math
from datetime import UTC, datetime

from bench.report.standing import Range
from planner.evaluation.regret_report import Gain

UNKNOWN = "\N{EN DASH}"


def share(value: float | None) -> str:
    """A share in percent."""
    return UNKNOWN if value is None or math.isnan(value) else f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def amount(value: float | None) -> str:
    """Minutes or counts, with three significant digits or whole."""
    if value is None or math.isnan(value):
        return UNKNOWN
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


def dollars(value: float | None) -> str:
    """US dollars."""
    if value is None or math.isnan(value):
        return UNKNOWN
    return f"${value:,.2f}" if value >= 0.1 else f"${value:.4f}"


def utility(value: float | None, sign: str = "") -> str:
    """Utility or regret."""
    return UNKNOWN if value is None or math.isnan(value) else f"{value:{sign}.3f}".replace("-", "\N{MINUS SIGN}")


def interval(found: Range | None, form: str = "utility") -> str:
    """The interval of a mean in square brackets; nothing where it is not known."""
    if found is None or math.isnan(found.low):
        return ""
    write = {"utility": utility, "share": share, "amount": amount, "dollars": dollars}[form]
    return f"[{write(found.low)}, {write(found.high)}]"


def gain(found: Gain) -> str:
    """How much is won, with its interval."""
    reach = f"[{utility(found.low, '+')}, {utility(found.high, '+')}]"
    won = utility(found.won, "+")
    if found.won_at_most != found.won:
        won += f" to {utility(found.won_at_most, '+')}"
    return f"{won} {reach}"


def won(found: Gain) -> str:
    """How much is won or lost, without its interval."""
    low, high = sorted((abs(found.won), abs(found.won_at_most)))
    return utility(low) if low == high else f"{utility(low)} to {utility(high)}"


def moment(ms: int | None) -> str:
    """A moment, UTC."""
    return UNKNOWN if not ms else datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def plural(count: int, word: str) -> str:
    """``3 cases``, ``1 case``."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
