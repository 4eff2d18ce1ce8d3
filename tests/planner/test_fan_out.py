"""The parts of a stage: each is done once, by whoever can, and is there as soon as it is done."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from planner.dataset.fan_out import fan_out
from planner.dataset.kept import Kept
from planner.dataset.reading import Chunk, read_chunks
from planner.errors import ContractError, DatasetError

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_archives_that_no_node_of_the_cluster_sees_are_read_by_the_command_itself(tmp_path: Path) -> None:
    done = dict(fan_out(["one", "two", "three"], _where, "note", Kept(tmp_path), nodes=[]))
    assert done == {number: (part, "note", os.getpid()) for number, part in enumerate(("one", "two", "three"))}


def test_an_archive_that_is_listed_and_not_seen_ends_the_build_in_a_sentence(tmp_path: Path) -> None:
    """As where a node lost its mount after it was asked."""
    (tmp_path / "here").mkdir()
    chunks = [(number, Chunk([str(tmp_path / name)], {}, None)) for number, name in enumerate(("here", "gone", "gone"))]
    with pytest.raises(DatasetError) as raised:
        dict(fan_out(chunks, read_chunks, str(tmp_path), Kept(tmp_path / "kept"), nodes=None))
    said = str(raised.value)
    assert said.startswith("node ") and "does not see 1 of 1 archives that are there" in said
    assert said.endswith(f"{tmp_path}/gone: mount the repo on every node")


def test_an_error_of_ours_comes_back_as_it_was_raised(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"^file: \$\.a: is no number$"):
        dict(fan_out(["one", "two", "three"], _breaks, None, Kept(tmp_path), nodes=None))


def _breaks(parts: Sequence[str], common: None) -> Iterator[tuple[str, str | None, None]]:
    raise ContractError("file", "$.a", "is no number")
    yield parts[0], None, None


def _where(parts: Sequence[str], note: str) -> Iterator[tuple[int, str | None, tuple[str, str, int]]]:
    for number, part in enumerate(parts):
        yield number, f"key-{part}" if number else None, (part, note, os.getpid())


def test_a_part_is_there_before_the_process_has_done_the_ones_after_it(tmp_path: Path) -> None:
    seen, parts = tmp_path / "seen", ["one", "two", "three"]
    in_one_share = [10, 1, 1]
    for name, _ in fan_out(parts, _waits_for_it, str(seen), Kept(tmp_path / "kept"), None, in_one_share):
        if name == "one":
            seen.touch()
    assert seen.exists()


def test_arrays_that_are_the_same_for_all_parts_lie_once_in_the_machines_memory(tmp_path: Path) -> None:
    done = dict(fan_out(["one", "two", "three"], _is_own, np.arange(10**6), Kept(tmp_path), nodes=None))
    assert done == {part: (False, sum(range(10**6))) for part in ("one", "two", "three")}


def _is_own(parts: Sequence[str], common: NDArray[np.int64]) -> Iterator[tuple[str, str | None, tuple[bool, int]]]:
    """Whether the array is this process's own, and not a view of what others see too."""
    for part in parts:
        yield part, None, (common.flags.writeable, int(common.sum()))


def _waits_for_it(parts: Sequence[str], file: str) -> Iterator[tuple[str, str | None, None]]:
    """The second part is made when the driver has the first."""
    for part in parts:
        yield part, None, None
        if part == "one":
            deadline_s = time.monotonic() + 20
            while not Path(file).exists():
                assert time.monotonic() < deadline_s, "the driver has nothing of the first part"
                time.sleep(0.01)
