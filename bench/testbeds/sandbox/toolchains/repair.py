"""The four repair tools of the sandbox: read a task, search for an edit that passes its gates, commit it.

Started by the launchers that `toolchain_dir` writes, in a workcell: `codex exec - --sandbox ... < prompt.md`.
"""

import contextlib
import json
import re
import resource
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench.testbeds.sandbox.toolchains.edits import Edit, apply_edits, enumerate_edits
from bench.testbeds.sandbox.toolchains.evaluate import FunctionEvaluator, run_gate
from bench.testbeds.sandbox.toolchains.profiles import PROFILES, Profile

VERSION = "1.0.0-sandbox"
FIXED, PARTIAL, USAGE_ERROR, TOOL_ERROR = 0, 1, 2, 3
MEMORY_LIMIT_BYTES = 1 << 30


class UsageError(Exception):
    """The arguments are not those of the tool's convention."""


class Task(NamedTuple):
    """What a prompt asks for."""

    files: tuple[str, ...]
    """Relevant files, relative to the workcell."""
    gates: dict[str, str]
    """{name: shell command}, all of which must pass."""


class Result(NamedTuple):
    """What a tool did."""

    fixed: bool
    candidates: int
    edits: tuple[Edit, ...] = ()
    file: str = ""


def main(tool: str, arguments: list[str]) -> int:
    """Run a tool in the current directory; 0 = fixed, 1 = found nothing, 2 = wrong arguments, 3 = cannot work."""
    try:
        prompt = read_prompt(tool, arguments)
    except UsageError as error:
        print(f"{tool}: {error}", file=sys.stderr)
        return USAGE_ERROR
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    profile = PROFILES[tool]
    directory = Path.cwd()
    try:
        result = repair(read_task(prompt), profile, directory, tool)
        if result.edits:
            _commit(directory, result.file, tool)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        print(f"{tool}: {error}", file=sys.stderr)
        return TOOL_ERROR
    print(f"{tool} tried {result.candidates} candidates in {result.file or 'no file'}")
    print(json.dumps(_report(tool, profile, result, prompt)))
    return FIXED if result.fixed else PARTIAL


def read_prompt(tool: str, arguments: list[str]) -> str:
    """The prompt that a tool's arguments point to: a file for two tools, stdin for the others.

    docs/kernel-contract.md, section 1, has the arguments.
    """
    if tool == "codex":
        _parse(arguments, ["exec", "-"], {"--full-auto"}, {"--sandbox", "--config", "--model"})
    elif tool == "claude":
        flags = {"--dangerously-skip-permissions"}
        options = _parse(arguments, [], flags, {"--print", "--model", "--output-format"})
        return _read_file(options.get("--print", ""), "--print @")
    elif tool == "opencode":
        options = _parse(arguments, ["run", None], set(), {"--format", "--file", "--model"})
        return _read_file("@" + options.get("--file", ""), "--file ")
    else:
        _parse(arguments, ["run"], {"-y", "--quiet"}, set())
    return sys.stdin.buffer.read().decode()


def read_task(prompt: str) -> Task:
    """The files and gates that a kernel's prompt lists."""
    files = re.findall(r"^- (\S+)$", _section(prompt, "Relevant Files"), re.MULTILINE)
    gates = re.findall(r"^- (\S+): `(.+)`$", _section(prompt, "Quality Gates"), re.MULTILINE)
    if not files or not gates:
        raise ValueError("the prompt names no relevant file or no gate")
    return Task(tuple(files), dict(gates))


def repair(task: Task, profile: Profile, directory: Path, tool: str) -> Result:
    """Search for edits that make every gate pass; the file is left repaired, or as it was."""
    failing = {name: output for name, (passed, output) in _run_gates(task, directory).items() if not passed}
    if not failing:
        return Result(True, 0)
    file, function = _suspect(task, "\n".join(failing.values()), directory)
    if not file:
        return Result(False, 0)
    path = directory / file
    source = path.read_text(encoding="utf-8")
    evaluator = FunctionEvaluator(directory, file, function, task.gates[next(iter(failing))])
    tried = 0
    began = time.monotonic()
    for edits in candidates(source, function, profile, tool):
        if tried >= profile.max_candidates:
            break
        candidate = apply_edits(source, edits)
        if candidate is None:
            continue
        time.sleep(max(0.0, began + tried * profile.candidate_seconds - time.monotonic()))
        tried += 1
        if evaluator.passes(candidate):
            path.write_text(candidate, encoding="utf-8")
            if all(passed for passed, _ in _run_gates(task, directory).values()):
                return Result(True, tried, edits, file)
    path.write_text(source, encoding="utf-8")
    return Result(False, tried, (), file)


def candidates(source: str, function: str, profile: Profile, tool: str) -> Iterator[tuple[Edit, ...]]:
    """Single edits family by family, then pairs whose members come early; the source seeds the order."""
    seed = zlib.crc32(f"{tool}\n{source}".encode())

    def rank(edit: Edit) -> int:
        return zlib.crc32(f"{edit.start} {edit.text} {edit.family}".encode(), seed)

    edits = sorted(enumerate_edits(source, function), key=rank)
    for family in profile.families:
        yield from ((edit,) for edit in edits if edit.family == family)
    members = [edit for edit in edits if edit.family in profile.pair_families]
    for total in range(1, 2 * len(members)):
        for second in range((total + 2) // 2, min(total, len(members) - 1) + 1):
            yield members[total - second], members[second]


def _run_gates(task: Task, directory: Path) -> dict[str, tuple[bool, str]]:
    return {name: run_gate(command, directory) for name, command in task.gates.items()}


def _suspect(task: Task, output: str, directory: Path) -> tuple[str, str]:
    """The relevant file and the function that a failing gate's output names."""
    for file in task.files:
        module = file.removesuffix(".py").replace("/", ".")
        found = re.search(re.escape(module) + r"\.(\w+)\(", output)
        if found and (directory / file).is_file():
            return file, found.group(1)
    return "", ""


def _commit(directory: Path, file: str, tool: str) -> None:
    identity = ["-c", f"user.name={tool}", "-c", f"user.email={tool}@sandbox.invalid", "-c", "commit.gpgsign=false"]
    message = f"Repair {Path(file).stem}"
    subprocess.run(["git", "add", "--", file], cwd=directory, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["git", *identity, "commit", "-q", "-m", message], cwd=directory, check=True)


def _report(tool: str, profile: Profile, result: Result, prompt: str) -> dict[str, object]:
    """The last line of a tool's output; tokens and cost follow from the candidates tried."""
    tokens = profile.base_tokens + len(prompt) // 4 + profile.tokens_per_candidate * result.candidates
    confidence = 0.25
    if result.fixed:
        # A second edit and a long search both make a coincidence more likely.
        doubt = 0.12 * max(len(result.edits) - 1, 0) + 0.2 * result.candidates / profile.max_candidates
        confidence = round(0.95 - doubt, 3)
    report: dict[str, object] = {
        "version": VERSION,
        "result": "ok" if result.fixed else "partial",
        "confidence": confidence,
    }
    if tool == "opencode":
        return report
    cost = round(tokens * profile.dollars_per_million_tokens / 1e6, 6)
    return {**report, "tokens_used": tokens, "cost": cost}


def _section(prompt: str, title: str) -> str:
    """The text under a second-level heading that begins with a title."""
    found = re.search(rf"^## {re.escape(title)}[^\n]*\n(.*?)(?=^## |\Z)", prompt, re.MULTILINE | re.DOTALL)
    return found.group(1) if found else ""


def _parse(arguments: list[str], words: list[str | None], flags: set[str], options: set[str]) -> dict[str, str]:
    """Options with their values; the other arguments must be exactly the words (None fits any) and all the flags."""
    values: dict[str, str] = {}
    plain: list[str] = []
    given: set[str] = set()
    waiting = iter(arguments)
    for argument in waiting:
        if argument in options:
            value = next(waiting, None)
            if value is None:
                raise UsageError(f"{argument} needs a value")
            values[argument] = value
        elif argument in flags:
            given.add(argument)
        elif argument.startswith("-") and argument != "-":
            raise UsageError(f"unknown option {argument}")
        else:
            plain.append(argument)
    fits = len(plain) == len(words) and all(word in (None, found) for word, found in zip(words, plain, strict=True))
    if not fits or given != flags:
        expected = [*(word or "TEXT" for word in words), *sorted(flags)]
        raise UsageError(f"expected the arguments {' '.join(expected)}, found: {' '.join(arguments) or 'none'}")
    return values


def _read_file(value: str, option: str) -> str:
    path = Path(value.removeprefix("@"))
    if not value.startswith("@") or not path.is_absolute() or not path.is_file():
        raise UsageError(f"{option} must name an existing file by its absolute path, found {value!r}")
    return path.read_text(encoding="utf-8")
