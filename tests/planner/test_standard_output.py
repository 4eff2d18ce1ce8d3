"""A command whose reader goes away: its files are written, and that is no error."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from planner.cli import main; main()"]


@pytest.mark.parametrize("redirect", ["| head -c 1", "| true", ">&-", "> /dev/full"])
def test_a_report_is_on_disk_though_nobody_reads_it(corpus_dataset: Path, tmp_path: Path, redirect: str) -> None:
    shutil.copytree(corpus_dataset, tmp_path / "dataset")
    command = " ".join(f"'{part}'" for part in COMMAND)
    script = f"set -o pipefail; {command} dataset check '{tmp_path / 'dataset'}' {redirect}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (tmp_path / "dataset-check.json").stat().st_size > 100
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or "/dev/full" in redirect, done.stderr


def test_what_cannot_be_written_is_refused_before_any_work(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [*COMMAND, "dataset", "build", str(corpus), "--out", str(tmp_path / "file" / "dataset")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "RAY_ADDRESS": "nobody:1"})
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "is not a directory" in done.stderr and "Ray" not in done.stderr
