"""Decisions for damaged planner_inputs: always an answer, soon, short, valid, and within the caps."""

import random
import time
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from planner.bundle import Bundle, BundleError
from planner.caps import Caps
from planner.contracts.document import validate
from planner.contracts.kernel import ExecutedPlan, PlannerAction
from planner.decision import decide
from tests.conftest import CORPUS
from tests.fuzz.damage import damaged, text_of

MOST_BYTES, MOST_SECONDS = 64_000, 3.0
NO_BUNDLE = BundleError("no bundle here")


@cache
def contexts() -> list[dict[str, Any]]:
    """The planner_inputs of the excerpt of real runs."""
    manifests = [
        orjson.loads(path.read_bytes()) for path in CORPUS.glob(".cyntra/archives/*/manifest.json") if whole(path)
    ]
    return [m["planner"]["planner_input"] for m in manifests if m.get("planner")]


def whole(path: Path) -> bool:
    """Whether the file is JSON."""
    try:
        return isinstance(orjson.loads(path.read_bytes()), dict)
    except orjson.JSONDecodeError:
        return False


def attempt(draw: random.Random, _: Path) -> None:
    """One damaged input; AssertionError with the input when the answer is not what it must be."""
    check(damaged(draw, draw.choice(contexts())), Caps(*(draw.choice((None, 1, 15)) for _ in range(3))))


def check(planner_input: Any, caps: Caps = Caps(), bundle: Bundle | BundleError = NO_BUNDLE) -> None:
    """AssertionError with the input when the answer is late, long, invalid or beyond a cap."""
    begun = time.process_time()
    try:
        decision = decide(planner_input, bundle, caps=caps)
        answer = orjson.dumps(decision.answer)
        validate(PlannerAction, decision.planner_action, "planner_action")
        plan = validate(ExecutedPlan, decision.executed_plan, "executed_plan")
        assert time.process_time() - begun < MOST_SECONDS, "late"
        assert len(answer) < MOST_BYTES, f"{len(answer)} bytes"
        seconds = plan.timeout_seconds_executed
        assert caps.max_candidates is None or (plan.max_candidates_executed or 0) <= caps.max_candidates, "candidates"
        assert caps.max_minutes is None or (seconds is not None and seconds <= 60 * caps.max_minutes), "minutes"
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}\n{text_of(planner_input)}") from error
