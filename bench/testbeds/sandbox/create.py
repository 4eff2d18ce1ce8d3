"""Writing a sandbox: `create_sandbox(dir, issues=60, seed=0)` makes a small real git repo with bugs and issues."""

import json
import os
import random
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import yaml

from bench.testbeds.sandbox.bugs import PACKAGE, Bug, Function, buggy_sources, choose_bugs, library_sources
from bench.testbeds.sandbox.triage import issue_document
from bench.testbeds.sandbox.world.catalogue import SandboxWorld, sandbox_world
from cluster.connect import usable_cpus
from planner.errors import BenchError

MAX_ISSUES = 180
"""One for each function of the toolbox."""
UNIVERSE_ID = "sandbox"
_TEMPLATE = Path(__file__).parent / "template"
_COMMIT_DATE = "2025-01-06T08:00:00 +0000"


def create_sandbox(
    dir: Path, *, issues: int = 60, seed: int = 0, seconds_per_minute: float = 0.05, worlds: int = 0
) -> Path:
    """Write the repo into a new or empty directory and return it; the same arguments give the same commit.

    `seconds_per_minute` is how many real seconds a planned minute lasts when cyntra-sandbox runs there. `worlds` adds
    so many worlds to evolve, and a world job for each after the other issues, which stay the same to the byte.
    BenchError for more than MAX_ISSUES issues, or for a directory that holds something.
    """
    if not 1 <= issues <= MAX_ISSUES:
        raise BenchError(f"a sandbox has 1 to {MAX_ISSUES} issues, {issues} were asked for")
    if not 0 < seconds_per_minute <= 60:
        raise BenchError(f"seconds_per_minute must be above 0 and at most 60, found {seconds_per_minute}")
    if dir.exists() and any(dir.iterdir()):
        raise BenchError(f"{dir} is not empty: name a new directory")
    bugs = choose_bugs(issues, seed)
    originals = library_sources()
    sources = buggy_sources(originals, bugs)
    _verify(bugs, originals, sources)
    _write_code(dir, bugs, sources)
    _write_cyntra_files(dir, bugs, sources, seed, seconds_per_minute)
    _write_worlds(dir, [sandbox_world(number, issues + number, seed) for number in range(1, worlds + 1)])
    _commit(dir)
    return dir


def gate_script(function: Function) -> str:
    """The script behind a function's gate: its recorded answers."""
    lines = [f"    ({arguments!r}, {_literal(answer)})," for arguments, answer in function.cases]
    head = f'"""What {PACKAGE}.{function.module}.{function.name} must answer: (arguments, answer) of each call."""'
    imports = f"from _check import check\n\nfrom {PACKAGE}.{function.module} import {function.name}"
    return "\n".join([head, "", imports, "", "CASES = [", *lines, "]", "", f"check({function.name}, CASES)", ""])


def _literal(answer: Any) -> str:
    return answer.__name__ if isinstance(answer, type) else repr(answer)


def _write_code(dir: Path, bugs: list[Bug], sources: dict[str, str]) -> None:
    for path in sorted(_TEMPLATE.rglob("*.txt")):
        name = path.relative_to(_TEMPLATE).with_suffix("").as_posix()
        _write(dir / name.replace("dot_", "."), path.read_text(encoding="utf-8"))
    _write(dir / PACKAGE / "__init__.py", '"""Pure functions about numbers, text, dates and more."""\n')
    for module, source in sources.items():
        _write(dir / PACKAGE / f"{module}.py", source)
    for bug in bugs:
        _write(dir / "tests" / f"test_{bug.function.module}_{bug.function.name}.py", gate_script(bug.function))


def _write_cyntra_files(dir: Path, bugs: list[Bug], sources: dict[str, str], seed: int, minute: float) -> None:
    rng = random.Random(f"triage {seed}")
    lines = []
    for number, bug in enumerate(bugs, start=1):
        document = issue_document(number, bug, sources[bug.function.module], sources, rng)
        lines.append(json.dumps(document, ensure_ascii=False) + "\n")
    _write(dir / ".beads" / "issues.jsonl", "".join(lines))
    _write(dir / ".beads" / "deps.jsonl", "")
    config = dir / ".cyntra" / "config.yaml"
    _write(config, config.read_text(encoding="utf-8") + f"sandbox: {{seconds_per_minute: {minute:g}}}\n")


def _write_worlds(dir: Path, worlds: list[SandboxWorld]) -> None:
    for world in worlds:
        folder = dir / "fab" / "worlds" / world.world_id
        _write(folder / "world.yaml", yaml.safe_dump(world.definition, sort_keys=False))
        _write(folder / "genome.yaml", yaml.safe_dump(world.genome, sort_keys=False))
    universe, issues = dir / "universes" / UNIVERSE_ID / "universe.yaml", dir / ".beads" / "issues.jsonl"
    entries = "".join(f"  - {json.dumps(world.entry)}\n" for world in worlds)
    head, worlds_key, rest = universe.read_text(encoding="utf-8").partition("worlds:\n")
    _write(universe, f"{head}{worlds_key}{entries}{rest}")
    lines = "".join(json.dumps(world.issue, ensure_ascii=False) + "\n" for world in worlds)
    _write(issues, issues.read_text(encoding="utf-8") + lines)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _verify(bugs: list[Bug], originals: dict[str, str], sources: dict[str, str]) -> None:
    """Run each gate with all bugs present and with all but its own: it must fail, and then pass."""
    workers = min(usable_cpus(), len(bugs))
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(workers) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(workers):
            _write_code(Path(name) / str(number), bugs, sources)
            copies.put(Path(name) / str(number))

        def tells(bug: Bug) -> bool:
            copy = copies.get()
            others = [other for other in bugs if other is not bug]
            repaired = buggy_sources(originals, others)[bug.function.module]
            found = _tells_buggy_from_repaired(copy, bug.function, sources[bug.function.module], repaired)
            copies.put(copy)
            return found

        for bug, found in zip(bugs, pool.map(tells, bugs), strict=True):
            if not found:
                function = bug.function
                raise RuntimeError(f"the gate of {function.module}.{function.name} does not tell buggy from repaired")


def _tells_buggy_from_repaired(directory: Path, function: Function, buggy: str, repaired: str) -> bool:
    """Whether a function's gate fails in ``directory`` and passes with its module repaired; the code stays buggy."""
    module = directory / PACKAGE / f"{function.module}.py"
    if _gate_passes(directory, function):
        return False
    _write(module, repaired)
    passes = _gate_passes(directory, function)
    _write(module, buggy)
    return passes


def _gate_passes(directory: Path, function: Function) -> bool:
    script = f"tests/test_{function.module}_{function.name}.py"
    command = [sys.executable, "-S", "-B", script]
    return subprocess.run(command, cwd=directory, capture_output=True, check=False).returncode == 0


def _commit(dir: Path) -> None:
    """Commit everything on `main`, without the user's git settings: the hash depends on the bytes alone."""
    identity = {"NAME": "Cyntra sandbox", "EMAIL": "sandbox@cyntra.invalid", "DATE": _COMMIT_DATE}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    environment |= {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in identity.items()}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    commands = (
        ["init", "--quiet", "--initial-branch=main", "--object-format=sha1", "--template="],
        ["-c", "core.autocrlf=false", "-c", "core.excludesFile=", "add", "--all"],
        ["commit", "--quiet", "-m", "A toolbox with open issues"],
    )
    for command in commands:
        subprocess.run(["git", *command], cwd=dir, env=environment, check=True)
