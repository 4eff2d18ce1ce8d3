"""Tests of writing whole or not at all."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from planner.files import staged_directory

REPLACE = """
import os, sys
from pathlib import Path
import planner.files as files

out, die_at = Path(sys.argv[1]), int(sys.argv[2])
calls = 0

def traced(event, arguments):
    global calls
    if event in ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "ctypes.dlsym", "open", "shutil.rmtree"):
        calls += 1
        if calls == die_at:
            os.kill(os.getpid(), 9)

if sys.argv[3] == "plain":
    files._exchange = lambda one, other: False
with files.staged_directory(out) as staging:
    (staging / "new").write_text("x" * 1000)
    sys.addaudithook(traced)
print("done")
"""


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("way", ["exchanged", "plain"])
def test_whenever_a_replacement_dies_the_old_or_the_new_is_there_whole(tmp_path: Path, way: str) -> None:
    for die_at in range(1, 60):
        out = tmp_path / str(die_at) / "bundle"
        out.mkdir(parents=True)
        (out / "old").write_text("old")
        done = subprocess.run([sys.executable, "-c", REPLACE, str(out), str(die_at), way], capture_output=True)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        if way == "plain" and not out.exists():
            # Two names cannot change at once without renameat2: then the old directory lies beside, whole.
            kept = [names(path) for path in out.parent.iterdir()]
            assert ["old"] in kept and ["new"] in kept
            continue
        assert names(out) in (["old"], ["new"])
    else:
        pytest.fail("the replacement never came to its end")
    assert names(out) == ["new"] and names(out.parent) == ["bundle"]


def test_an_error_leaves_the_old_directory_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ValueError, match="no"), staged_directory(tmp_path / "out") as staging:
        (staging / "half").write_text("")
        raise ValueError("no")
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == []
