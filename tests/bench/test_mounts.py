"""What a run has mounted in its work directory is not emptied when that is removed. Tried in a mount namespace."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALONE = ("unshare", "--map-root-user", "--mount")
BY_WORKER = "from pathlib import Path; from bench.containment.workdirs import remove_tree; remove_tree(Path({work!r}))"
BY_SUPERVISOR = "from bench.containment.supervisor import remove; remove({work!r})"

pytestmark = pytest.mark.skipif(
    subprocess.run([*ALONE, "true"], capture_output=True).returncode != 0,
    reason="this user may not make a mount namespace here",
)


@pytest.mark.parametrize("removal", [BY_WORKER, BY_SUPERVISOR])
@pytest.mark.parametrize("name", ["mine", "with a space\\and more"])
def test_a_directory_of_the_users_that_a_run_mounted_keeps_its_files(tmp_path: Path, removal: str, name: str) -> None:
    work, mine = tmp_path / "work", tmp_path / name
    (work / "clone" / name).mkdir(parents=True)
    mine.mkdir()
    (mine / "file").write_text("mine")
    program = f"""
import subprocess
subprocess.run(["mount", "--bind", {str(mine)!r}, {str(work / "clone" / name)!r}], check=True)
{removal.format(work=str(work))}
"""
    subprocess.run([*ALONE, sys.executable, "-c", program], cwd=ROOT, check=True)
    assert (mine / "file").read_text() == "mine"
    assert not work.exists()


def test_what_cannot_be_detached_stays_with_all_around_it(tmp_path: Path) -> None:
    """A mount of another namespace's owner: as that of a run with more rights than ours."""
    work = tmp_path / "work"
    (work / "clone" / "mount").mkdir(parents=True)
    (work / "clone" / "file").write_text("")
    # In the second namespace, whose user owns none of the first one's mounts, they are locked.
    program = f"""
import subprocess, sys
subprocess.run(["mount", "-t", "tmpfs", "none", {str(work / "clone" / "mount")!r}], check=True)
remove = {BY_WORKER.format(work=str(work))!r}
subprocess.run([*{ALONE!r}, sys.executable, "-c", remove], check=True)
"""
    subprocess.run([*ALONE, sys.executable, "-c", program], cwd=ROOT, check=True)
    assert (work / "clone" / "file").exists()
