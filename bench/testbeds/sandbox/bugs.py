"""Choosing the bugs of a sandbox: edits of the toolbox's functions that their gates really notice."""

import copy
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NamedTuple

from bench.testbeds.sandbox.toolchains.edits import Edit, apply_edits, enumerate_edits
from planner.errors import BenchError

PACKAGE = "toolbox"
LIBRARY = Path(__file__).parent / "library"

# How often each kind of mistake is made, out of their sum.
_FAMILY_WEIGHTS = {
    "boundary": 12,
    "off_by_one": 11,
    "comparison": 7,
    "arithmetic": 9,
    "boolean": 4,
    "negation": 4,
    "constant": 13,
    "default": 8,
    "index": 10,
    "call": 8,
    "arguments": 9,
    "variable": 9,
}
# Long functions are where two mistakes are made at once: (fewer possible edits than, share of compound bugs).
_COMPOUND_SHARES = ((75, 0.22), (10_000, 0.45))
# Two mistakes in one function tend to be of a kind: both about operators, both about values, or unrelated.
_OPERATORS = ("boundary", "off_by_one", "comparison", "arithmetic", "boolean")
_VALUES = ("constant", "default", "index", "call", "arguments")
_COMPOUND_GROUPS = ((_OPERATORS, 9), (_VALUES, 5), (tuple(_FAMILY_WEIGHTS), 6))
_TRIES_PER_FUNCTION = 25
_MAX_STEPS = 20_000


class Function(NamedTuple):
    """A function of the toolbox with what it is known to answer."""

    module: str
    """Module name within the package."""
    name: str
    cases: tuple[tuple[tuple[Any, ...], Any], ...]
    """(arguments, answer); the answer is an exception class where one must be raised."""


class Bug(NamedTuple):
    """One mistake in one function."""

    function: Function
    edits: tuple[Edit, ...]
    """Edits of the module's original source that make the mistake: one, or two for a compound bug."""
    failing_share: float
    """Share of the recorded answers that the mistake changes, in (0, 1]."""
    crashes: bool
    """Whether some call raises what it should not."""


class _TooManySteps(BaseException):
    """A buggy function runs on and on."""


def library_sources() -> dict[str, str]:
    """{module: source} of the toolbox as a sandbox gets it, without the example inputs."""
    sources = {}
    for path in sorted(LIBRARY.glob("[a-z]*.py.txt")):
        sources[path.name.removesuffix(".py.txt")] = (
            path.read_text(encoding="utf-8").split("\nEXAMPLES", 1)[0].rstrip() + "\n"
        )
    return sources


def library_functions(sources: dict[str, str]) -> list[Function]:
    """Every function that has example inputs, with the answers that the original gives to them."""
    functions = []
    for module in sources:
        path = LIBRARY / f"{module}.py.txt"
        text = path.read_text(encoding="utf-8")
        if "\nEXAMPLES" not in text:
            continue
        namespace: dict[str, Any] = {"__name__": module}
        exec(compile(text, str(path), "exec"), namespace)
        for name, examples in namespace["EXAMPLES"].items():
            cases = tuple((arguments, _answer(namespace[name], arguments)) for arguments in examples)
            functions.append(Function(module, name, cases))
    return functions


def choose_bugs(issues: int, seed: int) -> list[Bug]:
    """One bug in each of `issues` functions, the same for the same seed; BenchError above the maximum."""
    sources = library_sources()
    functions = library_functions(sources)
    rng = random.Random(seed)
    rng.shuffle(functions)
    bugs: list[Bug] = []
    for function in functions:
        if len(bugs) == issues:
            break
        bug = _find_bug(sources[function.module], function, rng)
        if bug is not None:
            bugs.append(bug)
    if len(bugs) < issues:
        raise BenchError(f"{issues} issues were asked for, but only {len(bugs)} functions can carry a bug: ask less")
    return bugs


def buggy_sources(sources: dict[str, str], bugs: list[Bug]) -> dict[str, str]:
    """The modules with all bugs made."""
    edits: dict[str, list[Edit]] = {}
    for bug in bugs:
        edits.setdefault(bug.function.module, []).extend(bug.edits)
    return {module: _edited(source, tuple(edits.get(module, ()))) for module, source in sources.items()}


def failing_cases(source: str, function: Function) -> list[Any]:
    """The wrong answers that a module's source gives; a step limit, not a clock, ends endless loops."""
    module = ModuleType(function.module)
    exec(compile(source, f"{function.module}.py", "exec"), module.__dict__)
    wrong = []
    for arguments, expected in function.cases:
        answer = _answer(module.__dict__[function.name], arguments)
        if answer != expected:
            wrong.append(answer)
    return wrong


def _find_bug(source: str, function: Function, rng: random.Random) -> Bug | None:
    edits = enumerate_edits(source, function.name)
    compound = rng.random() < next(share for limit, share in _COMPOUND_SHARES if len(edits) < limit)
    for _ in range(_TRIES_PER_FUNCTION):
        chosen = _draw_two(edits, rng) if compound else _draw_one(edits, rng, tuple(_FAMILY_WEIGHTS))
        bug = _checked_bug(source, function, chosen) if chosen else None
        if bug is not None:
            return bug
    return None


def _draw_one(edits: list[Edit], rng: random.Random, families: tuple[str, ...]) -> tuple[Edit, ...]:
    """A family first, so that families with many possible edits are not drawn more often."""
    present = [family for family in families if any(edit.family == family for edit in edits)]
    if not present:
        return ()
    family = rng.choices(present, [_FAMILY_WEIGHTS[name] for name in present])[0]
    return (rng.choice([edit for edit in edits if edit.family == family]),)


def _draw_two(edits: list[Edit], rng: random.Random) -> tuple[Edit, ...]:
    families = rng.choices([group for group, _ in _COMPOUND_GROUPS], [weight for _, weight in _COMPOUND_GROUPS])[0]
    first, second = _draw_one(edits, rng, families), _draw_one(edits, rng, families)
    return first + second if len({*first, *second}) == 2 else ()


def _checked_bug(source: str, function: Function, edits: tuple[Edit, ...]) -> Bug | None:
    """The bug, if its gate notices every part of it, it ends, and small edits can undo it."""
    buggy = apply_edits(source, edits)
    if buggy is None or not _can_be_undone(source, function, edits):
        return None
    try:
        wrong = failing_cases(buggy, function)
        if len(edits) > 1 and not all(failing_cases(_edited(source, (edit,)), function) for edit in edits):
            return None
    except _TooManySteps:
        return None
    # A slip that breaks every call with a type error would have been seen when it was made.
    if not wrong or all(answer in (TypeError, NameError, UnboundLocalError) for answer in wrong):
        return None
    crashes = any(isinstance(answer, type) and issubclass(answer, Exception) for answer in wrong)
    return Bug(function, edits, len(wrong) / len(function.cases), crashes)


def _can_be_undone(source: str, function: Function, edits: tuple[Edit, ...]) -> bool:
    """Whether for each edit some single edit of the edited source gives the source back."""
    for edit in edits:
        edited = _edited(source, (edit,))
        if not any(apply_edits(edited, (back,)) == source for back in enumerate_edits(edited, function.name)):
            return False
    return True


def _edited(source: str, edits: tuple[Edit, ...]) -> str:
    edited = apply_edits(source, edits)
    if edited is None:
        raise ValueError("two bugs touch each other")
    return edited


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """What a call returns, or the class of what it raises; _TooManySteps passes through."""
    steps = 0

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal steps
        steps += 1
        if steps > _MAX_STEPS:
            raise _TooManySteps
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        return function(*copy.deepcopy(arguments))
    except Exception as error:
        return type(error)
    finally:
        sys.settrace(before)
