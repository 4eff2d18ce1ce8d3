"""The floors of the house: which room stands on which, and the imports that go up or across."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("schemas", "cluster", "planner", "tune", "bench")

FLOORS: tuple[tuple[str, ...], ...] = (
    (
        "schemas",
        "planner.dimensions",
        "planner.errors",
        "planner.command_help",
        "planner.gc_pause",
        "planner.lazy_numpy",
        "planner.manner",
        "planner.provenance",
        "planner.standard_output",
        "planner.terminal_lines",
    ),
    (
        "planner.begun_work",
        "planner.failed_command",
        "planner.files",
        "planner.help_sections",
        "planner.model_settings",
        "planner.remote_directory",
    ),
    ("planner.command_app", "planner.run_directory"),
    ("planner.places",),
    ("planner.checked",),
    ("cluster", "planner.contracts"),
    ("planner.actions",),
    ("planner.artifacts",),
    ("planner.past_runs",),
    ("planner.history",),
    ("planner.context",),
    ("planner.encoding",),
    ("planner.dataset",),
    ("planner.scoring",),
    ("planner.config",),
    ("planner.policy_names",),
    ("planner.policies", "planner.models"),
    ("planner.caps", "planner.bundle"),
    ("planner.decision",),
    ("planner.serve", "planner.bundle_probe"),
    ("planner.bundle_check",),
    ("planner.runs",),
    ("planner.training",),
    ("planner.export", "planner.evaluation"),
    ("planner.display",),
    ("planner.options",),
    ("planner.command_options", "planner.own_places"),
    ("tune", "bench.options", "bench.containment"),
    ("bench.planning",),
    ("bench.ledger_versions", "bench.ledger_file", "bench.ledger_place", "bench.logged_execution"),
    ("bench.ledger", "bench.ledger_copy"),
    ("bench.earlier_ledger",),
    ("bench.executors",),
    ("bench.judging", "bench.dispatch"),
    ("bench.engine",),
    ("bench.doctor", "bench.report", "bench.tables"),
    ("bench.testbeds", "bench.view"),
    ("bench.quickstart",),
    ("bench.cli",),
    ("planner.commands",),
    ("planner.cli",),
    ("planner.__main__",),
)
"""From the ground up. A room imports only rooms on lower floors, and files of its own."""

FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
NARROW: dict[str, tuple[str, ...]] = {
    "schemas": (),
    "cluster": ("planner.command_app", "planner.errors", "planner.manner"),
    "bench.containment": ("planner.errors",),
}
"""Rooms that stand by themselves -> all of ours that they may import."""
PARTS = {
    ("planner.bundle", "planner.policies"): ("planner.policies.readings", "planner.policies.structural_file"),
    ("planner.decision", "planner.policies"): ("planner.policies.heuristic",),
}
"""(room, lower room) -> all that it may import of that one: decide runs without what the other policies need."""


@dataclass(frozen=True)
class Offence:
    """An import that goes up or across."""

    path: Path
    line: int
    importer: str
    imported: str
    why: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.importer} imports {self.imported}: {self.why}"


def offences(root: Path) -> list[Offence]:
    """All of them in the packages under ``root``; any import statement counts, wherever in a file it stands."""
    return [
        offence
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
        for offence in offences_of(path.read_text("utf-8"), path.relative_to(root))
    ]


def offences_of(source: str, path: Path) -> Iterator[Offence]:
    """Those of one file, whose ``path`` is relative to the root of the packages."""
    parts = path.with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    package = parts[:-1]
    for line, imported in imports(source, package):
        why = _why_not(module, imported)
        if why is not None:
            yield Offence(path, line, module, imported, why)


def imports(source: str, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that a file in ``package`` imports; of ``from a import b`` it is ``a.b``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)


def room_of(name: str) -> str | None:
    """The room that a dotted name lies in; None for the packages themselves and for what is not ours."""
    parts = name.split(".")
    return next((room for n in (2, 1) if (room := ".".join(parts[:n])) in FLOOR_OF), None)


def _why_not(module: str, imported: str) -> str | None:
    own, other = room_of(module), room_of(imported)
    package = imported.partition(".")[0]
    if package not in PACKAGES:
        return None
    if own is None and module not in PACKAGES:
        return f"{module} has no floor: give it one in tests/floors.py"
    if other is None and imported.count(".") > 1:
        return f"{imported} has no floor: give it one in tests/floors.py"
    if other is None and package != module.partition(".")[0]:
        # A package by itself: as good as its lowest room.
        other = min((room for room in FLOOR_OF if room.startswith(package)), key=lambda room: FLOOR_OF[room])
    if own is None or other is None or own == other:
        return None
    if own in NARROW:
        return None if imported.startswith(NARROW[own]) else f"{own} may import of ours only {NARROW[own] or 'itself'}"
    if not imported.startswith(parts := PARTS.get((own, other), ("",))):
        return f"{own} may import of {other} only {', '.join(parts)}"
    if FLOOR_OF[other] >= FLOOR_OF[own]:
        direction = "up" if FLOOR_OF[other] > FLOOR_OF[own] else "across"
        return f"that goes {direction}; {own} stands on floor {FLOOR_OF[own]}, {other} on {FLOOR_OF[other]}"
    return None
