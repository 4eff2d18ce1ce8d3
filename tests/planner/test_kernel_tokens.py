"""The kernel's token profile: the streams that the real kernel builds, and datasets that hold them."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from planner.dataset.storage import inputs_of_split, load_dataset
from planner.encoding.inputs import inputs_of_contexts
from planner.encoding.kernel_tokens import KERNEL_SPECIALS, kernel_runs, kernel_segments
from planner.encoding.profiles import encode
from planner.runs.checkpoint import checkpoint_path, read_policy
from tests.conftest import CORPUS, FIXTURES
from tests.planner.mutations import replaced
from tests.trained_runs import trained

STREAMS = [orjson.loads(line) for line in (FIXTURES / "kernel-streams.jsonl").read_bytes().splitlines()]


def recorded(entry: dict[str, Any]) -> dict[str, Any]:
    """The context of an entry of kernel-streams.jsonl."""
    manifest = orjson.loads((CORPUS / ".cyntra" / "archives" / entry["archive"] / "manifest.json").read_bytes())
    context = manifest["planner"]["planner_input"]
    for path, value in entry["changes"]:
        context = replaced(context, tuple(path), value)
    return context


@pytest.mark.parametrize("entry", STREAMS, ids=[str(number) for number in range(len(STREAMS))])
def test_the_stream_is_the_one_that_the_real_kernel_builds(entry: dict[str, Any]) -> None:
    assert list(itertools.chain(*kernel_segments(recorded(entry)))) == entry["stream"].split(" ")


def test_the_stream_is_cut_at_1024_tokens_and_has_one_segment_per_run() -> None:
    long = next(entry for entry in STREAMS if len(entry["stream"].split(" ")) == 1024)
    segments = kernel_segments(recorded(long))
    assert sum(map(len, segments)) == 1024
    assert len(segments) == 9
    ordinary = kernel_segments(recorded(STREAMS[3]))
    assert [segment[0] for segment in ordinary] == ["[BOS]", *(f"[RUN_{i}]" for i in range(8))]
    assert [segment[-1] for segment in ordinary] == ["[SEP]"] * 8 + ["[EOS]"]


def test_a_policy_is_shown_512_tokens_and_at_most_so_many_runs() -> None:
    contexts = [recorded(entry) for entry in STREAMS]
    encoded = encode(contexts, 4, "kernel")
    for row, context in enumerate(contexts):
        bounds = encoded.segments[row]
        words = [encoded.strings[i] for i in encoded.tokens[bounds[0] : bounds[-1]]]
        stream = list(itertools.chain(*kernel_segments(context)[:5]))
        assert words == stream[:512]
        assert len(bounds) == 6


def test_features_under_the_kernels_profile_are_those_of_its_runs_in_its_order() -> None:
    context = recorded(STREAMS[3])
    runs = context["history"]["last_n_similar_runs"]
    shuffled = {**context, "history": {"last_n_similar_runs": [*runs[4:], *runs[:4]]}}
    assert [run["run_id"] for run in kernel_runs(shuffled)] == [run["run_id"] for run in kernel_runs(context)]
    one, other = encode([context], 8, "kernel"), encode([shuffled], 8, "kernel")
    assert np.array_equal(one.run_features, other.run_features)
    assert np.array_equal(one.tokens, other.tokens)
    ours = encode([shuffled], 8, "planner")
    assert not np.array_equal(ours.run_features, other.run_features)


def test_a_dataset_of_the_kernels_profile_says_so_and_begins_with_its_specials(
    kernel_dataset: Path, corpus_dataset: Path
) -> None:
    info = load_dataset(kernel_dataset).info
    assert info.token_profile == "kernel"
    assert tuple(info.vocabulary[:6]) == KERNEL_SPECIALS == ("[PAD]", "[UNK]", "[BOS]", "[SEP]", "[EOS]", "[=]")
    assert "[VAL:JOB_TYPE:code]" in info.vocabulary
    ours = load_dataset(corpus_dataset).info
    assert ours.token_profile == "planner"
    assert ours.dataset_hash != info.dataset_hash
    assert ours.splits == info.splits


def test_serving_reads_the_same_kernel_tokens_as_training(kernel_dataset: Path) -> None:
    dataset = load_dataset(kernel_dataset)
    for split in dataset.splits.values():
        trained = inputs_of_split(split)
        served = inputs_of_contexts(
            split.contexts(), dataset.space, dataset.info.vocabulary, dataset.info.n_similar, "kernel"
        )
        for name in ("tokens", "segments", "context_features", "run_features", "masks"):
            assert np.array_equal(getattr(trained, name), getattr(served, name)), name


def test_a_checkpoint_keeps_its_datasets_profile(kernel_dataset: Path, tmp_path: Path) -> None:
    run = trained(kernel_dataset, tmp_path / "run")
    assert read_policy(checkpoint_path(run)).token_profile == "kernel"
