"""Where a bench keeps its own things in a repo: out of the sight of the repo's git."""

from pathlib import Path


def bench_directory(root: Path) -> Path:
    """``root/.cyntra/planner/bench``, made; what is in it does not show up in `git status`."""
    return hidden_directory(root, "bench")


def hidden_directory(root: Path, name: str) -> Path:
    """``root/.cyntra/planner/NAME``, made, out of the sight of the repo's git."""
    directory = root.resolve() / ".cyntra" / "planner" / name
    directory.mkdir(parents=True, exist_ok=True)
    (directory / ".gitignore").write_text("*\n")
    return directory


def ledger_in_repo(root: Path) -> Path:
    """The ledger's place."""
    return bench_directory(root) / "ledger.sqlite"
