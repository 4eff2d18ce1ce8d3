"""What a run of the kernel needs to see of the machine where the user's home, the repo and temporary places are hidden.

Programs bring their installations along: what a link or a first line (`#!`) leads to belongs to them. Agents need their
own settings and logins, which they also write.
"""

import os
import pwd
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bench
from bench.containment.namespaces import TEMPORARY, Namespaces, name_service
from bench.containment.network import NetworkMode
from planner.artifacts.lenient import section
from planner.artifacts.toolchains import Toolchain
from planner.errors import BenchError

PROFILES: dict[str, tuple[str, ...]] = {
    "claude": (".claude", ".claude.json"),
    "codex": (".codex",),
    "crush": (".config/crush", ".local/share/crush"),
    "opencode": (".config/opencode", ".local/share/opencode", ".local/state/opencode", ".cache/opencode"),
}
"""Where an agent keeps its settings and logins, below the user's home."""
DEVELOPMENT = [
    ".asdf",
    ".bun",
    ".cargo/bin",
    ".deno",
    ".local/bin",
    ".local/share/mise",
    ".local/share/pnpm",
    ".local/share/uv",
    ".nvm",
    ".pyenv",
    ".rbenv",
    ".rustup",
    ".sdkman",
    ".volta",
    "go/bin",
]
"""Where compilers and interpreters are installed in a user's home: gates need them, and secrets are not kept there."""
OURS = ("bench", "cluster", "planner", "schemas", "tune")
LONGEST_FIRST_LINE = 4096
LINKS = 40
"""As many links does Linux follow."""


def namespaces_for(
    repo: Path,
    config: Mapping[str, Any],
    issues: Mapping[str, Mapping[str, Any]],
    command: Sequence[str],
    toolchains: Iterable[Toolchain],
    search_path: str,
    *,
    allowed: Sequence[str] = (),
    network: NetworkMode = "on",
) -> Namespaces:
    """The namespaces of the runs of a bench on ``repo``, by a kernel called ``command`` and these tools.

    ``config`` and ``issues`` name the programs of gates; ``allowed`` are the user's further places, read-only, or
    writable with ":rw" after them; BenchError for one that is not there.
    """
    homes = tuple(dict.fromkeys((Path.home(), Path(pwd.getpwuid(os.getuid()).pw_dir))))
    hidden = tuple(place for place in (*homes, repo) if place != Path("/") and place.is_dir())
    tools = list(toolchains)
    files = [Path(command[0]), *(tool.executable for tool in tools), *_paths_in(command[1:])]
    files += [file for gate in _gate_commands(config, issues) for file in _paths_in(gate.split())]
    directories = [Path(directory) for directory in search_path.split(os.pathsep) if directory.startswith("/")]
    directories += [home / place for home in homes for place in DEVELOPMENT if (home / place).is_dir()]
    directories += [directory.parent for directory in directories if (directory.parent / "pyvenv.cfg").exists()]
    directories += [Path(sys.prefix), Path(sys.base_prefix), *name_service()]
    directories += [Path(bench.__file__).parents[1] / package for package in OURS]
    shown, writable = _allowed(allowed)
    profiles = {place for tool in tools for name in _names(tool) for place in PROFILES.get(name, ())}
    return Namespaces(
        hidden=hidden,
        shown=(
            *dict.fromkeys(_around(program, hidden) for file in files for program in chain_of(file, search_path)),
            *(directory for directory in dict.fromkeys(directories) if not _shows_all(directory, hidden)),
            *shown,
        ),
        writable=(
            *(home / place for home in homes for place in sorted(profiles) if (home / place).exists()),
            *writable,
        ),
        network=network,
    )


def chain_of(program: Path, search_path: str) -> list[Path]:
    """A program, and one after another what its link or its first line leads to."""
    found: list[Path] = []
    next_one: Path | None = program
    while next_one is not None and len(found) < LINKS:
        found.append(next_one)
        next_one = _behind(next_one, search_path)
    return found


def _behind(program: Path, search_path: str) -> Path | None:
    """What a link leads to, or what runs a script; None for a program by itself."""
    if program.is_symlink():
        return Path(os.path.normpath(program.parent / program.readlink()))
    try:
        with program.open("rb") as file:
            line = file.readline(LONGEST_FIRST_LINE)
    except OSError:
        return None
    words = os.fsdecode(line).removeprefix("#!").split() if line.startswith(b"#!") else []
    if words and Path(words[0]).name == "env":
        names = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        words = [found] if names and (found := shutil.which(names[0], path=search_path)) else []
    return Path(words[0]) if words else None


def _around(program: Path, hidden: Sequence[Path]) -> Path:
    """What was installed together with a program: what is around its bin, or its directory, or it alone."""
    directory = program.parent
    shared = (Path("/"), Path("/usr"), Path("/usr/local"), Path.home(), Path.home() / ".local")
    wider = [directory.parent] if directory.name == "bin" and directory.parent not in shared else []
    return next((place for place in (*wider, directory) if not _shows_all(place, hidden)), program)


def _shows_all(place: Path, hidden: Sequence[Path]) -> bool:
    """Whether all of something that is hidden would be seen with the place."""
    return any(secret.is_relative_to(place) for secret in (*hidden, *TEMPORARY))


def _gate_commands(config: Mapping[str, Any], issues: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The shell commands of the config's gates, and of the issues' own."""
    gates = [value for key, value in section(dict(config), "gates").items() if key.endswith("_command")]
    gates += [gate for issue in issues.values() for gate in section(dict(issue), "dk_quality_gates").values()]
    return [gate for gate in gates if isinstance(gate, str)]


def _paths_in(words: Iterable[str]) -> list[Path]:
    """The absolute paths in a command line."""
    return [Path(word) for word in words if word.startswith("/") and Path(word).exists()]


def _names(tool: Toolchain) -> set[str]:
    return {tool.name, tool.executable.name}


def _allowed(texts: Sequence[str]) -> tuple[list[Path], list[Path]]:
    """The user's own places to read and to write."""
    shown: list[Path] = []
    writable: list[Path] = []
    for text in texts:
        path = Path(text.removesuffix(":rw")).expanduser().absolute()
        if not path.exists():
            raise BenchError(f"--allow-path {text}: there is no {path}")
        (writable if text.endswith(":rw") else shown).append(path)
    return shown, writable
