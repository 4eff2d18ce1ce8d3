"""A second build of a dataset: the bytes of a first one, and no more work than what has changed makes."""

import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pytest

from planner.contracts.dataset import DatasetInfo, TokenProfile
from planner.dataset import joining, kept, reading
from planner.dataset.build import build_dataset
from planner.errors import PathError
from tests.conftest import copy_corpus
from tests.planner.test_dataset import contents

Change = Callable[[Path], None]


class Builds:
    """Builds of one repo, with a cache."""

    def __init__(self, root: Path, tmp_path: Path) -> None:
        self.root, self._tmp_path = root, tmp_path
        self.cache = tmp_path / "cache"
        self.found: dict[str, tuple[int, int]] = {}
        """Stage -> how many of its parts the last build took from the cache, and how many there are."""

    def again(self, profile: TokenProfile = "planner") -> DatasetInfo:
        """Build with the cache; the dataset is that of a build without one."""
        self.found = {}
        out, fresh = self._tmp_path / "again", self._tmp_path / "fresh"
        info = build_dataset(self.root, out, profile=profile, cache=self.cache, progress=self._note)
        build_dataset(self.root, fresh, profile=profile)
        assert contents(out) == contents(fresh)
        return info

    def _note(self, stage: str, done: int, total: int) -> None:
        self.found.setdefault(stage, (done, total))


@pytest.fixture
def builds(first_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builds:
    """Of a repo of 48 runs, in small chunks and blocks; files are trusted as soon as they are written."""
    monkeypatch.setattr(reading, "MEAN_CHUNK", 4)
    monkeypatch.setattr(reading, "SETTLED_NS", -(10**12))
    monkeypatch.setattr(joining, "BLOCK", 8)
    return Builds(first_runs, tmp_path)


def archives(root: Path) -> list[Path]:
    """In order of time."""
    return sorted((root / ".cyntra/archives").iterdir(), key=lambda path: path.name.split("-")[2])


def replaced(path: Path, old: bytes, new: bytes) -> None:
    """Write other bytes of the same number, with the times of before: only the change time says so."""
    data, found = path.read_bytes(), path.stat()
    assert old in data and len(old) == len(new)
    path.write_bytes(data.replace(old, new))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_a_second_build_reads_and_joins_nothing_anew(builds: Builds) -> None:
    builds.again()
    assert (builds.found["read archives"][0], builds.found["join with history"][0]) == (0, 0)
    builds.again()
    for stage in ("read archives", "join with history"):
        found, total = builds.found[stage]
        assert found == total > 3, stage


def test_new_runs_change_nothing_of_what_was_before_them(builds: Builds, tmp_path: Path) -> None:
    last = archives(builds.root)[-5:]
    for path in last:
        path.rename(tmp_path / path.name)
    first = builds.again()
    for path in last:
        (tmp_path / path.name).rename(path)
    second = builds.again()
    assert second.counts["runs"] == first.counts["runs"] + 5
    for stage in ("read archives", "join with history"):
        found, total = builds.found[stage]
        assert found >= total - 2 > 2, stage


def rewrite_an_outcome(root: Path) -> None:
    replaced(archives(root)[10] / "proof.json", b'"status": "success"', b'"status": "timeout"')


def rewrite_the_last_outcome(root: Path) -> None:
    """Which no context knows."""
    document = orjson.loads((archives(root)[-1] / "proof.json").read_bytes())
    document["metadata"]["duration_ms"] += 1000
    (archives(root)[-1] / "proof.json").write_bytes(orjson.dumps(document))


def lose_an_archive(root: Path) -> None:
    shutil.rmtree(archives(root)[10])


def lose_a_file(root: Path) -> None:
    (archives(root)[20] / "proof.json").unlink()


def resize_an_issue(root: Path) -> None:
    tracker = root / ".beads/issues.jsonl"
    tracker.write_bytes(tracker.read_bytes().replace(b'"dk_size": "S"', b'"dk_size": "XL"'))


def end_a_run_later(root: Path) -> None:
    """In the event log alone: until then no context may show it."""
    log = root / ".cyntra/logs/events.jsonl"
    lines = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    name = archives(root)[2].name
    for line in lines:
        if line.get("workcell_id") == name and line["type"] in ("workcell.completed", "workcell.failed"):
            line["timestamp"] = "2026-12-31T00:00:00Z"
    log.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))


def fail_a_start(root: Path) -> None:
    run = orjson.loads((archives(root)[1] / "proof.json").read_bytes())
    event = {
        "type": "workcell.create_failed",
        "issue_id": run["issue_id"],
        "timestamp": run["metadata"]["completed_at"],
        "data": {"error": "disk"},
    }
    with (root / ".cyntra/logs/events.jsonl").open("ab") as log:
        log.write(orjson.dumps(event) + b"\n")


def add_a_universe(root: Path) -> None:
    for directory in root.glob("universes/*"):
        shutil.rmtree(directory)
    (root / "universes/other").mkdir(parents=True)
    (root / "universes/other/universe.yaml").write_text("schema_version: '1.0'\nuniverse_id: other\nname: other\n")


@pytest.mark.parametrize(
    ("change", "profile"),
    [
        (rewrite_an_outcome, "planner"),
        (rewrite_the_last_outcome, "planner"),
        (lose_an_archive, "planner"),
        (lose_a_file, "planner"),
        (resize_an_issue, "planner"),
        (end_a_run_later, "kernel"),
        (fail_a_start, "planner"),
        (add_a_universe, "planner"),
    ],
)
def test_whatever_changes_a_second_build_is_that_of_a_first_one(
    change: Change, profile: TokenProfile, builds: Builds
) -> None:
    forget_contexts(builds.root)
    before = builds.again(profile)
    change(builds.root)
    after = builds.again(profile)
    assert after.dataset_hash != before.dataset_hash, "the change was none"


def test_a_recorded_neighbour_from_the_future_comes_back_when_nothing_says_any_more_that_it_is_one(
    builds: Builds,
) -> None:
    early, late = archives(builds.root)[5], archives(builds.root)[-1]
    manifest = orjson.loads((early / "manifest.json").read_bytes())
    (neighbour, *_) = manifest["planner"]["planner_input"]["history"]["last_n_similar_runs"]
    neighbour["run_id"] = late.name
    (early / "manifest.json").write_bytes(orjson.dumps(manifest))
    assert builds.again("kernel").contexts["neighbours_withdrawn"] == 1
    shutil.rmtree(late)
    assert builds.again("kernel").contexts["neighbours_withdrawn"] == 0


def forget_contexts(root: Path) -> None:
    """Take the recorded contexts out of half of the archives, so that their issue and universe are the tracker's."""
    for directory in archives(root)[::2]:
        for name in ("manifest.json", "rollout.json"):
            if (directory / name).exists():
                document = orjson.loads((directory / name).read_bytes())
                document["planner"].pop("planner_input", None)
                (directory / name).write_bytes(orjson.dumps(document))


def test_another_program_takes_nothing_from_the_cache(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    builds.again()
    monkeypatch.setattr(kept, "_program", lambda: b"another")
    builds.again()
    assert (builds.found["read archives"][0], builds.found["join with history"][0]) == (0, 0)


def test_a_file_that_has_just_been_written_is_read_again(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SETTLED_NS", 10**12)
    builds.again()
    builds.again()
    found, total = builds.found["join with history"]
    assert (builds.found["read archives"][0], found) == (0, total)


@pytest.mark.parametrize("damage", [b"", b"\0" * 4096, b"\xff" * 50])
def test_damaged_files_in_the_cache_are_made_again(damage: bytes, builds: Builds) -> None:
    builds.again()
    for path in builds.cache.iterdir():
        path.write_bytes(damage)
    builds.again()
    assert (builds.found["read archives"][0], builds.found["join with history"][0]) == (0, 0)


def test_a_process_that_forgets_what_it_has_parsed_makes_the_same(
    builds: Builds, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = builds.again()
    monkeypatch.setattr(joining, "REMEMBERED", 8)
    monkeypatch.setattr(reading, "KNOWN", 8)
    assert build_dataset(builds.root, builds.cache.parent / "forgetful").dataset_hash == whole.dataset_hash


def test_a_value_from_the_cache_keeps_no_file_open(tmp_path: Path) -> None:
    cache = kept.Kept(tmp_path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    values = [cache.keep(f"key-{number}", kept.packed(np.arange(1000))) for number in range(10)]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert all((value == np.arange(1000)).all() for value in values)


def test_what_no_build_needs_any_more_is_deleted_after_a_while(builds: Builds) -> None:
    builds.again()
    stale, new = builds.cache / "stale", builds.cache / "new"
    for path in (stale, new):
        path.touch()
    os.utime(stale, (1e9, 1e9))
    for path in builds.cache.iterdir():
        if path != new:
            os.utime(path, (1e9, 1e9))
    builds.again()
    assert not stale.exists() and new.exists()
    found, total = builds.found["read archives"]
    assert found == total


def test_a_cache_that_takes_nothing_ends_the_build_with_a_sentence(tmp_path: Path) -> None:
    cache = kept.Kept(tmp_path / "cache")
    (tmp_path / "cache").rmdir()
    with pytest.raises(PathError, match="make space, or set PLANNER_CACHE"):
        cache.store("key", kept.packed("value"))


def test_a_value_that_the_disk_does_not_take_whole_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    cache = kept.Kept(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(PathError, match="File too large"):
            cache.store("key", kept.packed(bytes(100_000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_build_without_a_cache_leaves_nothing_beside_the_dataset(tmp_path: Path) -> None:
    build_dataset(copy_corpus(tmp_path / "repo"), tmp_path / "out" / "dataset")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dataset"]
