"""Write the four repair tools as executables; `toolchain_dir` gives the directory to put on PATH."""

import hashlib
import os
import shlex
import sys
import threading
from pathlib import Path

TOOLS = ("codex", "claude", "opencode", "crush")

_START = "import sys; sys.path.append({root!r}); from bench.testbeds.sandbox.toolchains.repair import main; "
_CALL = "sys.exit(main({tool!r}, sys.argv[1:]))"


def toolchain_dir(directory: Path | None = None) -> Path:
    """Write the four launchers, unless they are there, and return their directory.

    Launchers are generated and not shipped because an installed wheel keeps neither executable bits nor a fixed
    interpreter. Without `directory` they go to the user's cache, one folder for each interpreter and installation.
    """
    root = str(Path(__file__).resolve().parents[4])
    texts = {tool: _launcher(tool, root) for tool in TOOLS}
    if directory is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        digest = hashlib.sha256("".join(texts.values()).encode()).hexdigest()[:16]
        directory = cache / "cyntra-sandbox" / digest
    directory.mkdir(parents=True, exist_ok=True)
    for tool, text in texts.items():
        _write_executable(directory / tool, text)
    return directory


def _launcher(tool: str, root: str) -> str:
    """-I and -S keep the start-up short and the workcell's own modules out of the tool."""
    code = _START.format(root=root) + _CALL.format(tool=tool)
    return f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S -c {shlex.quote(code)} "$@"\n'


def _write_executable(path: Path, text: str) -> None:
    """Atomically, since two threads or processes may do it at once and another may be running the file."""
    if path.is_file() and os.access(path, os.X_OK) and path.read_text(encoding="utf-8") == text:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.chmod(0o755)
    temporary.replace(path)
