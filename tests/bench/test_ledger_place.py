"""Where a ledger may lie, and the copies of it elsewhere."""

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from bench import ledger_place
from bench.doctor.machine import ledger as examine_ledger
from bench.ledger import Ledger
from bench.ledger_copy import copied
from bench.ledger_place import mount_of
from planner.errors import BenchError, PathError
from tests.bench.test_ledger import bench_case
from tests.bench.test_objective import outcome

MOUNTS = r"""
22 1 0:20 / / rw,relatime shared:1 - {root} overlay rw
30 22 0:21 / /tmp rw - tmpfs tmpfs rw
31 22 0:22 / {point} rw,relatime shared:3 - {kind} server:/export rw,vers=4.2
"""


def mounted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, *, point: Path | None = None, root: str = "overlay"
) -> None:
    """The machine's list of mounts, as if ``kind`` were mounted at ``point`` (default: the test's directory)."""
    listed = tmp_path / "mountinfo"
    where = str(point or tmp_path.resolve()).replace(" ", r"\040")
    listed.write_text(MOUNTS.format(kind=kind, point=where, root=root))
    monkeypatch.setattr(ledger_place, "MOUNTS", listed)


@pytest.mark.parametrize("kind", ["nfs4", "nfs", "cifs", "smb3", "fuse.sshfs", "9p", "lustre"])
def test_a_ledger_on_a_network_file_system_is_refused_with_the_cure(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted(monkeypatch, tmp_path, kind)
    with pytest.raises(BenchError, match=rf"network file system \({kind} at .*--ledger.*--ledger-copy"):
        Ledger.open(tmp_path / "deep" / "ledger.sqlite")
    assert not (tmp_path / "deep").exists()
    with pytest.raises(BenchError, match="network file system"):
        examine_ledger(tmp_path)


@pytest.mark.parametrize(("kind", "root"), [("ext4", "nfs4"), ("overlay", "9p"), ("tmpfs", "9p"), ("fuse", "ext4")])
def test_a_disk_of_this_machine_overlay_and_tmpfs_are_fine(
    kind: str, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted(monkeypatch, tmp_path, kind, root=root)
    Ledger.open(tmp_path / "ledger.sqlite").close()


def test_a_link_into_a_network_file_system_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share = tmp_path / "the share"
    share.mkdir()
    (tmp_path / "link").symlink_to(share)
    mounted(monkeypatch, tmp_path, "cifs", point=share.resolve())
    with pytest.raises(BenchError, match="the share"):
        Ledger.open(tmp_path / "link" / "ledger.sqlite")
    Ledger.open(tmp_path / "ledger.sqlite").close()


def test_a_sandbox_whose_root_is_9p_is_a_machine_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch, tmp_path, "ext4", point=Path("/elsewhere"), root="9p")
    assert mount_of(Path("/home/x"), ledger_place.MOUNTS.read_text()) == ("9p", Path("/"))
    ledger_place.require_own_disk(Path("/home/x/ledger.sqlite"))


def test_the_mount_on_top_of_another_counts() -> None:
    mounts = MOUNTS.format(kind="nfs", point="/data", root="ext4") + "40 22 0:9 / /data rw - ext4 /dev/sda1 rw\n"
    assert mount_of(Path("/data/x"), mounts) == ("ext4", Path("/data"))
    assert mount_of(Path("/database/x"), mounts) == ("ext4", Path("/"))


def test_a_uri_is_no_place_for_a_ledger() -> None:
    with pytest.raises(BenchError, match="cannot lie at a URI"):
        Ledger.open(Path("s3://bucket/ledger.sqlite"))


def test_a_copy_is_a_whole_ledger_at_any_moment_and_nobody_owns_it(tmp_path: Path) -> None:
    path, copy = tmp_path / "ledger.sqlite", tmp_path / "there" / "copy.sqlite"
    cases = [bench_case(str(number)) for number in range(60)]
    seen: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            with Ledger.read(copy) as ledger:
                seen.append(ledger.progress().finished)
            time.sleep(0.01)

    with Ledger.open(path) as ledger, copied(ledger.path, f"file://{copy}", every_s=0.02):
        reader = threading.Thread(target=look)
        reader.start()
        ledger.add_cases(cases)
        for execution in ledger.planned():
            ledger.start([execution.execution_id])
            ledger.finish({execution.execution_id: outcome()})
        over.set()
        reader.join()
    assert seen == sorted(seen) and len(set(seen)) > 2
    assert [file.name for file in copy.parent.iterdir()] == [copy.name]
    with Ledger.open(copy) as opened:
        assert opened.progress().finished == 2 * len(cases)


def test_what_was_recorded_before_a_bench_fails_is_in_the_copy(tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    with (
        pytest.raises(KeyboardInterrupt),
        Ledger.open(tmp_path / "ledger.sqlite") as ledger,
        copied(ledger.path, copy, every_s=60),
    ):
        ledger.add_cases([bench_case("1")])
        raise KeyboardInterrupt
    with Ledger.open(copy) as opened:
        assert len(opened.planned()) == 2


def test_a_place_for_copies_that_cannot_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        Ledger.open(tmp_path / "ledger.sqlite") as ledger,
        pytest.raises(PathError),
        copied(ledger.path, f"file://{tmp_path}/file/copy.sqlite"),
    ):
        raise AssertionError("the work has begun")
    assert sqlite3.connect(tmp_path / "ledger.sqlite").execute("PRAGMA quick_check").fetchone() == ("ok",)
