"""Simulated issues: what a tracker shows of one, and the difficulty, time and luck with tools that it hides.

Size, kind, area and a telling word each give something away; most of what decides stays hidden, as it does in life.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

AREAS = ("auth", "billing", "search", "ui", "api", "jobs", "storage", "reports", "mobile", "infra")
KINDS = ("bug", "feature", "refactor", "migration", "performance", "flaky-test")
SIZES = ("XS", "S", "M", "L", "XL")
RISKS = ("low", "medium", "high", "critical")
SIZE_WEIGHTS = (0.15, 0.30, 0.30, 0.17, 0.08)
COMPONENTS = 6
"""Components of an area; an issue names one of them as a tag."""

SIZE_DIFFICULTY = 2.0
"""Logits that each step in size makes an issue harder; XS is two steps easier than M."""
AREA_DIFFICULTY, KIND_DIFFICULTY, COMPONENT_DIFFICULTY, HIDDEN_DIFFICULTY = 1.5, 1.2, 2.5, 3.7
"""Spread over areas, over kinds, over components (which only their history shows), and of what nothing shows."""
MEAN_DIFFICULTY = 1.0
AFFINITY_SPREAD = 2.5
"""Spread of one tool's luck with one issue."""
SIZE_MINUTES = (4.0, 8.0, 15.0, 28.0, 50.0)
"""Median minutes of a candidate, by size."""
COMPONENT_MINUTES, HIDDEN_MINUTES, TOOL_MINUTES = 0.4, 0.3, 0.35
"""Spread of the log of the minutes over components, over issues beyond that, and of one tool's on an issue."""
SLOWER_IF_HARD = 0.08
"""How much each logit of difficulty, but for the size's, adds to the log of the minutes."""
TELLING = 0.5
"""How often the title holds a word that shows on which side of the middle the hidden difficulty is."""
HARD_WORDS = ("deadlock", "legacy", "intermittent", "concurrent", "corrupted", "distributed")
EASY_WORDS = ("typo", "label", "rename", "default", "spacing", "wording")
AREA_WORDS = {
    "auth": ("session", "login", "token", "password"),
    "billing": ("invoice", "refund", "currency", "receipt"),
    "search": ("ranking", "index", "query", "facet"),
    "ui": ("button", "dialog", "layout", "tooltip"),
    "api": ("endpoint", "schema", "pagination", "webhook"),
    "jobs": ("queue", "worker", "schedule", "retry"),
    "storage": ("bucket", "snapshot", "upload", "quota"),
    "reports": ("chart", "export", "totals", "filter"),
    "mobile": ("gesture", "offline", "sync", "notification"),
    "infra": ("deploy", "container", "certificate", "metrics"),
}
HINTED, HINTS = 0.08, ("claude", "opencode", "crush")
MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class SimulatedIssue:
    """An issue with what the tracker hides."""

    issue_id: str
    document: dict[str, Any]
    """Its line in the tracker, but for status, times and attempts."""
    area: int
    difficulty: float
    """Logits."""
    affinity: dict[str, float]
    """Tool -> logits that it is better at this issue than at others."""
    log_minutes: dict[str, float]
    """Tool -> log of the median minutes of a candidate."""
    gate_weights: dict[str, float]
    """Gate -> how often it fails when the issue is not solved."""


class _Area(NamedTuple):
    difficulty: float
    criticality: float
    """Logits that raise the risk of its issues."""
    gate_weights: dict[str, float]
    component_difficulty: list[float]
    component_minutes: list[float]


def draw_issue(seed: int, issue_id: str, tools: Sequence[str]) -> SimulatedIssue:
    """The issue called ``issue_id`` in the world of ``seed``."""
    areas, kinds = _common(seed)
    draw = random.Random(f"{seed}/issue/{issue_id}")
    area, kind, component = draw.randrange(len(AREAS)), draw.randrange(len(KINDS)), draw.randrange(COMPONENTS)
    size = draw.choices(range(len(SIZES)), SIZE_WEIGHTS)[0]
    hidden = draw.gauss(0, HIDDEN_DIFFICULTY)
    difficulty = areas[area].difficulty + kinds[kind] + areas[area].component_difficulty[component] + hidden
    minutes = math.log(SIZE_MINUTES[size]) + areas[area].component_minutes[component] + SLOWER_IF_HARD * difficulty
    minutes += draw.gauss(0, HIDDEN_MINUTES)
    document = {
        "id": issue_id,
        **_text(area, kind, hidden, draw),
        "tags": sorted({AREAS[area], KINDS[kind], f"{AREAS[area]}-{component + 1}"}),
        "dk_priority": draw.choices(("P0", "P1", "P2", "P3"), (1, 3, 5, 3))[0],
        "dk_risk": _risk(areas[area].criticality + 0.4 * (size - 2), draw),
        "dk_size": SIZES[size],
        "dk_estimated_tokens": 4000 * 2**size,
        "dk_max_attempts": MAX_ATTEMPTS,
        "acceptance_criteria": ["all gates pass"],
        "context_files": [f"src/{AREAS[area]}/{KINDS[kind].replace('-', '_')}.py"],
    }
    if draw.random() < HINTED:
        document["dk_tool_hint"] = draw.choice(HINTS)
    return SimulatedIssue(
        issue_id=issue_id,
        document=document,
        area=area,
        difficulty=MEAN_DIFFICULTY + SIZE_DIFFICULTY * (size - 2) + difficulty,
        affinity={tool: draw.gauss(0, AFFINITY_SPREAD) for tool in tools},
        log_minutes={tool: minutes + draw.gauss(0, TOOL_MINUTES) for tool in tools},
        gate_weights=areas[area].gate_weights,
    )


def shown_of(seed: int, issue: SimulatedIssue) -> tuple[float, float]:
    """How difficult an issue is, in logits, and the log of its median minutes, as far as kind, area, component and size
    tell who knows what these come to."""
    areas, kinds = _common(seed)
    tags, size = issue.document["tags"], SIZES.index(issue.document["dk_size"])
    area = areas[issue.area]
    component = next(at for at in range(COMPONENTS) if f"{AREAS[issue.area]}-{at + 1}" in tags)
    kind = next(at for at, name in enumerate(KINDS) if name in tags)
    common = area.difficulty + kinds[kind] + area.component_difficulty[component]
    minutes = math.log(SIZE_MINUTES[size]) + area.component_minutes[component] + SLOWER_IF_HARD * common
    return MEAN_DIFFICULTY + SIZE_DIFFICULTY * (size - 2) + common, minutes


@lru_cache(maxsize=8)
def _common(seed: int) -> tuple[list[_Area], list[float]]:
    """What the issues of an area and of a kind have in common."""
    draw = random.Random(f"{seed}/areas")
    areas = [
        _Area(
            draw.gauss(0, AREA_DIFFICULTY),
            draw.gauss(0, 0.8),
            {"test": 0.8, "typecheck": draw.uniform(0, 0.5), "lint": draw.uniform(0, 0.3)},
            [draw.gauss(0, COMPONENT_DIFFICULTY) for _ in range(COMPONENTS)],
            [draw.gauss(0, COMPONENT_MINUTES) for _ in range(COMPONENTS)],
        )
        for _ in AREAS
    ]
    return areas, [draw.gauss(0, KIND_DIFFICULTY) for _ in KINDS]


def _text(area: int, kind: int, hidden: float, draw: random.Random) -> dict[str, str]:
    words = draw.sample(AREA_WORDS[AREAS[area]], 2)
    if draw.random() < TELLING:
        words.insert(0, draw.choice(HARD_WORDS if hidden > 0 else EASY_WORDS))
    title = f"{KINDS[kind].replace('-', ' ').capitalize()}: {' '.join(words)}"
    return {"title": title, "description": f"Users of {AREAS[area]} report trouble with the {words[-1]}."}


def _risk(criticality: float, draw: random.Random) -> str:
    """Low, medium, high or critical: a logistic draw against three thresholds."""
    chance = draw.random()
    score = criticality + math.log(chance / (1 - chance))
    return RISKS[sum(score > threshold for threshold in (-0.6, 1.2, 2.8))]
