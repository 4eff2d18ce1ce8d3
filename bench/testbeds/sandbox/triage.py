"""Turning a bug into an issue as a person who triages would: honest, a little noisy, and without the answer."""

import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.testbeds.sandbox.bugs import PACKAGE, Bug
from bench.testbeds.sandbox.toolchains.edits import enumerate_edits

MAX_ATTEMPTS = 3
_FIRST_CREATED = datetime(2025, 1, 6, 9, tzinfo=UTC)

_AREAS = {
    "numbers": ("numbers", "averages", "units", "scoring", "money"),
    "text": ("text", "formatting"),
    "parsing": ("parsing", "encoding", "validation"),
    "collections": ("lists", "windows", "tables", "searching"),
    "dates": ("dates", "clock", "intervals", "scheduling"),
    "graphs": ("graphs", "grids"),
}
# (tag, families behind it, how often it is seen when they are, how often it is suspected when they are not)
_SYMPTOMS = (
    ("boundary", ("boundary", "off_by_one", "index"), 0.75, 0.1),
    ("inverted", ("comparison", "boolean", "negation", "arithmetic"), 0.5, 0.08),
    ("settings", ("default", "constant"), 0.6, 0.07),
    ("mixed-up", ("arguments", "variable", "call"), 0.65, 0.07),
)
_SIZES = (("XS", 45), ("S", 75), ("M", 110), ("L", 160))
_TOKENS = {"XS": 4000, "S": 8000, "M": 20000, "L": 50000, "XL": 80000}
_RISKS = (("low", 1.6), ("medium", 2.9), ("high", 4.1))
_TOOLS = ("codex", "claude", "opencode", "crush")

_TITLES = {
    "crash": ("{name} raises where it used to answer", "Crash in {area} code: {name}"),
    "edge-case": ("{name} is wrong for some inputs", "Wrong answer of {name} in rare cases"),
    "wrong-result": ("{name} gives wrong answers", "Fix {name}: results are off"),
}
_DETAILS = {
    "boundary": "It looks fine in the middle and goes wrong at the ends.",
    "inverted": "It seems to take the opposite decision.",
    "settings": "The amount is out of proportion, as if a number were not the right one.",
    "mixed-up": "The answer looks like that to another question.",
}


def issue_document(number: int, bug: Bug, source: str, sources: dict[str, str], rng: random.Random) -> dict[str, Any]:
    """The issue as a line of .beads/issues.jsonl; `source` is the buggy module, `sources` the whole toolbox."""
    module, name = bug.function.module, bug.function.name
    file, test = f"{PACKAGE}/{module}.py", f"tests/test_{module}_{name}.py"
    tags = _tags(bug, rng)
    size = _size(len(enumerate_edits(source, name)), rng)
    created = _FIRST_CREATED + timedelta(hours=19 * (number - 1), minutes=rng.randrange(600))
    stamp = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    document: dict[str, Any] = {
        "id": str(number),
        "title": rng.choice(_TITLES[tags[1]]).format(name=name, area=tags[0]),
        "status": "open",
        "created": stamp,
        "updated": stamp,
        "description": _description(bug, tags, rng),
        "acceptance_criteria": [f"{test} passes"],
        "context_files": [file],
        "tags": tags,
        "dk_priority": rng.choices(("P0", "P1", "P2", "P3"), (1, 3, 5, 3))[0],
        "dk_risk": _risk(bug, count_callers(sources, module, name), rng),
        "dk_size": size,
        "dk_estimated_tokens": _TOKENS[size],
        "dk_max_attempts": MAX_ATTEMPTS,
        "dk_quality_gates": {"test": f"python3 -S -B {test}", "lint": f"python3 -S -B scripts/lint.py {file}"},
        "dk_attempts": 0,
    }
    if rng.random() < 0.05:
        document["dk_tool_hint"] = rng.choice(_TOOLS)
    if rng.random() < 0.1:
        document["dk_forbidden_paths"] = ["scripts/lint.py", f"{PACKAGE}/reports.py"]
    if rng.random() < 0.03:
        document["dk_speculate"] = True
    return document


def count_callers(sources: dict[str, str], module: str, name: str) -> int:
    """How many places in other modules call a function."""
    return sum(len(re.findall(rf"\b{module}\.{name}\(", text)) for text in sources.values())


def _tags(bug: Bug, rng: random.Random) -> list[str]:
    """The area, how it shows, and what it smells of; the last may be wrong or missing."""
    area = next(area for area, modules in _AREAS.items() if bug.function.module in modules)
    shows = "crash" if bug.crashes else "edge-case" if bug.failing_share <= 0.45 else "wrong-result"
    families = {edit.family for edit in bug.edits}
    smells = [
        tag
        for tag, behind, seen, suspected in _SYMPTOMS
        if rng.random() < (seen if families & {*behind} else suspected)
    ]
    return [area, shows, *smells]


def _size(edits: int, rng: random.Random) -> str:
    """From the number of edits that could be tried on the function, judged by eye."""
    judged = edits * rng.uniform(0.8, 1.25)
    return next((size for size, limit in _SIZES if judged < limit), "XL")


def _risk(bug: Bug, callers: int, rng: random.Random) -> str:
    """More callers and a tangled bug look riskier."""
    judged = min(callers, 3) * 0.6 + 1.8 * (len(bug.edits) - 1) + 0.8 * bug.crashes + rng.uniform(0, 2.2)
    return next((risk for risk, limit in _RISKS if judged < limit), "critical")


def _description(bug: Bug, tags: list[str], rng: random.Random) -> str:
    share = round(bug.failing_share * len(bug.function.cases))
    where = f"{PACKAGE}.{bug.function.module}.{bug.function.name}"
    shown = f"{share} of {len(bug.function.cases)} recorded answers of {where} differ"
    details = [_DETAILS[tag] for tag in tags if tag in _DETAILS]
    closing = rng.choice(("Please find the cause and keep the change small.", "It worked before the last clean-up."))
    return " ".join([shown + (" and some calls raise." if bug.crashes else "."), *details, closing])
