"""A section's block is what its command prints; what is said around it stays."""

import re
from pathlib import Path

import pytest

from benchmarks.write_results import ROOT, SECTIONS, Section

SECTION = """---
title: "Speed: nothing"
date: "2026-01-01"
commit: "0000000"
commands:
  - python -c "print('a  b'); print('c')"
---

Said before:

```text
old
```

Said after, with another block:

```text
kept
```
"""


def test_a_measured_section_keeps_what_is_said_around_its_block(tmp_path: Path) -> None:
    path = tmp_path / "99-nothing.md"
    path.write_text(SECTION)
    before = Section.read(path)
    before.measured("1234567").write()
    after = Section.read(path)
    assert after.body == before.body.replace("old", "a  b\nc")
    assert after.head["commit"] == "1234567" and after.head["date"] != "2026-01-01"
    assert after.head["title"] == before.head["title"] and after.head["commands"] == before.head["commands"]


def test_a_section_whose_command_fails_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "99-nothing.md"
    path.write_text(SECTION.replace("print('c')", "raise SystemExit(3)"))
    with pytest.raises(SystemExit, match="ended with 3"):
        Section.read(path).measured("1234567").write()
    assert "old" in path.read_text() and "0000000" in path.read_text()


def test_make_bench_can_measure_every_section_that_it_names() -> None:
    (names,) = re.findall(r"^SPEED := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    sections = [Section.read(SECTIONS / f"{name}.md") for name in names.replace("\\\n", " ").split()]
    assert len(sections) > 5
    assert [section.path.name for section in sections if not section.has_own_command()] == []
    # The pages of speed are all there: a row without a command would go stale.
    speed = {path.stem for path in SECTIONS.glob("*.md") if Section.read(path).head["title"].startswith("Speed: ")}
    assert speed == {section.path.stem for section in sections}
