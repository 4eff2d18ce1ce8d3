"""How all figures look: Matplotlib draws, and what it draws becomes SVG of the page's own colours and letters."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

WIDE, NARROW = 720, 320
"""Widths in CSS pixels; a page shows the one that fits."""
COLOURS = {
    "ink": "#0a0a01",
    "muted": "#0a0a02",
    "line": "#0a0a03",
    "paper": "#0a0a04",
    "run": "#0a0a05",
    "rule": "#0a0a06",
    "fixed": "#0a0a07",
    "bound": "#0a0a08",
    "baseline": "#0a0a09",
    "chance": "#0a0a0b",
    "passed": "#0a0a0c",
    "failed": "#0a0a0d",
    "capped": "#0a0a0e",
    "derived": "#0a0a0f",
    "fault": "#0a0a10",
}
"""Name of a colour of the page's style sheet -> what stands for it while Matplotlib draws."""
_NAME_OF = {value: name for name, value in COLOURS.items()}
_SETTINGS = {
    "svg.fonttype": "none",
    # Names come from records: a dollar sign in one is a dollar sign.
    "text.parse_math": False,
    "font.family": "sans-serif",
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "savefig.transparent": True,
}


@dataclass(frozen=True)
class Table:
    """The same in words and numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """One figure of the page, twice: for wide and for narrow screens."""

    key: str
    title: str
    caption: str
    summary: str
    """What who cannot see it should know."""
    wide: Markup
    narrow: Markup
    table: Table


@dataclass(frozen=True)
class Sheet:
    """What a figure is drawn on; sizes are CSS pixels."""

    canvas: Canvas
    width: int
    height: int

    @property
    def is_narrow(self) -> bool:
        """Whether it is for a phone."""
        return self.width <= NARROW

    def axes(self, left: float, right: float, top: float, bottom: float) -> Axes:
        """The only axes, with these margins."""
        width, height = 1 - (left + right) / self.width, 1 - (top + bottom) / self.height
        axes: Axes = self.canvas.add_axes((left / self.width, bottom / self.height, width, height))
        return axes


def both(key: str, height: Callable[[bool], int], paint: Callable[[Sheet], None]) -> tuple[Markup, Markup]:
    """A figure for wide and for narrow screens; ``height`` takes whether it is narrow."""
    wide, narrow = (_svg(f"{key}-{width}", width, height(width == NARROW), paint) for width in (WIDE, NARROW))
    return wide, narrow


def _svg(key: str, width: int, height: int, paint: Callable[[Sheet], None]) -> Markup:
    settings = _SETTINGS | {"svg.hashsalt": key, "font.size": 11 if width == NARROW else 12}
    with matplotlib.rc_context(settings):
        # At 72 dots an inch a point is a pixel.
        canvas = Canvas(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasSVG(canvas)
        paint(Sheet(canvas, width, height))
        buffer = io.StringIO()
        canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Markup(_for_page(buffer.getvalue(), width, height))


def _for_page(svg: str, width: int, height: int) -> str:
    """What Matplotlib wrote, without its prologue and names, in the page's colours and letters."""
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.DOTALL)
    # Tags alone: what stands between them is text, and some of it comes from records.
    body = re.sub(r"<[^>]*>", lambda tag: _tag_for_page(tag[0]), body)
    # What it shows is said in the figure's summary, caption and table.
    return f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" aria-hidden="true">{body}'


def _tag_for_page(tag: str) -> str:
    if tag.startswith("<!--"):
        return ""
    if "=" not in tag:
        return tag
    tag = re.sub(r'^<g id="[^"]*"', "<g", tag)
    if "#0a0a" in tag:
        tag = re.sub(r"#0a0a[01][0-9a-f]", lambda found: f"var(--{_NAME_OF[found[0]]})", tag)
    if "font" in tag:
        tag = re.sub(r"font: (?:[\w ]* )?([\d.]+)px [^;\"]*", r"font-size: \1px", tag)
        tag = re.sub(r"font-family: [^;\"]*;?", "", tag)
    tag = re.sub(r"(\d+\.\d{2})\d+", r"\1", tag)
    return re.sub(r"\n\s*", "\n", tag)


def spread(places: list[float], gap: float, low: float, high: float) -> list[float]:
    """The places moved apart to be ``gap`` from each other, within the limits as far as they go, in the same order."""
    order = sorted(range(len(places)), key=lambda at: places[at])
    moved = [min(max(places[at], low), high) for at in order]
    for at in range(1, len(moved)):
        moved[at] = max(moved[at], moved[at - 1] + gap)
    over = moved[-1] - high if moved else 0
    if over > 0:
        moved[-1] -= over
        for at in range(len(moved) - 2, -1, -1):
            moved[at] = min(moved[at], moved[at + 1] - gap)
    found = [0.0] * len(places)
    for at, place in zip(order, moved, strict=True):
        found[at] = place
    return found
