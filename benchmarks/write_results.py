"""Writes docs/results.md from benchmarks/results/: a file per section, with figures, their date, commit and commands.

python -m benchmarks.write_results                     put the page together
python -m benchmarks.write_results --measure 85-decide  run a section's command first, and keep its output

A section is Markdown under a head of YAML. Where it has one command, and that one names no table or directory of its
reader, what the command prints takes the place of the section's first block of text.
"""

import argparse
import datetime
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
SECTIONS = Path(__file__).parent / "results"
PAGE = ROOT / "docs" / "results.md"
HEAD = """# Results

<!-- Written by `python -m benchmarks.write_results` from benchmarks/results/. -->

Every figure with the command that gives it, the day on which it was measured and the commit. Figures are of 2 cores
without a GPU. Words are in the [glossary](glossary.md).

"""
BLOCK = re.compile(r"```text\n.*?```", re.DOTALL)
PLACEHOLDER = re.compile(r"\b(TABLES|DIR)\b")


@dataclass(frozen=True)
class Section:
    """One section of the page."""

    path: Path
    head: dict[str, Any]
    body: str

    @classmethod
    def read(cls, path: Path) -> "Section":
        """The section in the file ``path``."""
        _, head, body = path.read_text("utf-8").split("---\n", 2)
        return cls(path, yaml.safe_load(head), body.strip())

    def text(self) -> str:
        """The section as it stands on the page."""
        commands = "".join(f"{command}\n" for command in self.head["commands"])
        block = f"```sh\n{commands}```\n\n" if commands else ""
        measured = f"*Measured on {self.head['date']}, commit {self.head['commit']}.*"
        return f"## {self.head['title']}\n\n{measured}\n\n{block}{self.body}\n"

    def has_own_command(self) -> bool:
        """Whether its figures are the output of one command, which needs nothing of its reader's."""
        commands = self.head["commands"]
        return len(commands) == 1 and not PLACEHOLDER.search(commands[0]) and BLOCK.search(self.body) is not None

    def measured(self, commit: str) -> "Section":
        """The section with what its command prints now, at this ``commit``; ends the program where that cannot be."""
        commands = self.head["commands"]
        if not self.has_own_command():
            sys.exit(f"error: {self.path.name}: has no single command of its own: run its commands and edit the file")
        arguments = [sys.executable if word == "python" else word for word in shlex.split(commands[0])]
        done = subprocess.run(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"error: {commands[0]}: ended with {done.returncode}; nothing was written")
        now = datetime.datetime.now(datetime.UTC).date()
        head = {**self.head, "date": str(now), "commit": commit}
        body = BLOCK.sub(lambda _: f"```text\n{done.stdout.rstrip()}\n```", self.body, count=1)
        return Section(self.path, head, body)

    def write(self) -> None:
        """Put the section back into its file."""
        head = yaml.safe_dump(self.head, sort_keys=False, width=1000)
        self.path.write_text(f"---\n{head}---\n\n{self.body}\n", "utf-8")


def commit() -> str:
    """The short hash of the checkout, with a plus when files differ from it."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def page() -> str:
    """The whole page."""
    return HEAD + "\n".join(Section.read(path).text() for path in sorted(SECTIONS.glob("*.md")))


def main() -> None:
    """Measure what is asked for, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.write_results", description=__doc__)
    names = sorted(path.stem for path in SECTIONS.glob("*.md"))
    parser.add_argument("--measure", action="append", default=[], choices=names, help="section to measure again")
    measured_at = commit()  # before the first section is written, which makes files differ from it
    for name in parser.parse_args().measure:
        Section.read(SECTIONS / f"{name}.md").measured(measured_at).write()
    PAGE.write_text(page(), "utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {len(names)} sections")


if __name__ == "__main__":
    main()
